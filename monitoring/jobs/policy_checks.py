"""Quotes against the live policy: did each name a version that was live, and keep to what that version allows?

    audit = PolicyAudit(history, settings)
    for frame in reader.batches():
        audit.add(frame)
    checks = audit.checks(earlier)

A price that was promised earlier in its price day may lie outside the version that its quote names; whether it was is
read from the log once more, and only where something has to be explained.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.types import Status
from fairtag.policy.compliance import Finding, held_to
from fairtag.policy.live_policy import STOPPED
from monitoring.detect.window import SKEW
from monitoring.job_report import Check
from monitoring.jobs.policy_history import PolicyHistory, versions_of
from monitoring.settings import Settings

Flags = NDArray[np.bool_]
Earlier = Callable[[datetime], Iterator[pd.DataFrame]]  # the log's quotes from an instant on

VERSION, AGE, LIMITS = "policy_version", "policy_age", "policy_limits"
SHOWN: Final = (schema.QUOTE_ID, schema.ITEM_ID, schema.EPOCH, schema.PRICE_MINOR, schema.LIST_PRICE_MINOR)
PROMISE_KEY: Final = ["who", schema.ITEM_ID, schema.EPOCH]
EXAMPLES: Final = 3


@dataclass
class _Tally:
    """A number of quotes, and the first of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, quotes: pd.DataFrame, at: Flags, **more: Any) -> None:
        self.count += int(at.sum())
        wanted = EXAMPLES - len(self.examples)
        for row, version in zip(
            quotes.loc[at, list(SHOWN)].head(wanted).to_dict("records"), versions_of(quotes)[at][:wanted], strict=True
        ):
            self.examples.append(json.dumps({**row, schema.POLICY_VERSION: int(version), **more}, default=str))


