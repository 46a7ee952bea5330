"""The laptop cluster's script against stand-ins of its tools: what it asks for, in what order, and what it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Each writes down how it was called; what the script reads of its output is the least that lets it go on.
STUBS = {
    "docker": '[ "$1 $2" != "image inspect" ] || echo 1000000',
    "kind": """
case "$1 $2" in
"get clusters") cat "$CALLS.clusters" 2>/dev/null;;
"create cluster") echo fairtag >"$CALLS.clusters";;
esac""",
    "minikube": """
case "$1" in
start) touch "$CALLS.minikube";;
status) [ -e "$CALLS.minikube" ];;
esac""",
    "sleep": "",
    "openssl": 'while [ $# -gt 0 ]; do [ "$1" != -out ] || echo key >"$2"; shift; done; echo 00ff',
    "fairtag": "",
    "curl": """
while [ $# -gt 0 ]; do case "$1" in -o) out=$2; shift;; esac; last=$1; shift; done
[ -n "${out:-}" ] || exit 0
case "$out" in
*.tar.gz*) d=$(mktemp -d); mkdir -p "$d/pipelines-2.16.1/manifests/kustomize"; tar -czf "$out" -C "$d" .; rm -r "$d";;
*) echo "manifest of $last" >"$out";;
esac""",
    "kubectl": """
case "$*" in
*"get secret"*go-template*) echo key;;
*"get secret"*) exit 1;;
kustomize*)
    echo 'kind: Namespace'
    case "$2" in *manifests/kustomize/*) echo "# ${2##*/}"; cat "$CALLS.argo" 2>/dev/null || true;; esac;;
