"""Pushing and pinning images against stand-ins of Docker and kubectl: what is recorded, and what is refused."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BASE = "python:3.11@sha256:" + "b" * 64
PUSHED = "sha256:" + "d" * 64
# Answers what the scripts ask an engine; LABEL_* are the labels of every image.
DOCKER = r"""#!/bin/bash
echo "docker $*" >>"$CALLS"
secret=$(sed -n 's/.*id=index,src=\([^ ]*\).*/\1/p' <<<"$*")
[ -z "$secret" ] || echo "secret of $(wc -c <"$secret") bytes" >>"$CALLS"
case "$*" in
*"image inspect"*revision*) echo "$LABEL_REVISION";;
*"image inspect"*base.name*) echo "$LABEL_BASE";;
*"image inspect"*RepoDigests*) echo "other.example/x@sha256:0"; echo "${@: -1}" | sed "s/:[^:]*$/@$PUSHED/";;
*"image inspect"*) echo 1000000;;
*"imagetools inspect"*) [ -z "$OFFLINE" ] || exit 1; echo "sha256:$(echo "${@: -1}" | sha256sum | cut -d ' ' -f 1)";;
esac
"""


@pytest.fixture
def script(tmp_path):
    """Runs a script in a copy of what it reads; returns its exit code, its words and every call of Docker."""
    for folder in ("k8s", "requirements"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for file in ("pyproject.toml", "Dockerfile"):
        shutil.copy(ROOT / file, tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "docker").write_text(DOCKER)
    (tools / "docker").chmod(0o755)
    calls = tmp_path / "calls"

    def run(program, *words, **variables):
        calls.write_text("")
        environment = {"PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(calls), "PUSHED": PUSHED, "OFFLINE": ""}
        environment |= {"REVISION": "c0ffee", "LABEL_REVISION": "c0ffee", "LABEL_BASE": BASE, **variables}
        line = [tmp_path / "k8s" / program, *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment, timeout=60)
        return done.returncode, done.stdout + done.stderr, calls.read_text()

    run.folder = tmp_path
    return run


def images_of(folder, overlay, build_folder):
    texts = re.findall(r"'image': '([^']+)'", str(build_folder(folder / "k8s/overlays" / overlay)))
    return {image for image in texts if image.startswith(("fairtag/", "shop.example/"))}


def test_what_is_pushed_is_what_staging_and_production_run(script, build_folder):
    code, said, calls = script("images.sh", "push", REGISTRY="shop.example/fairtag")
    assert code == 0, said
    for role in ("data", "train", "serve", "monitor"):
        assert f"docker push --quiet shop.example/fairtag/{role}-python:0.1.0" in calls
    expected = {f"shop.example/fairtag/{role}-python@{PUSHED}" for role in ("train", "serve", "monitor")}
    assert images_of(script.folder, "production", build_folder) == expected
    assert images_of(script.folder, "staging", build_folder) == expected
    assert {image.partition(":")[2] for image in images_of(script.folder, "kind", build_folder)} == {"0.1.0"}


def test_pushing_one_role_again_keeps_the_others(script):
    script("images.sh", "push", REGISTRY="one.example")
    code, _, _ = script("images.sh", "push", REGISTRY="two.example", ROLES="serve")
    assert code == 0
    release = yaml.safe_load((script.folder / "k8s/components/release/kustomization.yaml").read_text())
    names = {each["name"]: each["newName"] for each in release["images"]}
    assert names == {
        "fairtag/data-python": "one.example/data-python",
        "fairtag/train-python": "one.example/train-python",
        "fairtag/monitor-python": "one.example/monitor-python",
        "fairtag/serve-python": "two.example/serve-python",
    }


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"REGISTRY": ""}, "REGISTRY is not set"),
        ({"REVISION": "c0ffee-dirty"}, "no commit holds this work tree (c0ffee-dirty)"),
        ({"LABEL_REVISION": "old"}, "the image of data was built from old, this is c0ffee"),
        ({"LABEL_BASE": "python:3.11"}, "the image of data stands on python:3.11, which is not named by digest"),
    ],
)
def test_what_no_commit_and_no_digest_describe_is_not_pushed(script, variables, reason):
    before = (script.folder / "k8s/components/release/kustomization.yaml").read_text()
    code, said, calls = script("images.sh", "push", **{"REGISTRY": "shop.example", **variables})
    assert code == 1
    assert reason in said
    assert "docker push" not in calls
    assert (script.folder / "k8s/components/release/kustomization.yaml").read_text() == before


def test_a_training_image_for_processors_needs_the_hash_of_its_torch(script):
    (script.folder / "requirements/torch-cpu.txt").unlink(missing_ok=True)
    code, said, calls = script("images.sh", "build")
    assert code == 1
    assert "once: PIP_FIND_LINKS=FOLDER k8s/pin.sh torch" in said
    assert "docker build" not in calls
    assert script("images.sh", "build", ROLES="serve")[0] == 0


def test_only_the_asked_role_is_tried(script):
    code, said, calls = script("images.sh", "smoke", ROLES="serve")
    assert code == 0, said
    assert "fairtag/serve-python" in calls
    assert "fairtag/data-python" not in calls


def test_without_an_index_of_one_s_own_the_build_still_gets_its_file(script):
    """BuildKit takes an empty secret for none, and the recipe reads the file."""
    code, said, calls = script("images.sh", "build", ROLES="serve")
    assert code == 0, said
    (size,) = re.findall(r"secret of (\d+) bytes", calls)
    assert int(size) > 0


def test_a_second_index_is_refused(script):
    code, said, calls = script("images.sh", "build", ROLES="serve", PIP_EXTRA_INDEX_URL="https://two.example")
    assert code == 1
    assert "PIP_EXTRA_INDEX_URL is refused" in said
    assert "docker build" not in calls


def test_the_hash_of_a_torch_is_that_of_the_file(script):
    version = re.search(r"^torch===(\S+)", (ROOT / "requirements/torch.txt").read_text(), re.MULTILINE)[1]
    wheels = script.folder / "wheels"
    wheels.mkdir()
    assert script("pin.sh", "torch", PIP_FIND_LINKS=str(wheels))[0] == 1
    (wheels / f"torch-{version}+cpu-cp311-cp311-linux_x86_64.whl").write_bytes(b"one")
    (wheels / f"torch-{version}+cpu-cp312-cp312-linux_x86_64.whl").write_bytes(b"two")
    (wheels / "torch-1.0+cpu-cp311-cp311-linux_x86_64.whl").write_bytes(b"old")
    code, said, _ = script("pin.sh", "torch", PIP_FIND_LINKS=str(wheels))
    assert code == 0, said
    written = (script.folder / "requirements/torch-cpu.txt").read_text()
    assert f"torch=={version}+cpu \\\n" in written
    hashes = {hashlib.sha256(content).hexdigest() for content in (b"one", b"two")}
    assert set(re.findall(r"--hash=sha256:(\w+)", written)) == hashes


def test_images_of_others_get_the_digest_that_their_registry_tells(script):
    versions = script.folder / "k8s/components/versions/kustomization.yaml"
    versions.write_text(re.sub(r", digest: \"[^\"]+\"", "", versions.read_text()))
    code, said, _ = script("pin.sh", "images")
    assert code == 0, said
    images = yaml.safe_load(versions.read_text())["images"]
    others = [each for each in images if not each["name"].startswith("fairtag/")]
    assert len(others) == 4
    for each in others:
        asked = f"{each['name']}:{each['newTag']}\n"
        assert each["digest"] == f"sha256:{hashlib.sha256(asked.encode()).hexdigest()}"
    assert all("digest" not in each for each in images if each["name"].startswith("fairtag/"))
    base = re.search(r"^ARG PYTHON_IMAGE=(\S+)@sha256:(\w+)$", (script.folder / "Dockerfile").read_text(), re.MULTILINE)
    assert base[2] == hashlib.sha256(f"{base[1]}\n".encode()).hexdigest()


def test_without_a_registry_nothing_is_pinned(script):
    before = (script.folder / "Dockerfile").read_text()
    code, said, _ = script("pin.sh", "images", OFFLINE="yes")
    assert code == 1
    assert "no registry tells the digest of python:" in said
    assert (script.folder / "Dockerfile").read_text() == before


def test_images_of_others_are_named_by_digest(built):
    """All but one, whose digest nobody could tell where this was written: staging is refused until k8s/pin.sh has."""
    found = {
        image
        for overlay in built.values()
        for image in re.findall(r"'image': '([^']+)'", str(overlay))
        if not image.startswith("fairtag/") and re.match(r"[a-z./]+[:@]", image)
    }
    assert {image for image in found if not re.search(r"@sha256:[0-9a-f]{64}$", image)} <= {"chrislusf/seaweedfs:4.00"}
    assert len(found) >= 4


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_an_overlay_with_an_image_by_tag_is_not_installed(script, overlay):
    for file in (script.folder / "k8s/overlays").rglob("*.yaml"):
        file.write_text(re.sub(r"ADDRESSES-OF-YOUR-[A-Z-]*", "10.20.30.0/28", file.read_text()))
    (script.folder / "tools/kubectl").write_text(
        f'#!/bin/bash\n[ "$1" = kustomize ] && exec {shutil.which("kubectl")} "$@"\necho "kubectl $*" >>"$CALLS"\n'
    )
    (script.folder / "tools/kubectl").chmod(0o755)
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed: the overlays cannot be built")
    code, said, calls = script("install.sh", overlay)
    assert code == 1
    assert "fairtag/serve-python:0.1.0" in said
    assert "k8s/images.sh push and k8s/pin.sh images name them by digest" in said
    assert "apply" not in calls
    assert script("images.sh", "push", REGISTRY="shop.example")[0] == 0
    assert script("pin.sh", "images")[0] == 0
    code, said, calls = script("install.sh", overlay)
    assert code == 0, said
    assert "apply" in calls
