"""The live policy: what people allow right now, as versions in a folder that a running endpoint follows.

>>> from tempfile import mkdtemp
>>> store = LivePolicyStore(Path(mkdtemp()))
>>> store.change(LivePolicy(at_list=True), who="ada", why="costs are wrong").version
1
>>> store.undo(who="ada", why="costs are right again").policy
LivePolicy(at_list=False, personal_prices=True)
>>> [change.difference for change in store.history()]
[('everything at list price, inside the fairness corridor',), ('prices as the model decides',)]

Each change is a file of its own, ``000001.json`` and so on, which is never written again and carries the digest of the
one before. The model folder says what the model may do; this says what it may do today. It can only narrow: a change
that allows more than the model folder needs a new decision.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fairtag.base.errors import ConfigError, DataError
from fairtag.base.files import canonical_json, read_json, sha256_text

SCHEMA = "fairtag.live-policy/1"
FOLDER = "policy"  # in the folder of an endpoint
START = "0" * 64
WORDS = {
    ("at_list", True): "everything at list price, inside the fairness corridor",
    ("at_list", False): "prices as the model decides",
    ("personal_prices", False): "personal prices off",
    ("personal_prices", True): "personal prices as the place allows",
}


@dataclass(frozen=True)
class LivePolicy:
    """What is allowed on top of the model folder's policy; the default narrows nothing.

    Args:
        at_list: Everything shows its list price, whatever was quoted before; signed quotes are still honoured.
        personal_prices: Whether a customer's data may move prices, where place and consent allow it.
    """

    at_list: bool = False
    personal_prices: bool = True


@dataclass(frozen=True)
class PolicyChange:
    """One version of the live policy.

    Args:
        version: 1 for the first change; 0 stands for none.
        at: When it was made, RFC 3339, UTC.
        who: Who made it.
        why: Why, in words.
        policy: What holds from then on.
        difference: What it changed, in words.
        undoes: The version that it undoes; 0 for none.
    """

    version: int
    at: str
    who: str
    why: str
    policy: LivePolicy
    difference: tuple[str, ...] = ()
    undoes: int = 0


_WIDE = LivePolicy()
NONE = PolicyChange(0, "", "", "", _WIDE)


class LivePolicyStore:
    """The versions in a folder.

    Args:
        folder: The folder; the first change creates it.
        now: The time of a change.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._folder, self._now = folder, now

    def current(self) -> PolicyChange:
        """The version that holds; version 0, which narrows nothing, where there was no change.

        Raises:
            DataError: A version was altered or removed.
        """
        history = self.history()
        return history[-1] if history else NONE

    def newest(self) -> int:
        """The number of the newest version, unchecked: one look at the folder."""
        return max((int(file.stem) for file in self._folder.glob("[0-9]*.json") if file.stem.isdecimal()), default=0)

    def history(self) -> tuple[PolicyChange, ...]:
        """All versions, oldest first.

        Raises:
            DataError: A version was altered or removed.
        """
        found, previous = [], START
        for number in range(1, self.newest() + 1):
            change, previous = self._read(number, previous)
            found.append(change)
        return tuple(found)

    def change(self, policy: LivePolicy, *, who: str, why: str, undoes: int = 0) -> PolicyChange:
        """Add a version; it is on the disk when the call returns.

        Args:
            policy: What holds from now on.
            who: Who makes the change.
            why: Why, in words.
            undoes: The version that it undoes.

        Raises:
            ConfigError: It changes nothing, somebody else made a change meanwhile, or who or why is missing.
        """
        before = self.current()
        if not who.strip() or not why.strip():
            raise ConfigError("who and why: one of them is empty; a change of the live policy names both")
        if policy == before.policy:
            raise ConfigError(f"version {before.version} says the same: {'; '.join(in_words(policy))}")
        changed = [name for name, value in asdict(policy).items() if value != getattr(before.policy, name)]
        change = PolicyChange(
            before.version + 1,
            self._now().isoformat(timespec="seconds"),
            who,
            why,
            policy,
            tuple(WORDS[name, getattr(policy, name)] for name in changed),
            undoes,
        )
        self._write(change)
        return change

    def undo(self, *, who: str, why: str) -> PolicyChange:
        """Go back to what held before the newest change that is not undone yet.

        Raises:
            ConfigError: There is nothing to undo.
        """
        history = self.history()
        undone = {change.undoes for change in history}
        open_ = [change for change in history if not change.undoes and change.version not in undone]
        if not open_:
            raise ConfigError("there is no change to undo: prices are as the model decides")
        before = history[open_[-1].version - 2].policy if open_[-1].version > 1 else LivePolicy()
        return self.change(before, who=who, why=why, undoes=open_[-1].version)

    def _read(self, number: int, previous: str) -> tuple[PolicyChange, str]:
        file = self._folder / f"{number:06d}.json"
        try:
            document = read_json(file)
            body = {name: value for name, value in document.items() if name != "digest"}
            intact = document["digest"] == sha256_text(canonical_json(body)) and document["previous"] == previous
            change = _change(document) if intact and document["schema"] == SCHEMA else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file}: it cannot be read ({type(error).__name__}); restore it from a backup") from error
        if change is None or change.version != number:
            raise DataError(f"{file}: it was altered, or one before it was; restore it from a backup")
        return change, str(document["digest"])

    def _write(self, change: PolicyChange) -> None:
        """Write the file whole, under a name that nobody has taken meanwhile."""
        digest = START if change.version == 1 else read_json(self._folder / f"{change.version - 1:06d}.json")["digest"]
        body = {"schema": SCHEMA, **asdict(change), "difference": list(change.difference), "previous": digest}
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{change.version:06d}.json"
        temporary = self._folder / f".{target.name}.{os.getpid()}"
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(canonical_json({**body, "digest": sha256_text(canonical_json(body))}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise ConfigError(f"{target}: somebody else has just made a change; look at it and try again") from None
        finally:
            temporary.unlink()


def in_words(policy: LivePolicy) -> tuple[str, ...]:
    """What a policy says."""
    narrowed = tuple(WORDS[name, value] for name, value in asdict(policy).items() if value != getattr(_WIDE, name))
    return narrowed or ("prices as the model decides",)


def _change(document: dict[str, Any]) -> PolicyChange:
    names = {field.name for field in fields(PolicyChange)}
    values = {name: value for name, value in document.items() if name in names}
    difference = tuple(values.pop("difference"))
    return PolicyChange(**{**values, "policy": LivePolicy(**values["policy"]), "difference": difference})
