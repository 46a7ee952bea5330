"""The glossary defines each term once, in order, and the names it gives exist in the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| `([\w.]+)` \|$", GLOSSARY, re.MULTILINE)


def body_of(dotted: str) -> tuple[list[ast.stmt], list[str]]:
    """The statements of the module that a dotted name begins with, and the names that are left."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return ast.parse(file.read_text(encoding="utf-8")).body, parts[length:]
    return [], parts


def defined(statements: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """Names that statements define, with the body of each class."""
    names: dict[str, list[ast.stmt]] = {}
    for node in statements:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names[node.name] = node.body if isinstance(node, ast.ClassDef) else []
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id: [] for target in targets if isinstance(target, ast.Name)}
    return names


def exists(dotted: str) -> bool:
    statements, names = body_of(dotted)
    if names and not statements:
        return False
    for name in names:
        known = defined(statements)
        if name not in known:
            return False
        statements = known[name]
    return True


@pytest.mark.parametrize("dotted", [name for _, _, name in ROWS])
def test_a_name_in_the_glossary_exists_in_the_code(dotted):
    assert exists(dotted), f"docs/glossary.md: {dotted} is not in the code; write its new name"


def test_a_name_that_does_not_exist_is_noticed():
    assert exists("fairtag.policy.pricing_policy.PricingPolicy.epoch_hours")
    for wrong in ("fairtag.policy.pricing_policy.PricingPolicy.turns", "fairtag.policy.epoch", "pricing.page"):
        assert not exists(wrong)


def test_every_row_is_read():
    rows = [
        line for line in GLOSSARY.splitlines() if line.startswith("| ") and not line.startswith(("| term", "| ---"))
    ]
    assert len(rows) == len(ROWS) > 70


def test_each_term_is_defined_once():
    terms = [name for term, _, _ in ROWS for name in term.lower().split(", ")]
    assert sorted(set(terms)) == sorted(terms)


@pytest.mark.parametrize("section", GLOSSARY.split("\n## ")[1:], ids=lambda text: text.split("\n")[0])
def test_terms_stand_in_alphabetical_order(section):
    terms = [term.lower() for term in re.findall(r"^\| (.+?) \| .+ \| `", section, re.MULTILINE)]
    assert terms == sorted(terms, key=lambda term: re.sub(r"[^a-z]", "", term.split(",")[0]))
