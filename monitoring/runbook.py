"""The runbook table: for each check its title, likely cause, first action and section of docs/operations.md.

``runbook.yaml`` is the only place with these texts. The HTML report, the Prometheus rules, the alerts and the trigger
policy read it.

>>> runbook_entry("price_gap:income").section
'price-gap'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

TABLE = "runbook.yaml"
_ALTERNATIVES = re.compile(r"\[(.+?)\|(.+?)\]")


@dataclass(frozen=True)
class RunbookEntry:
    """The texts of one check.

    Args:
        title: Heading of the problem; ``[more|less]`` holds the word for an upward and for a downward change.
        cause: Likely cause.
        action: First action.
        section: Heading of the section in docs/operations.md.
    """

    title: str
    cause: str
    action: str
    section: str

    def heading(self, change: float | None = None) -> str:
        """The title for the direction of a change; with both words if the direction is not known."""
        upward, downward = r"\1", r"\2"
        words = rf"{upward} or {downward}" if change is None else upward if change > 0 else downward
        return _ALTERNATIVES.sub(words, self.title)


def check_names() -> tuple[str, ...]:
    """Names of all checks, in the order of the table."""
    return tuple(_table())


def runbook_entry(check: str) -> RunbookEntry:
    """The entry of a check. ``price_gap:income`` is found under ``price_gap``.

    Raises:
        KeyError: No check has this name.
    """
    return _table()[check.partition(":")[0]]


@cache
def _table() -> dict[str, RunbookEntry]:
    text = (resources.files(__package__) / TABLE).read_text(encoding="utf-8")
    return {name: RunbookEntry(**entry) for name, entry in yaml.safe_load(text).items()}
