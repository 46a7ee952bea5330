"""The live policy: what is allowed right now, as a history of versions that running endpoints follow.

>>> from tempfile import mkdtemp
>>> store = LivePolicyStore(Path(mkdtemp()))
>>> store.change(ShopPolicy(at_list=True), who="ada", why="costs are wrong").version
1
>>> store.undo(who="ada", why="costs are right again").policy.at_list
False
>>> [change.difference for change in store.history()]
[('everything at list price, inside the fairness corridor',), ('prices as the model decides',)]

The main calls, for whoever writes a tool on top::

    store = open_store("s3://fairtag-policy", signer, verifier)   # or a folder, redis://, or several with commas
    store.current()                       # PolicyVersion: .version .at .who .why .policy .difference .decision
    store.history()                       # all of them, oldest first, chain and signatures checked
    store.change(policy, who=, why=)      # adds a version as it is: whether it may is asked before, by
    change_policy(store, policy, accepted, who=, why=)             # fairtag.model.policy_change
    store.undo(who=, why=)

Each version is a document of its own, which is never written again, carries the digest of the one before, and is signed
where there is a signing key. Several backends may hold the same history: a change is written to all that answer, and
whoever reads takes the longest history, so that a stop reaches every endpoint while one of the backends is down.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fairtag.base.chained_log import START
from fairtag.base.errors import ConfigError, DataError, FairtagError, UnavailableError
from fairtag.base.files import canonical_json, sha256_text
from fairtag.policy.narrowing import WORDS, Difference, differences
from fairtag.policy.policy_backends import PolicyBackend, VersionTaken, open_backend, open_backends
from fairtag.policy.policy_sections import PersonalPrices
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import ShopPolicy, from_document

SCHEMA = "fairtag.live-policy/2"
FOLDER = "policy"  # in the folder of an endpoint
Sign = Callable[[str], Mapping[str, str]]  # of a digest, its signature
Verify = Callable[[str, object], None]  # raises unless a signature of a digest counts


@dataclass(frozen=True)
class PolicyVersion:
    """One version of the live policy.

    Args:
        version: 1 for the first change; 0 stands for none.
        at: When it was made, RFC 3339, UTC.
        who: Who made it.
        why: Why, in words.
        policy: What holds from then on.
        difference: What it changed, in words.
        undoes: The version that it undoes; 0 for none.
        approved_by: Who approved it, where somebody else had to; empty otherwise.
        decision: The accepted decision document that a wider policy rests on; None where none was needed.
        digest: Of the whole version; the next one carries it.
    """

    version: int
    at: str
    who: str
    why: str
    policy: ShopPolicy
    difference: tuple[str, ...] = ()
    undoes: int = 0
    approved_by: str = ""
    decision: Mapping[str, Any] | None = field(default=None, repr=False)
    digest: str = field(default=START, repr=False)


NONE = PolicyVersion(0, "", "", "", ShopPolicy())
FAIL_SAFE = ShopPolicy(at_list=True, personal_prices=PersonalPrices(allowed=False))  # where no version can be trusted
STOPPED = "stopped"  # why a page is at list prices, in answers and in the quote log: the live policy says so


class LivePolicyStore:
    """The versions in one or several backends.

    Args:
        backends: Where they lie; a path is a folder.
        sign: Signs the digest of a new version; None signs none.
        verify: Raises unless the signature of a version counts; None asks for none.
        now: The time of a change.

    Attributes:
        missed: Backends that the last change was not written to, as they did not answer.
    """

    def __init__(
        self,
        *backends: PolicyBackend | Path,
        sign: Sign | None = None,
        verify: Verify | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._backends = tuple(open_backend(each) if isinstance(each, Path) else each for each in backends)
        self._sign, self._verify, self._now = sign, verify, now
        self.missed: tuple[str, ...] = ()
        self._greatest = 0  # number that any backend ever told this process

    @property
    def names(self) -> tuple[str, ...]:
        """The backends, for messages."""
        return tuple(backend.name for backend in self._backends)

    def current(self) -> PolicyVersion:
        """The version that holds; version 0, which changes nothing, where there was no change.

        Raises:
            DataError: A version was altered or removed, or no trusted key signed it.
            UnavailableError: No backend answers.
        """
        history = self.history()
        return history[-1] if history else NONE

    def newest(self) -> int:
        """The number of the newest version, unchecked: one look at each backend.

        Raises:
            UnavailableError: No backend answers.
        """
        return max(number for _, number in self._reachable())

    def history(self, known: Sequence[PolicyVersion] = ()) -> tuple[PolicyVersion, ...]:
        """All versions, oldest first.

        Args:
            known: Versions that were read and checked before; only later ones are read.

        Raises:
            DataError: A version was altered or removed, no trusted key signed it, or two backends hold different ones.
            UnavailableError: No backend answers.
        """
        return (*known, *self._later(known))

    def trusted_history(self) -> tuple[tuple[PolicyVersion, ...], str]:
        """The versions up to the first that cannot be trusted, and why that one cannot; empty where all can.

        Raises:
            UnavailableError: No backend answers.
        """
        found: list[PolicyVersion] = []
        try:
            for version in self._later(()):
                found.append(version)  # noqa: PERF402 - those before an error stay
        except DataError as error:
            return tuple(found), str(error)
        return tuple(found), ""

    def _later(self, known: Sequence[PolicyVersion]) -> Iterator[PolicyVersion]:
        """The versions after those that are known, each checked."""
        reachable, before = self._reachable(), len(known)
        newest, digest = max(number for _, number in reachable), known[-1].digest if known else START
        if newest < before and len(reachable) == len(self._backends):
            raise DataError(f"{', '.join(self.names)}: version {before} is gone; restore it from a backup")
        for number in range(before + 1, newest + 1):
            held = [backend for backend, greatest in reachable if greatest >= number]
            version = self._read(number, held, digest)
            digest = version.digest
            yield version

    def change(
        self,
        policy: ShopPolicy,
        *,
        who: str,
        why: str,
        undoes: int = 0,
        approved_by: str = "",
        decision: Mapping[str, Any] | None = None,
        accepted: PricingPolicy | None = None,
    ) -> PolicyVersion:
        """Add a version as it is; it is safe when the call returns.

        Args:
            policy: What holds from now on.
            who: Who makes the change.
            why: Why, in words.
            undoes: The version that it undoes.
            approved_by: Who approved it.
            decision: What a wider policy rests on.
            accepted: What the model's decision accepted, for the words of the difference; the defaults when None.

        Raises:
            ConfigError: It changes nothing, somebody else made a change meanwhile, or who or why is missing.
            UnavailableError: No backend answers, or those that do lack versions that another one holds.
        """
        history = self.history()
        before = history[-1] if history else NONE
        if before.version < self._greatest:
            raise UnavailableError(
                f"version {self._greatest} lies in a store that does not answer, and those that do end at version "
                f"{before.version}: nothing is changed, or there would be two histories"
            )
        if not who.strip() or not why.strip():
            raise ConfigError("who and why: one of them is empty; a change of the live policy names both")
        if policy == before.policy:
            raise ConfigError(f"version {before.version} says the same; nothing is changed")
        changed = differences(before.policy, policy, accepted or PricingPolicy())
        body: dict[str, Any] = {
            "schema": SCHEMA,
            "version": before.version + 1,
            "at": self._now().isoformat(timespec="seconds"),
            "who": who,
            "why": why,
            "policy": policy.document(),
            "difference": [each.words for each in changed] or ["settings of the next model"],
            "undoes": undoes,
            "approved_by": approved_by,
            "decision": None if decision is None else dict(decision),
            "previous": before.digest,
        }
        digest = sha256_text(canonical_json(body))
        signature = None if self._sign is None else dict(self._sign(digest))
        self._write(before.version + 1, {**body, "digest": digest, "signature": signature})
        return _version(body, digest)

    def catch_up(self) -> int:
        """Write to each backend that answers the versions that it lacks: a new one, or one that was down.

        Until then a stop lies in one place alone, and is forgotten by whoever starts while that is down. Whoever may
        write and runs for long, such as the console, does it again and again.

        Returns:
            Number of versions written.

        Raises:
            DataError: The versions cannot be trusted; nothing was written.
            UnavailableError: A backend does not answer, or this process may not write to it.
        """
        reachable = self._reachable()
        fullest, newest = max(reachable, key=lambda pair: pair[1])
        behind = [(backend, number) for backend, number in reachable if number < newest]
        if behind:
            self.history()  # what is copied was checked
        written = 0
        for backend, number in behind:
            with suppress(VersionTaken):  # somebody else does the same
                for lacking in range(number + 1, newest + 1):
                    content = fullest.read(lacking)
                    if content is None:  # since the check; what is written once stays, so nothing is made up
                        raise DataError(f"{fullest.name}: version {lacking} is gone; restore it from a backup")
                    backend.add(lacking, content)
                    written += 1
        return written

    def undo(self, *, who: str, why: str, accepted: PricingPolicy | None = None) -> PolicyVersion:
        """Go back to what held before the newest change that is not undone yet.

        Raises:
            ConfigError: There is nothing to undo.
        """
        before, undoes = self.before_last()
        return self.change(before, who=who, why=why, undoes=undoes, accepted=accepted)

    def before_last(self) -> tuple[ShopPolicy, int]:
        """What held before the newest change that is not undone yet, and the number of that change.

        Raises:
            ConfigError: There is nothing to undo.
        """
        history = self.history()
        undone = {change.undoes for change in history}
        open_ = [change for change in history if not change.undoes and change.version not in undone]
        if not open_:
            raise ConfigError("there is no change to undo: prices are as the model decides")
        last = open_[-1].version
        return (history[last - 2].policy if last > 1 else ShopPolicy()), last

    def _reachable(self) -> list[tuple[PolicyBackend, int]]:
        """The backends that answer, each with its newest number."""
        found, problems = [], []
        for backend in self._backends:
            try:
                found.append((backend, backend.newest()))
            except UnavailableError as error:
                problems.append(str(error))
        if not found:
            raise UnavailableError("; ".join(problems) or "the live policy has no store; name one")
        self._greatest = max(self._greatest, *(number for _, number in found))
        return found

    def _read(self, number: int, backends: Sequence[PolicyBackend], previous: str) -> PolicyVersion:
        """A version, the same in all backends that hold it."""
        contents, problems = {}, []
        for backend in backends:
            try:
                contents[backend.name] = backend.read(number)
            except UnavailableError as error:
                problems.append(str(error))
        if not contents:
            raise UnavailableError("; ".join(problems))
        where = f"{next(iter(contents))}: version {number:06d}.json"
        if len(set(contents.values())) > 1:
            raise DataError(
                f"{', '.join(contents)}: they hold different versions {number:06d}.json; restore one of them"
            )
        return self._checked(next(iter(contents.values())), number, previous, where)

    def _checked(self, content: bytes | None, number: int, previous: str, where: str) -> PolicyVersion:
        try:
            return self._parsed(content, number, previous, where)
        except DataError:
            raise
        except FairtagError as error:
            raise DataError(f"{where}: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{where} cannot be read ({type(error).__name__}); restore it from a backup") from error

    def _parsed(self, content: bytes | None, number: int, previous: str, where: str) -> PolicyVersion:
        if content is None:
            raise DataError(f"{where} is gone; restore it from a backup")
        document = json.loads(content)
        if document["schema"] != SCHEMA:
            raise DataError(f"{where} has schema {document['schema']!r}, this version of the code reads {SCHEMA!r}")
        digest = str(document["digest"])
        body = {name: value for name, value in document.items() if name not in ("digest", "signature")}
        intact = digest == sha256_text(canonical_json(body)) and body["previous"] == previous
        if not intact or body["version"] != number:
            raise DataError(f"{where} was altered, or one before it was; restore it from a backup")
        if self._verify is not None:
            self._verify(digest, document.get("signature"))
        return _version(body, digest)

    def _write(self, number: int, document: Mapping[str, Any]) -> None:
        """Write a version to every backend that answers, and to those that fell behind what they lack."""
        content, written, missed = (canonical_json(document) + "\n").encode(), 0, []
        reachable = self._reachable()
        fullest = max(reachable, key=lambda pair: pair[1])[0]
        for backend, newest in reachable:
            try:
                for behind in range(newest + 1, number):
                    backend.add(behind, fullest.read(behind) or b"")
                backend.add(number, content)
                written += 1
            except UnavailableError as error:
                missed.append(str(error))
        answered = {backend.name for backend, _ in reachable}
        self.missed = (*missed, *(f"{name}: it does not answer" for name in self.names if name not in answered))
        if not written:
            raise UnavailableError("; ".join(self.missed))


def open_store(addresses: str | Path, sign: Sign | None = None, verify: Verify | None = None) -> LivePolicyStore:
    """The store at some addresses: folders, ``s3://`` or other fsspec URLs, ``redis://``, with commas between them.

    Args:
        addresses: Where the versions lie.
        sign: Signs new versions (:func:`fairtag.model.signature.policy_signer`).
        verify: Checks signatures (:func:`fairtag.model.signature.policy_verifier`).
    """
    return LivePolicyStore(*open_backends(str(addresses)), sign=sign, verify=verify)


def in_words(policy: ShopPolicy) -> tuple[str, ...]:
    """What a policy says beyond the model's own, a line each."""
    said: tuple[Difference, ...] = differences(ShopPolicy(), policy, PricingPolicy())
    shown = (WORDS.get((each.field, each.after)) or f"{each.field}: {each.after}" for each in said)
    return tuple(shown) or ("prices as the model decides",)


def _version(body: Mapping[str, Any], digest: str) -> PolicyVersion:
    values = {name: value for name, value in body.items() if name not in ("schema", "previous")}
    policy, difference = from_document(values.pop("policy")), tuple(values.pop("difference"))
    return PolicyVersion(**values, policy=policy, difference=difference, digest=digest)


__all__ = [
    "FAIL_SAFE",
    "FOLDER",
    "NONE",
    "STOPPED",
    "LivePolicyStore",
    "PolicyVersion",
    "in_words",
    "open_store",
]
