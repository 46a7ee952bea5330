"""The README tells the truth about names: commands, targets, folders, links and studies exist."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from benchmarks import registry
from pipelines.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "docs/data.md", "docs/cluster.md", "docs/operations.md"])
def test_every_fairtag_command_and_option_exists(page):
    commands = get_command(app).commands
    # A command is code: it stands in backticks, or starts a line of a block.
    lines = re.findall(
        r"(?:`|^)fairtag ([a-z]+)((?: [^`\n]*)?)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE
    )
    assert lines
    for name, rest in lines:
        assert name in commands, name
        command = commands[name]
        if name == "study" and re.match(r" [a-z]", rest):
            command = command.get_command(None, rest.split()[0])
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= known, (name, rest)


def test_every_make_target_exists():
    named = set(re.findall(r"make ([a-z]+)", README))
    assert {"demo", "install", "help"} <= named
    for target in named:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(link):
    assert (ROOT / link).exists()


def test_the_tree_is_the_tree():
    tree = README.split("```\npricing/")[1].split("```")[0]
    folders = ["fairtag", *re.findall(r"^([a-z0-9_]+)/", tree, re.MULTILINE)]
    assert all((ROOT / folder).is_dir() for folder in folders)
    code = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert code <= set(folders)


def test_every_study_and_benchmark_exists():
    named = set(re.findall(r"`fairtag study ([a-z][a-z-]*)", README)) | set(
        re.findall(r"-m benchmarks ([a-z][a-z-]*)", README)
    )
    assert named <= {*registry.names(), "all"}
