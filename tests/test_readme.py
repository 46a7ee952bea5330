"""The README stays short and names what is there; test_docs_links.py and test_docs_commands.py read it as well."""

import re
from pathlib import Path

from benchmarks import registry

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_it_stays_under_120_lines():
    assert len(README.splitlines()) < 120


def test_every_make_target_exists():
    named = set(re.findall(r"make ([a-z]+)", README))
    assert {"demo", "install", "help"} <= named
    for target in named:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_the_tree_is_the_tree():
    tree = README.split("## The tree")[1].split("```")[1]
    captions = dict(re.findall(r"^([a-z0-9_]+)/ +(\S.*)$", tree, re.MULTILINE))
    ignored = set(re.findall(r"^/?(\w+)/$", (ROOT / ".gitignore").read_text(encoding="utf-8"), re.MULTILINE))
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert set(captions) == folders - ignored


def test_every_study_and_benchmark_exists():
    named = set(re.findall(r"`fairtag study ([a-z][a-z-]*)", README)) | set(
        re.findall(r"-m benchmarks ([a-z][a-z-]*)", README)
    )
    assert named
    assert named <= {*registry.names(), "all"}


def test_it_shows_what_a_reader_needs():
    assert re.search(r"```sh\nmake demo\n```", README)
    assert "THIS PRICE WAS SET BY AN ALGORITHM USING YOUR PERSONAL DATA" in README
    headings = re.findall(r"^## (.+)$", README, re.MULTILINE)
    assert headings == ["What do you want to do?", "Measured", "The tree", "Limits"]
