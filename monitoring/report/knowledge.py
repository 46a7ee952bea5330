"""What each check means to the person on call: title, likely cause, first action, runbook entry.

The report, the alerts and the runbook's own test read the one table, ``knowledge.yaml``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

TABLE = "knowledge.yaml"
_EITHER = re.compile(r"\[(.+?)\|(.+?)\]")


@dataclass(frozen=True)
class Knowledge:
    """One check in words.

    Args:
        title: What went wrong, as a heading; ``[more|less]`` stands for the words of a change upward and downward.
        cause: The likeliest cause.
        action: The first thing to do.
        entry: Heading of the runbook entry.
    """

    title: str
    cause: str
    action: str
    entry: str

    def heading(self, change: float | None = None) -> str:
        """The title in the words of a change's direction; with both words where it is not known."""
        upward, downward = r"\1", r"\2"
        words = rf"{upward} or {downward}" if change is None else upward if change > 0 else downward
        return _EITHER.sub(words, self.title)


def check_names() -> tuple[str, ...]:
    """Names of all checks, in the order of the table."""
    return tuple(_table())


def knowledge(check: str) -> Knowledge:
    """What is known about a check; ``price_gap:income`` and the like are found by the part before the colon."""
    return _table()[check.partition(":")[0]]


@cache
def _table() -> dict[str, Knowledge]:
    text = (resources.files(__package__) / TABLE).read_text(encoding="utf-8")
    return {name: Knowledge(**entry) for name, entry in yaml.safe_load(text).items()}
