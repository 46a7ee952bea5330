"""Every setting of a policy for docs/policy.md, and a policy with the example of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairtag.base.files import canonical_json
from fairtag.base.settings import Settings, dotted, layered, leaves, nested, rule_of
from fairtag.policy.experiments import Arm, Experiment
from fairtag.policy.policy_sections import Endings, Pin, Promotion
from fairtag.policy.shop_policy import ShopPolicy, from_document


def reference_table() -> str:
    """Every setting as a Markdown table for docs/policy.md: what it is, what it may be, an example."""
    lines = ["| setting | what it is | it may be | example |", "| --- | --- | --- | --- |"]
    for path, field in _all_leaves():
        example = canonical_json((field.examples or [None])[0])
        cells = (f"`{path}`", str(field.description), rule_of(field), f"`{example}`")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def example() -> ShopPolicy:
    """A policy with the example of every setting, for documentation and tests."""
    own = (nested(path, field.examples[0]) for path, field in leaves(ShopPolicy) if field.examples)
    document = layered(*own)
    del document["limits"]["endings"], document["limits"]["ending_period"]  # those by currency stand for them
    return from_document(document)


def _all_leaves() -> Iterator[tuple[str, Any]]:
    for path, field in leaves(ShopPolicy):
        yield path, field
        yield from _inner(path)


def _inner(path: str) -> Iterator[tuple[str, Any]]:
    """The settings of each entry of a list or a table."""
    kinds: dict[str, type[Settings]] = {
        "pins": Pin,
        "promotions": Promotion,
        "endings": Endings,
        "experiments": Experiment,
        "experiments.arms": Arm,
    }
    for name, field in kinds[path].model_fields.items() if path in kinds else ():
        found = dotted((path, "*", name) if path == "endings" else (path, name))
        yield found, field
        yield from _inner(found)