class PolicyAudit:
    """Holds the quotes of a window to the history of the live policy.

    Args:
        history: The versions.
        settings: How soon endpoints follow, and how old a policy may be.
    """

    def __init__(self, history: PolicyHistory, settings: Settings) -> None:
        self._history, self._settings = history, settings
        self._rows = self._held = self._stale = self._unseen = 0
        self._unknown, self._late, self._broken = _Tally(), _Tally(), _Tally()
        self._rules: Counter[str] = Counter()
        self._unproven = 0
        self._suspects: list[pd.DataFrame] = []

    def add(self, quotes: pd.DataFrame) -> None:
        """Add rows of schema.QUOTES."""
        version, at = versions_of(quotes), _microseconds(quotes)
        self._rows += len(quotes)
        known = version <= len(self._history.made)
        early = np.zeros(len(quotes), dtype=bool)
        early[known] = self._history.early_by(version[known], at[known]) > SKEW.total_seconds()
        self._unknown.add(quotes, ~known | early)
        self._add_ages(quotes[known], version[known], at[known])
        ours = known & (quotes[schema.MODEL_VERSION].astype(str) == self._history.model.version).to_numpy()
        days = quotes[schema.EPOCH].to_numpy(dtype=np.int64)
        for number, epoch in np.unique(np.stack([version, days])[:, ours], axis=1).T.tolist():
            self._hold(quotes[ours & (version == number) & (days == epoch)], number, epoch)

    def _add_ages(self, quotes: pd.DataFrame, version: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        """Quotes under a version that was replaced; an endpoint that put everything at list for that has said so."""
        at_list = np.array([self._history.policies[number].at_list for number in range(len(self._history.policies))])
        said = (quotes[schema.DEGRADED] == STOPPED).to_numpy(bool) & ~at_list[version]
        seconds = np.where(said, 0.0, self._history.replaced_for(version, at))
        self._late.add(quotes, seconds > self._settings.policy_follow_seconds)
        self._stale += int((seconds > self._settings.policy_stale_seconds).sum())

    def _hold(self, quotes: pd.DataFrame, version: int, epoch: int) -> None:
        accepted = self._history.model.policy
        found = held_to(quotes, self._history.policies[version], accepted, accepted.day_of(epoch))
        self._held += len(quotes)
        self._unseen += int(np.any([each == Finding.UNSEEN_BOUND for each in found.values()], axis=0).sum())
        for rule, findings in found.items():
            broken, promise = findings == Finding.BROKEN, findings == Finding.PROMISE
            if broken.any():
                self._rules[rule] += int(broken.sum())
                self._broken.add(quotes, broken, rule=rule)
            if promise.any():
                self._suspects.append(quotes[promise].assign(rule=rule))

    def checks(self, earlier: Earlier) -> tuple[Check, ...]:
        """The checks of everything added.

        Args:
            earlier: Reads the log again from an instant on, for what was promised.
        """
        self._look_for_promises(earlier)
        return (self._version_check(), self._age_check(), self._limits_check())

    def _look_for_promises(self, earlier: Earlier) -> None:
        """What no earlier quote of the day promised is a breach; a guest's may have been promised in another log."""
        if not self._suspects:
            return
        suspects = _with_who(pd.concat(self._suspects))
        first = int(suspects[schema.EPOCH].min()) * self._history.model.policy.epoch_hours * 3600
        seen = _first_quotes(suspects, earlier(datetime.fromtimestamp(first, UTC)))
        before = suspects.merge(seen, how="left", on=PROMISE_KEY)["first"].to_numpy()
        promised = before < suspects[schema.TS].to_numpy()
        guest = suspects[schema.USER_KEY].isna().to_numpy()
        self._unproven += int((~promised & guest).sum())
        for rule, part in suspects[~promised & ~guest].groupby("rule"):
            self._rules[str(rule)] += len(part)
            self._broken.add(part, np.ones(len(part), dtype=bool), rule=rule)

    def _version_check(self) -> Check:
        problem, unknown = self._history.problem, self._unknown
        parts = [f"later versions cannot be trusted: {problem}"] if problem else []
        if unknown.count:
            parts.append(f"{unknown.count:,} of {self._rows:,} quotes name a version that nobody signed, or not yet")
        summary = "; ".join(parts) or f"all {self._rows:,} quotes name a version of the live policy"
        return _check(VERSION, Status.URGENT if parts else Status.PASS, summary, unknown, self._rows)

    def _age_check(self) -> Check:
        settings, late = self._settings, self._late
        status = Status.URGENT if self._stale else Status.WARN if late.count else Status.PASS
        summary = (
            f"{late.count:,} of {self._rows:,} quotes name a version replaced more than "
            f"{settings.policy_follow_seconds:g} s before, {self._stale:,} of them more than "
            f"{settings.policy_stale_seconds:g} s before"
            if late.count
            else f"every change counted within {settings.policy_follow_seconds:g} s"
        )
        return _check(AGE, status, summary, late, self._rows)

    def _limits_check(self) -> Check:
        if not self._held:
            summary = f"no quote of model {self._history.model.version} in the window, whose policy is known here"
            return Check(LIMITS, Status.UNKNOWN, summary, unit="quotes", decides=False)
        rules = ", ".join(f"{rule} {count:,}" for rule, count in self._rules.most_common())
        parts = [f"{sum(self._rules.values()):,} breaches of their version ({rules})"] if rules else []
        if self._unproven:
            parts.append(f"{self._unproven:,} prices of guests that no earlier quote promised")
        status = Status.URGENT if rules else Status.WARN if parts else Status.PASS
        summary = f"{'; '.join(parts) or 'their version of the policy was kept'} on {self._held:,} quotes"
        if self._unseen:
            summary += f"; {self._unseen:,} may lie at MAP, a competitor's price or the corridor, which are not logged"
        return _check(LIMITS, status, summary, self._broken, self._held)


def unread(why: str) -> Check:
    """The check of a window whose policy cannot be read."""
    return Check(VERSION, Status.UNKNOWN, f"cannot tell: {why}", unit="quotes")


def not_asked(newest: int) -> Check:
    """The check of quotes under a live policy that this job was not told of; it does not decide."""
    summary = (
        f"quotes name versions up to {newest} of the live policy; name its store with --policy-store to check them"
    )
    return Check(VERSION, Status.UNKNOWN, summary, unit="quotes", decides=False)


def _check(name: str, status: Status, summary: str, tally: _Tally, rows: int) -> Check:
    return Check(
        name,
        status,
        summary,
        value=float(tally.count),
        reference=0.0,
        change=tally.count / max(1, rows),
        warn_at=0.0,
        urgent_at=0.0,
        unit="quotes",
        n=rows,
        examples=tuple(tally.examples),
    )


def _with_who(quotes: pd.DataFrame) -> pd.DataFrame:
    """Whose promise each quote could be: the customer's; of guests, whom the log does not name, the same price's."""
    guests = "price " + quotes[schema.PRICE_MINOR].astype(str)
    return quotes.assign(who=quotes[schema.USER_KEY].astype(object).where(quotes[schema.USER_KEY].notna(), guests))


def _first_quotes(suspects: pd.DataFrame, frames: Iterator[pd.DataFrame]) -> pd.DataFrame:
    """When each promise that could be was first quoted: its key, and the instant as ``first``."""
    wanted, found = suspects[PROMISE_KEY].drop_duplicates(), []
    items = set(wanted[schema.ITEM_ID])
    for frame in frames:
        rows = _with_who(frame[frame[schema.ITEM_ID].isin(items)]).merge(wanted, on=PROMISE_KEY)
        found.append(rows.groupby(PROMISE_KEY, observed=True)[schema.TS].min())
    if not found:
        return wanted.assign(first=pd.Series(pd.NaT, index=wanted.index))
    every: pd.Series[Any] = pd.concat(found).groupby(level=PROMISE_KEY, observed=True).min()
    return every.rename("first").reset_index()


def _microseconds(quotes: pd.DataFrame) -> NDArray[np.int64]:
    naive = quotes[schema.TS].dt.tz_convert("UTC").dt.tz_localize(None)
    return np.asarray(naive.to_numpy().astype("datetime64[us]").astype(np.int64))