*"apply"*) case "$*" in *"-f -"*) cat >/dev/null;; esac;;
esac""",
}


@pytest.fixture
def script(tmp_path):
    """Runs the script in a copy of its folder; returns its exit code, its words and every call of a tool."""
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "Dockerfile", tmp_path)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/torch-cpu.txt").write_text("torch==2+cpu --hash=sha256:0\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, body in STUBS.items():
        (tools / name).write_text(f'#!/bin/bash\necho "{name} $*" >>"$CALLS"\n{body}\n')
        (tools / name).chmod(0o755)
    calls = tmp_path / "calls"

    def run(*words, program="kind.sh", **variables):
        calls.write_text("")
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "CALLS": str(calls),
            "FAIRTAG": str(tools / "fairtag"),
            "PYTHON": sys.executable,
            **variables,
        }
        line = [tmp_path / "k8s" / program, *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment, timeout=120)
        return done.returncode, done.stdout + done.stderr, calls.read_text().splitlines()

    run.folder = tmp_path
    run.tools = tools
    return run


def place(calls, start):
    """Where in the order of calls the first one with that beginning stands."""
    return next(n for n, call in enumerate(calls) if start in call)


def test_nothing_is_made_without_recorded_checksums(script):
    code, said, calls = script("up")
    assert code == 1
    assert "nothing of others is installed unchecked. Run this once, with a network: k8s/kind.sh pin" in said
    assert not [call for call in calls if call.startswith(("kind create", "kubectl", "curl"))]


def test_a_manifest_without_a_checksum_of_its_own_is_refused(script):
    script("pin")
    sums = script.folder / "k8s" / "checksums.txt"
    kept = [line for line in sums.read_text().splitlines() if "kserve.yaml" not in line]
    sums.write_text("\n".join(kept) + "\n")
    code, said, calls = script("up")
    assert code == 1
    assert "no checksum of kserve.yaml" in said
    assert not [call for call in calls if call.startswith(("kind create", "kubectl"))]


def test_no_cluster_is_made_before_the_torch_of_the_training_image_is_pinned(script):
    script("pin")
    (script.folder / "requirements/torch-cpu.txt").unlink()
    code, said, calls = script("up")
    assert code == 1
    assert "once: PIP_FIND_LINKS=FOLDER k8s/pin.sh torch" in said
    assert not [call for call in calls if call.startswith(("kind create", "kubectl"))]


def test_a_manifest_that_changed_since_is_refused(script):
    script("pin")
    (script.folder / "build" / "manifests" / "cert-manager.yaml").write_text("another")
    code, said, calls = script("up")
    assert code == 1
    assert "a manifest is not what k8s/checksums.txt says" in said
    assert not [call for call in calls if call.startswith(("kind create", "kubectl"))]


def test_a_manifest_that_another_project_fetches_for_its_own_is_checked_too(script):
    """Kubeflow's kustomization fetches Argo's manifests: what they have become since is seen before it is applied."""
    script("pin")
    shutil.rmtree(script.folder / "build")
    (script.folder / "calls.argo").write_text("---\nkind: Deployment\n")
    code, said, calls = script("up")
    assert code == 1
    assert "a manifest is not what k8s/checksums.txt says" in said
    assert not [call for call in calls if call.startswith(("kind create", "kubectl apply"))]
    (script.folder / "calls.argo").unlink()
    shutil.rmtree(script.folder / "build")
    assert script("up")[0] == 0


def test_each_project_is_one_file_and_only_checked_files_and_ours_are_applied(script):
    script("pin")
    sums = (script.folder / "k8s" / "checksums.txt").read_text().splitlines()
    named = {line.split()[1] for line in sums}
    assert named == {"cert-manager.yaml", "gateway-api.yaml", "kserve.yaml", "pipelines.yaml"}
    built = (script.folder / "build" / "manifests" / "pipelines.yaml").read_text()
    assert "cluster-scoped-resources" in built
    assert "platform-agnostic" in built
    _, _, calls = script("up")
    applied = [call for call in calls if call.startswith("kubectl apply")]
    assert not [call for call in applied if " -k" in call or "://" in call]
    files = {call.rpartition(" ")[2] for call in applied} - {"-"}
    ours = {"k8s/platform/clusterstoragecontainer.yaml", "k8s/base/common/namespace.yaml"}
    assert files == ours | {f"build/manifests/{name}" for name in named}


def test_up_makes_the_cluster_then_the_platform_then_ours_then_trains(script):
    assert script("pin")[0] == 0
    code, said, calls = script("up")
    assert code == 0, said
    order = [
        "docker info",
        "fairtag doctor --cluster kind",
        "kind create cluster",
        "docker build",
        "kind load docker-image",
        "manifests/cert-manager.yaml",
        "manifests/kserve.yaml",
        "manifests/pipelines.yaml",
        "kustomize k8s/overlays/kind",
        "platform/clusterstoragecontainer.yaml",
        "base/common/namespace.yaml",
        "create secret generic endpoint",
        "rollout status deployment/mlflow",
        "fairtag submit",
        "wait inferenceservice/fairtag",
    ]
    assert [place(calls, start) for start in order] == sorted(place(calls, start) for start in order)
    assert "The cluster is up" in said
    assert all("--server-side" in call for call in calls if call.startswith("kubectl apply"))


def test_up_again_makes_no_second_cluster_and_fetches_nothing(script):
    script("pin")
    script("up")
    code, _, calls = script("up")
    assert code == 0
    assert not [
        call for call in calls if call.startswith(("kind create", "curl --fail --silent --show-error --location"))
    ]
    assert [call for call in calls if call.startswith("kind export kubeconfig")]


def test_a_cluster_that_is_up_is_not_held_to_free_ports_and_disk_again(script):
    script("pin")
    script("up")
    assert not [call for call in script("up")[2] if call.startswith("fairtag doctor")]


def test_a_machine_that_is_too_small_gets_no_cluster(script):
    script("pin")
    (script.tools / "fairtag").write_text('#!/bin/bash\necho "fairtag $*" >>"$CALLS"\n[ "$1" != doctor ]\n')
    code, said, calls = script("up")
    assert code == 1
    assert "this machine lacks something" in said
    assert not [call for call in calls if call.startswith(("kind create", "kubectl"))]


def test_a_download_that_breaks_off_leaves_nothing_that_could_be_taken_for_a_manifest(script):
    curl = script.tools / "curl"
    whole = curl.read_text()
    curl.write_text(whole + 'case "$last" in *kserve.yaml) echo half >"$out"; exit 18;; esac\n')
    code, said, _ = script("pin")
    assert code == 1
    assert "kserve.yaml could not be downloaded" in said
    assert not (script.folder / "k8s" / "checksums.txt").exists()
    assert not (script.folder / "build" / "manifests" / "kserve.yaml").exists()
    curl.write_text(whole)
    assert script("pin")[0] == 0
    assert script("up")[0] == 0


def test_a_missing_tool_is_named_before_anything_happens(script):
    (script.tools / "kind").unlink()
    if shutil.which("kind"):
        pytest.skip("this machine has a kind of its own")
    code, said, calls = script("up")
    assert code == 1
    assert "missing kind" in said
    assert calls == []


def test_minikube_takes_the_place_of_kind_by_a_variable(script):
    script("pin")
    code, said, calls = script("up", CLUSTER="minikube")
    assert code == 0, said
    assert not [call for call in calls if call.startswith("kind ")]
    assert place(calls, "minikube start") < place(calls, "minikube image load") < place(calls, "fairtag submit")
    assert script("down", CLUSTER="minikube")[2] == ["minikube delete --profile fairtag"]


def test_an_overlay_that_still_holds_placeholders_is_refused_before_anything_is_applied(script):
    (script.tools / "kubectl").write_text(
        '#!/bin/bash\necho "kubectl $*" >>"$CALLS"\n[ "$1" != kustomize ] || echo "cidr: ADDRESSES-OF-YOUR-REDIS"\n'
    )
    code, said, calls = script("production", program="install.sh")
    assert code == 1
    assert "k8s/overlays/production still holds ADDRESSES-OF-YOUR-REDIS: write your stores' addresses there" in said
    assert not [call for call in calls if " apply " in call]
