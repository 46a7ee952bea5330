"""Every command that the README and the documents name exists, with the options they give it."""

import json
import re
import shlex
from argparse import ArgumentParser, _SubParsersAction
from pathlib import Path

import pytest
from typer.main import get_command

from benchmarks import registry
from fairtag.encoder.config import preset
from fairtag.policy.shop_policy import read_policy
from monitoring.__main__ import parser as monitoring_parser
from pipelines.cli import app
from serving.__main__ import parser as serving_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMMAND = re.compile(r"(?:`|^|&& |\| )((?:fairtag|make|python -m) [^`\n]+)", re.MULTILINE)
FAIRTAG = get_command(app).commands
BENCHMARKS = {*registry.names(), "all"}


def commands(text: str) -> list[list[str]]:
    """The words of each command: in backticks, or at the start of a line of a block."""
    found = []
    for line in COMMAND.findall(text.replace("\\\n", " ")):
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split, words.commenters = True, "#"
        try:
            parts = list(words)
        except ValueError:  # prose with an apostrophe
            parts = line.split()
        end = next((n for n, word in enumerate(parts) if re.fullmatch(r"[|&;<>()]+", word)), len(parts))
        found.append(parts[:end])
    return found


def options(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}


def known_options(parser: ArgumentParser, words: list[str]) -> set[str]:
    known = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for word in words:
                known |= set(getattr(action.choices.get(word), "_option_string_actions", ()))
    return known


def why_not(words: list[str]) -> str:
    """What is wrong with a command; empty when nothing is."""
    program, rest = words[0], words[1:]
    if program == "make":
        targets = [word for word in rest if re.fullmatch(r"[a-z-]+", word)]
        missing = [
            target for target in targets[:1] if not re.search(rf"^[a-z -]*\b{target}\b[a-z -]*:", MAKEFILE, re.M)
        ]
        return f"no target {missing}" if missing else ""
    if program == "fairtag":
        if not rest or rest[0] not in FAIRTAG:
            return "" if rest == ["--help"] else f"no command {rest[:1]}"
        command = FAIRTAG[rest[0]]
        if rest[0] == "study" and rest[1:] and not rest[1].startswith("-"):
            if rest[1] not in registry.names(registry.Kind.STUDY):
                return f"no study {rest[1]}"
            command = command.get_command(None, rest[1])
        elif hasattr(command, "commands") and rest[1:] and not rest[1].startswith("-"):
            if rest[1] not in command.commands:
                return f"no command {rest[:2]}"
            command = command.commands[rest[1]]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        return f"no option {options(rest) - known}" if options(rest) - known else ""
    return module_why_not(rest[1], rest[2:])


def module_why_not(module: str, rest: list[str]) -> str:
    place = ROOT.joinpath(*module.split("."))
    source = next((file for file in (place.with_suffix(".py"), place / "__main__.py") if file.is_file()), None)
    if source is None:
        return "" if not (ROOT / module.partition(".")[0]).is_dir() else f"no module {module}"
    parser = {"monitoring": monitoring_parser, "serving": serving_parser}.get(module)
    if parser is not None:
        known = known_options(parser(), rest)
        return f"no option {options(rest) - known}" if options(rest) - known else ""
    if module == "benchmarks":
        asked = [word for word in rest[:1] if not word.startswith("-")]
        return f"no benchmark {asked}" if set(asked) - BENCHMARKS else ""
    text = " ".join(file.read_text(encoding="utf-8") for file in sorted(source.parent.glob("*.py")))
    return f"no option {missing}" if (missing := {o for o in options(rest) if f'"{o}"' not in text}) else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_exists_with_its_options(page):
    found = commands(page.read_text(encoding="utf-8"))
    assert [(" ".join(words), wrong) for words in found if (wrong := why_not(words))] == []


def test_every_document_given_to_an_option_is_valid():
    given = []
    for page in PAGES:
        given += re.findall(r"(?:--|-p )(encoder|policy)[ =]'(\{.*?\})'", page.read_text(encoding="utf-8"))
    assert len(given) >= 6
    for name, text in given:
        if name == "encoder":
            preset("demo", json.loads(text))
        else:
            read_policy(text)


def test_the_pages_name_commands():
    words = [tuple(words[:2]) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))]
    assert len(words) > 60
    assert {("fairtag", "run"), ("fairtag", "verify"), ("make", "demo"), ("python", "-m")} <= set(words)


@pytest.mark.parametrize(
    "line",
    [
        "`fairtag sell`",
        "`fairtag run --colour red`",
        "`fairtag study nonsense`",
        "make nonsense",
        "python -m monitoring drift --colour red",
        "python -m serving --colour red",
        "python -m benchmarks nonsense",
        "python -m benchmarks.studies.home_depot --colour red",
        "python -m serving.nonsense",
        "echo a && fairtag run \\\n  --colour red",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line):
    assert any(why_not(words) for words in commands(line))
