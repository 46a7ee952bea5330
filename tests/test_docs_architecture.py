"""docs/architecture.md tells the truth about the tree: sub-packages, layers, steps; its two pictures are one."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOC = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def section(title: str) -> str:
    return DOC.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", section(title), re.MULTILINE)


def test_every_sub_package_stands_there():
    found = {
        file.parent.relative_to(ROOT).as_posix()
        for package in ("fairtag", "serving", "monitoring", "console")
        for file in (ROOT / package).glob("*/__init__.py")
    }
    assert sorted(rows("Sub-packages")) == sorted(found)


def test_every_package_stands_there():
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages | {"k8s"} == {name.strip("/") for name in rows("Packages")}


def test_the_layers_are_those_that_are_checked():
    (contract,) = [contract for contract in CONTRACTS if contract.get("containers") == ["fairtag"]]
    drawn = section("Layers of the core").split("```")[1].strip().splitlines()
    assert drawn == contract["layers"]


def test_the_direction_of_imports_is_the_one_that_is_checked():
    (contract,) = [contract for contract in CONTRACTS if contract["type"] == "layers" and "containers" not in contract]
    assert f"`{' → '.join(contract['layers'])}`" in section("Packages")


def test_the_steps_are_those_of_the_pipeline():
    source = (ROOT / "pipelines" / "training.py").read_text(encoding="utf-8")
    steps = set(re.findall(r"^from components\.(\w+) import", source, re.MULTILINE))
    assert set(rows("From tables to a decision")) == steps


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_draws_the_whole_loop(theme):
    picture = (ROOT / "docs" / f"architecture-{theme}.svg").read_text(encoding="utf-8")
    steps = "intake validate features training model evaluate DECISION register deploy endpoint monitors trigger"
    assert [word for word in steps.split() if word not in picture] == []


def test_the_dark_picture_is_the_light_one_in_other_colours():
    light, dark = (
        re.sub(r"#[0-9a-f]{6}\b", "#", (ROOT / "docs" / f"architecture-{theme}.svg").read_text(encoding="utf-8"))
        for theme in ("light", "dark")
    )
    assert light == dark
