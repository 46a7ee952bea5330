"""What is installed, built and deployed is named by its content: hashes, digests, commits; and comes from one index."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
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
            found.setdefault(canonicalize_name(re.split(r"[=\[]", line)[0]), []).append(
                line.removesuffix(" \\").replace("===", "==")
            )
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
            assert re.fullmatch(r"[a-z0-9.-]+(\[[a-z,]+\])?={2,3}\S+( ; [^\\]+)? \\", line), line
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


@pytest.fixture
def install(tmp_path):
    """Installs one line of requirements from a folder of wheels with uv itself; returns its words and what is there."""

    def run(line):
        requirement, target = tmp_path / "requirements.txt", tmp_path / "target"
        requirement.write_text(f"{line}\n", encoding="utf-8")
        command = [Path(sys.executable).parent / "uv", "pip", "install", "--offline", "--no-index", "--no-cache"]
        command += ["--require-hashes", "--find-links", tmp_path, "--target", target, "-r", requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stderr, (target / "shop.py").read_text() if (target / "shop.py").exists() else None

    return run


def test_a_file_that_is_not_the_recorded_one_is_not_installed(install, tmp_path):
    wheel = make_wheel(tmp_path, "1.0")
    said, found = install(f"shop==1.0 --hash=sha256:{'0' * 64}")
    assert "Hash mismatch" in said
    assert found is None
    assert install(f"shop==1.0 --hash=sha256:{sha256(wheel)}")[1] == "1.0"


def test_a_build_for_processors_beside_it_is_not_taken_for_the_locked_one(install, tmp_path):
    """Why torch.txt says ===: a folder of wheels may hold both."""
    wheel = make_wheel(tmp_path, "1.0")
    make_wheel(tmp_path, "1.0+cpu")
    assert "no trusted hash was provided" in install(f"shop==1.0 --hash=sha256:{sha256(wheel)}")[0]
    assert install(f"shop===1.0 --hash=sha256:{sha256(wheel)}")[1] == "1.0"
    text = (ROOT / "requirements/torch.txt").read_text(encoding="utf-8")
    assert re.search(r"^torch===", text, re.MULTILINE)


def make_wheel(folder: Path, version: str) -> Path:
    wheel, about = folder / f"shop-{version}-py3-none-any.whl", f"shop-{version}.dist-info"
    files = {
        "shop.py": version,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: shop\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{about}/RECORD": "".join(f"{name},,\n" for name in files)}.items():
            archive.writestr(name, text)
    return wheel


def sha256(file: Path) -> str:
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


def test_a_bill_of_materials_is_of_the_files_that_the_image_installs():
    dockerfile = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)-libraries\n(.*?)(?=^FROM )", dockerfile, re.MULTILINE | re.DOTALL))
    installed = {role: set(re.findall(r"-r requirements/([\w-]+\.txt)", text)) for role, text in stages.items()}
    installed["data-spark"] = installed["data"] | {"spark.txt"}  # on top of data; of its file pyspark and py4j alone
    script = (ROOT / "requirements" / "sbom.sh").read_text(encoding="utf-8")
    billed = {role: set(files.split()) for role, files in re.findall(r'\[([a-z-]+)\]="([^"]+)"', script)}
    assert billed == installed
    assert "requirements/$torch.txt" in stages["train"], "which of the two torches, TORCH says to sbom.sh"
