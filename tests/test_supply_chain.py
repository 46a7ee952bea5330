"""What is installed, built and deployed is named by its content: hashes, digests, commits; and comes from one index."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = PROJECT["dependency-groups"]
CORE = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
ALL = [*CORE, *(each for extra in EXTRAS.values() for each in extra)]
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


def locked(name: str) -> dict[str, list[str]]:
    """The pinned requirements of a file of requirements/, by name; a package may have one pin for each Python."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if re.match(r"[a-z0-9]", line):
            found.setdefault(canonicalize_name(re.split(r"[=\[]", line)[0]), []).append(line.removesuffix(" \\"))
    return found


TORCH = locked("torch")
APART = {name for name in TORCH if re.fullmatch(r"torch|triton|cuda-.+|nvidia-.+", name)}
SPARK = {"pyspark", "py4j"}
WANTED = {
    "build": (GROUPS["build"], set()),
    "dev": ([*ALL, *GROUPS["dev"]], APART | SPARK),
    "torch": ([each for each in ALL if Requirement(each).name == "torch"], set()),
    **{role: ([*CORE, *asked], APART) for role, asked in EXTRAS.items()},
}
FILES = sorted(WANTED)


@pytest.fixture
def copy(tmp_path):
    """The files that lock.sh reads, in a folder of its own; runs it there."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def check():
        line = [tmp_path / "requirements" / "lock.sh", "check"]
        environment = {"BIN": str(Path(sys.executable).parent), "PATH": "/usr/bin:/bin"}
        return subprocess.run(line, capture_output=True, text=True, check=False, env=environment)

    check.folder = tmp_path
    return check


def test_the_locks_were_made_from_the_requirements_of_today(copy):
    assert copy().returncode == 0, copy().stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [("tenacity>=8.5", "tenacity>=9"), ('"tenacity>=8.5",\n', ""), ("pytest>=8.4", "pytest>=8.5"), ("<3.14", "<3.15")],
)
def test_a_lock_that_is_older_than_the_requirements_is_refused(copy, before, after):
    project = copy.folder / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    assert before in text
    project.write_text(text.replace(before, after), encoding="utf-8")
    done = copy()
    assert done.returncode == 1
    assert "requirements/dev.txt" in done.stderr
    assert "run make lock" in done.stderr


@pytest.mark.parametrize("name", FILES)
def test_every_requirement_is_pinned_to_a_version_that_it_allows(name):
    asked, apart = WANTED[name]
    pins = locked(name)
    for requirement in map(Requirement, asked):
        if requirement.name in apart:
            continue
        versions = [Requirement(pin.split(" ;")[0]).specifier for pin in pins[canonicalize_name(requirement.name)]]
        assert versions
        for version in versions:
            assert requirement.specifier.contains(str(version).removeprefix("=="), prereleases=True), requirement
    assert not apart & set(pins)


@pytest.mark.parametrize("name", FILES)
def test_every_package_has_a_hash_and_no_address(name):
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    body = [line for line in lines if not line.startswith("#")]
    assert len(body) > 10
    for line, following in zip(body, [*body[1:], ""], strict=True):
        if HASH.fullmatch(line):
            assert line.endswith("\\") == bool(HASH.fullmatch(following)), line
        else:
            assert re.fullmatch(r"[a-z0-9.-]+(\[[a-z,]+\])?==\S+( ; [^\\]+)? \\", line), line
            assert HASH.fullmatch(following), line


@pytest.mark.parametrize("name", FILES)
def test_a_role_has_the_versions_of_the_one_resolution(name):
    whole = [locked(each) for each in ("dev", "torch", "spark", "build")]
    for package, pins in locked(name).items():
        known = {pin.split(" ;")[0] for each in whole for pin in each.get(package, [])}
        assert {pin.split(" ;")[0] for pin in pins} <= known, package
        assert len(known) == 1 or all(" ; python_full_version" in pin for pin in pins), package


def test_a_torch_for_processors_is_the_same_version():
    file = ROOT / "requirements" / "torch-cpu.txt"
    if not file.exists():
        pytest.skip("requirements/torch-cpu.txt is not recorded: k8s/pin.sh torch writes it")
    assert locked("torch-cpu")["torch"] == [f"{TORCH['torch'][0]}+cpu"]


def test_a_file_that_is_not_the_recorded_one_is_not_installed(tmp_path):
    """uv itself, on a wheel of ours: the right hash is installed, a wrong one is not."""
    wheel = make_wheel(tmp_path / "wheels")
    for digest, code in ((sha256(wheel), 0), ("0" * 64, 1)):
        requirement = tmp_path / "requirements.txt"
        requirement.write_text(f"tampered==1.0 --hash=sha256:{digest}\n", encoding="utf-8")
        line = [Path(sys.executable).parent / "uv", "pip", "install", "--offline", "--no-index", "--no-cache"]
        line += [
            "--require-hashes",
            "--find-links",
            wheel.parent,
            "--target",
            tmp_path / f"to-{code}",
            "-r",
            requirement,
        ]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert (tmp_path / f"to-{code}" / "tampered.py").exists() == (code == 0)
    assert "Hash mismatch" in done.stderr


def make_wheel(folder: Path) -> Path:
    import zipfile

    folder.mkdir()
    wheel = folder / "tampered-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tampered.py", "")
        archive.writestr("tampered-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tampered\nVersion: 1.0\n")
        wheel_text = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("tampered-1.0.dist-info/WHEEL", wheel_text)
        files = ["tampered.py", "tampered-1.0.dist-info/METADATA", "tampered-1.0.dist-info/WHEEL"]
        archive.writestr("tampered-1.0.dist-info/RECORD", "".join(f"{file},,\n" for file in files))
    return wheel


def sha256(file: Path) -> str:
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()


INSTALLS = [ROOT / "Makefile", ROOT / "Dockerfile", ROOT / ".ci/run", *(ROOT / ".github").rglob("*.yml")]
INSTALLS += [
    *(ROOT / "requirements").glob("*.sh"),
    *(ROOT / "k8s").glob("*.sh"),
    *(ROOT / "requirements").glob("*.txt"),
]


def test_no_file_names_an_index_and_only_one_can_be_given():
    for file in INSTALLS:
        text = file.read_text(encoding="utf-8")
        wrong = re.findall(r"--(?:extra-)?index-url|--index\b|extra-index-url|UV_INDEX\b|UV_EXTRA_INDEX_URL", text)
        assert wrong == [], file
        extra = [line for line in text.splitlines() if "EXTRA_INDEX" in line]
        assert all("refused" in line for line in extra), file


def test_everything_is_installed_by_hash():
    """Each ``pip install`` of a file of requirements asks for hashes; no package is installed by its name."""
    found = 0
    for file in INSTALLS:
        text = re.sub(r"\\\n", " ", file.read_text(encoding="utf-8"))
        for line in text.splitlines():
            command = re.search(r"\bpip (?:--python \S+ )?install\b(.*)", line)
            if command and "echo" not in line and not line.lstrip().startswith("#"):
                found += 1
                ours = "--no-deps" in line and "--no-index" in line
                assert "hashes" in line or ours, (file.name, line)
    assert found >= 6


@pytest.mark.parametrize("file", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda file: file.name)
def test_a_workflow_names_actions_by_commit_and_asks_for_little(file):
    text = file.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.+)", text)
    assert uses
    assert [each for each in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", each)] == []
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job.get("permissions", {}) == {} or (file.name, name) == ("release.yml", "image")
        for step in job["steps"]:
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
            assert "${{" not in step.get("run", "").replace("${{ matrix.", ""), "what others write is no shell code"


def test_an_action_has_one_commit_in_all_workflows():
    text = "".join(file.read_text(encoding="utf-8") for file in (ROOT / ".github/workflows").glob("*.yml"))
    commits: dict[str, set[str]] = {}
    for action, commit in re.findall(r"uses: ([\w./-]+)@(.+)", text):
        commits.setdefault(action, set()).add(commit)
    assert {action: found for action, found in commits.items() if len(found) > 1} == {}


def test_the_base_image_is_named_by_digest():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert DIGEST.search(re.search(r"^ARG PYTHON_IMAGE=(.+)$", text, re.MULTILINE)[1])
    stages = set(re.findall(r" AS (\S+)$", text, re.MULTILINE))
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) <= {"${PYTHON_IMAGE}", *stages}


def test_the_images_are_made_of_every_package():
    """Docker sees nothing that .dockerignore does not name, and a package that it leaves out is missed at run time."""
    named = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [package for package in packages if f"!{package}" not in named] == []
