"""The quality job: is the quote log complete, in range, on time, disclosed, and as the live policy allows?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import ModelFolderMissing, UnavailableError
from fairtag.base.types import Status
from fairtag.model.policy_change import POLICY
from fairtag.policy.live_policy import STOPPED
from monitoring.detect.checks import log_check, traffic_check
from monitoring.detect.window import Intake, LogReader, Window
from monitoring.inputs import Inputs, read_reference
from monitoring.job_report import Check, JobReport
from monitoring.jobs.policy_checks import PolicyAudit, not_asked, unread
from monitoring.jobs.policy_history import PolicyHistory, versions_of
from monitoring.settings import Settings

JOB = "quality"
GAP = timedelta(minutes=30)  # a shop with pages all day does not fall silent for longer
CONSTANT_ROWS = 1_000  # rows from which a number that never changes means a broken column
USUAL = 0.5  # propensity from which the shown price was the chosen one; below, it was explored
MIN_EXPLORED = 100  # explored prices, seen or expected, below which their number says nothing
ODDS = (
    1.5,
    3.0,
)  # factor by which explored prices may exceed or miss the expected number before warning, before urgent
# Numbers that differ from row to row in any living shop.
VARYING = (schema.SIMILARITY, schema.PRICE_MINOR, schema.LIST_PRICE_MINOR, schema.PURCHASE_PROBABILITY)
LIMITS: dict[str, tuple[float, float]] = {  # share of pages or rows above which a check warns, above which it is urgent
    "degraded": (0.01, 0.10),
    "stale_features": (0.05, 0.25),
    "no_customer": (0.20, 0.80),
    "duplicates": (0.0, 0.01),
    "late": (0.001, 0.05),
    "future": (0.0, 0.01),
    "broken_rows": (0.0, 0.01),
}


@dataclass
class LogStatistics:
    """Counts and sums of one pass over the quote log.

    Args:
        stale_seconds: Age from which features are stale.
        rows: Quotes.
        pages: Pages.
        degraded: Cause -> pages priced without features.
        stale: Pages with stale features.
        with_age: Pages with a known age of features.
        anonymous: Pages without a customer.
        undisclosed: Personal prices without a disclosure.
        undisclosed_examples: Three of their quote ids.
        ranges: Column -> (least, greatest) value.
        explored: Quotes that show another price than the chosen one.
        explored_expected: The number of such quotes that the propensities imply.
        minutes: Minutes since 1970 with a page.
        models: Versions of the models.
        newest_policy: Greatest version of the live policy.
    """

    stale_seconds: float
    rows: int = 0
    pages: int = 0
    degraded: Counter[str] = field(default_factory=Counter)
    stale: int = 0
    with_age: int = 0
    anonymous: int = 0
    undisclosed: int = 0
    undisclosed_examples: list[str] = field(default_factory=list)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    explored: int = 0
    explored_expected: float = 0.0
    minutes: set[int] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    newest_policy: int = 0

    def add(self, frame: pd.DataFrame) -> None:
        """Add rows of schema.QUOTES."""
        first = frame[frame[schema.RANK] == 1]
        self.rows += len(frame)
        self.pages += len(first)
        self.models.update(frame[schema.MODEL_VERSION].astype(str).unique())
        self.newest_policy = max(self.newest_policy, int(versions_of(frame).max(initial=0)))
        self._add_features(first)
        self._add_prices(frame)
        seconds = first[schema.TS].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[s]")
        self.minutes.update((seconds.astype(np.int64) // 60).tolist())

    def _add_features(self, first: pd.DataFrame) -> None:
        causes = first[schema.DEGRADED].dropna().astype(str)
        self.degraded.update(causes[causes != STOPPED].tolist())  # a stop is what somebody asked for
        age = pd.to_numeric(first[schema.FEATURE_AGE_SECONDS], errors="coerce").to_numpy(dtype=float)
        self.stale += int((age > self.stale_seconds).sum())
        self.with_age += int(np.isfinite(age).sum())
        self.anonymous += int(first[schema.USER_KEY].isna().sum())

    def _add_prices(self, frame: pd.DataFrame) -> None:
        silent = frame[schema.PERSONALISED].to_numpy(bool) & frame[schema.DISCLOSURE].isna().to_numpy()
        self.undisclosed += int(silent.sum())
        examples = frame.loc[silent, schema.QUOTE_ID].head(3).astype(str).tolist()
        self.undisclosed_examples = (self.undisclosed_examples + examples)[:3]
        propensity = frame[schema.PROPENSITY].to_numpy(dtype=float)
        usual = propensity >= USUAL
        self.explored += int((~usual).sum())
        # a price chosen and shown with propensity p stands for (1 - p) / p draws in which another one was shown
        self.explored_expected += float(((1 - propensity[usual]) / propensity[usual]).sum())
        for name in VARYING:
            values = frame[name].to_numpy(dtype=float)
            low, high = self.ranges.get(name, (np.inf, -np.inf))
            values = values[np.isfinite(values)]  # a model without learned demand gives no probability
            if len(values):
                self.ranges[name] = (min(low, float(values.min())), max(high, float(values.max())))


def run(inputs: Inputs) -> JobReport:
    """Read the window once and check the log."""
    reader = LogReader(inputs.quotes, schema.QUOTES, inputs.window)
    log = LogStatistics(inputs.settings.stale_feature_hours * 3600)
    audit = policy_audit(inputs)
    for frame in reader.batches():
        log.add(frame)
        if isinstance(audit, PolicyAudit):
            audit.add(frame)
    checks: tuple[Check, ...] = (
        log_check(reader.intake),
        traffic_check(log.pages, log.rows, inputs.settings.min_pages),
    )
    if log.rows:
        checks += (
            *_share_checks(log, reader.intake, inputs.settings, customers=_knows_customers(inputs)),
            *_constant_columns(log),
            _silence(log, inputs.window, reader.intake),
            _disclosure(log),
            _propensity(log),
            *_policy(inputs, log, audit),
        )
    start, end = inputs.window.start.isoformat(), inputs.window.end.isoformat()
    detail: dict[str, Any] = {"pages": log.pages, "degraded": dict(log.degraded.most_common(5))}
    return JobReport(JOB, start, end, checks, tuple(sorted(log.models)), reader.intake.as_json(), detail)


def policy_audit(inputs: Inputs) -> PolicyAudit | Check | None:
    """What holds quotes to the live policy; the check that says why nothing can; None without a store or a model."""
    if inputs.policy_store is None or not (inputs.model_folder / POLICY).is_file():
        return None
    try:
        history = PolicyHistory.read(inputs.policy_store, inputs.model_folder, inputs.policy_keys)
    except (UnavailableError, OSError) as error:
        return unread(str(error))
    return PolicyAudit(history, inputs.settings)


def _policy(inputs: Inputs, log: LogStatistics, audit: PolicyAudit | Check | None) -> tuple[Check, ...]:
    if isinstance(audit, PolicyAudit):
        return audit.checks(partial(_earlier, inputs))
    if audit is not None:
        return (audit,)
    return (not_asked(log.newest_policy),) if log.newest_policy else ()


def _earlier(inputs: Inputs, start: datetime) -> Iterator[pd.DataFrame]:
    """The log from an instant on to the end of the window."""
    window = replace(inputs.window, start=min(start, inputs.window.start))
    return LogReader(inputs.quotes, schema.QUOTES, window).batches()


def _knows_customers(inputs: Inputs) -> bool:
    """Whether any customer was known when the model was trained; a shop without customers has only guests."""
    try:
        features = read_reference(inputs.model_folder).profile.features
    except ModelFolderMissing:
        return True
    known = [features[name]["absent"] < 1.0 for name in schema.USER_PRICING_FEATURES if name in features]
    return any(known) or not known


def _share_checks(log: LogStatistics, intake: Intake, settings: Settings, *, customers: bool) -> list[Check]:
    pages, rows = max(1, log.pages), max(1, intake.rows)
    causes = ", ".join(f"{cause} {count:,}" for cause, count in log.degraded.most_common(3))
    shares = {
        "degraded": (sum(log.degraded.values()) / pages, f"of pages are priced without features: {causes or 'none'}"),
        "stale_features": (
            log.stale / max(1, log.with_age),
            f"of pages are priced with features older than {settings.stale_feature_hours:g} h",
        ),
        "no_customer": (log.anonymous / pages, "of pages have no known customer"),
        "duplicates": (intake.duplicates / rows, "of rows repeat an earlier quote and item"),
        "late": (intake.late / rows, "of rows came more than an hour after their neighbours"),
        "future": (intake.future / rows, "of rows are dated in the future: a clock runs ahead"),
        "broken_rows": (sum(intake.broken.values()) / rows, "of rows break the contract"),
    }
    if not customers:
        del shares["no_customer"]
    return [_share_check(name, share, text, intake.rows) for name, (share, text) in shares.items()]


def _share_check(name: str, share: float, text: str, rows: int) -> Check:
    warn, urgent = LIMITS[name]
    status = Status.URGENT if share > urgent else Status.WARN if share > warn else Status.PASS
    return Check(
        name,
        status,
        f"{100 * share:.2g} % {text}",
        value=share,
        reference=0.0,
        change=share,
        warn_at=warn,
        urgent_at=urgent,
        unit="share",
        n=rows,
    )


def _constant_columns(log: LogStatistics) -> list[Check]:
    """A column that never changes comes from a broken upstream job."""
    if log.rows < CONSTANT_ROWS:
        return []
    stuck = [name for name, (low, high) in log.ranges.items() if low == high]
    status = Status.URGENT if stuck else Status.PASS
    summary = f"{', '.join(stuck)} never changes" if stuck else f"{len(VARYING)} columns vary as expected"
    return [Check("constant_column", status, summary, n=log.rows, unit="rows", examples=tuple(stuck))]


def _silence(log: LogStatistics, window: Window, intake: Intake) -> Check:
    """The longest time without a page, up to the edges of the window; time before the first file does not count."""
    minutes = np.array(sorted(log.minutes), dtype=np.int64)
    ends = [window.start, min(window.end, window.now)] if intake.older else [min(window.end, window.now)]
    edges = np.array([end.timestamp() // 60 for end in ends], dtype=np.int64)
    longest = int(np.diff(np.sort(np.concatenate([minutes, edges]))).max(initial=0))
    spacing = window.hours * 60 / max(1, log.pages)
    # a Poisson stream of mean spacing m has a gap beyond 20 m once in e^20 gaps
    allowed = max(GAP.total_seconds() / 60, 20 * spacing)
    status = Status.URGENT if longest > 4 * allowed else Status.WARN if longest > allowed else Status.PASS
    return Check(
        "silence",
        status,
        f"longest time without a page: {longest} min, up to {allowed:.0f} min is normal at this traffic",
        value=float(longest),
        reference=0.0,
        change=float(longest),
        warn_at=allowed,
        urgent_at=4 * allowed,
        unit="minutes",
        n=log.pages,
    )


def _propensity(log: LogStatistics) -> Check:
    """Whether prices were explored as often as the propensities say; if not, no estimate based on them is valid."""
    seen, expected = log.explored, log.explored_expected
    if 2 * seen > log.rows:
        summary = "most prices are drawn at random, so that none of them is the chosen one"
        return Check("propensity", Status.PASS, summary, n=log.rows, unit="quotes")
    if max(seen, expected) < MIN_EXPLORED:
        return Check("propensity", Status.PASS, "too few prices are explored to compare", n=log.rows, unit="quotes")
    ratio = max(seen, 1.0) / max(expected, 1.0)
    odds = max(ratio, 1 / ratio)
    status = Status.URGENT if odds > ODDS[1] else Status.WARN if odds > ODDS[0] else Status.PASS
    return Check(
        "propensity",
        status,
        f"{seen:,} quotes show another price than the chosen one, their propensities imply {expected:,.0f}",
        value=float(seen),
        reference=expected,
        change=seen - expected,
        warn_at=(ODDS[0] - 1) * expected,
        urgent_at=(ODDS[1] - 1) * expected,
        unit="quotes",
        n=log.rows,
    )


def _disclosure(log: LogStatistics) -> Check:
    status = Status.URGENT if log.undisclosed else Status.PASS
    return Check(
        "disclosure_missing",
        status,
        f"{log.undisclosed:,} personal prices among {log.rows:,} quotes have no disclosure",
        value=float(log.undisclosed),
        reference=0.0,
        warn_at=0.0,
        urgent_at=0.0,
        unit="quotes",
        n=log.rows,
        examples=tuple(log.undisclosed_examples),
    )
