"""The quality job: is the quote log whole, in range, on time and disclosed?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.types import Status
from monitoring.detect.checks import remember_since
from monitoring.detect.window import Intake, LogReader, Window
from monitoring.inputs import Inputs
from monitoring.job_report import Check, JobReport
from monitoring.jobs.log_checks import log_check, traffic_check
from monitoring.settings import Settings

JOB = "quality"
GAP = timedelta(minutes=30)  # a shop that has served pages all day does not fall silent for so long
CONSTANT_ROWS = 1_000  # rows from which a number that never changes is a broken column
USUAL = 0.5  # chance from which the shown price was the chosen one, and below which it was one of the others
OTHERS = 100  # prices other than the chosen one, seen or expected, below which their number says nothing
ODDS = (1.5, 3.0)  # times too many or too few of them that warn and that page
# Numbers that differ from row to row in any living shop.
LIVELY = (schema.SIMILARITY, schema.PRICE_MINOR, schema.LIST_PRICE_MINOR, schema.PURCHASE_PROBABILITY)
LIMITS: dict[str, tuple[float, float]] = {  # share of pages or rows that warns and that pages
    "degraded": (0.01, 0.10),
    "stale_features": (0.05, 0.25),
    "no_customer": (0.20, 0.80),
    "duplicates": (0.0, 0.01),
    "late": (0.001, 0.05),
    "future": (0.0, 0.01),
    "broken_rows": (0.0, 0.01),
}


@dataclass
class Health:
    """Sums of one pass over the log; features older than ``stale_seconds`` are stale."""

    stale_seconds: float
    rows: int = 0
    pages: int = 0
    degraded: Counter[str] = field(default_factory=Counter)
    stale: int = 0
    aged: int = 0
    nameless: int = 0
    undisclosed: int = 0
    undisclosed_examples: list[str] = field(default_factory=list)
    lively: dict[str, tuple[float, float]] = field(default_factory=dict)
    others: int = 0
    others_expected: float = 0.0
    minutes: set[int] = field(default_factory=set)
    models: set[str] = field(default_factory=set)

    def add(self, frame: pd.DataFrame) -> None:
        """Take in rows of schema.QUOTES."""
        first = frame[frame[schema.RANK] == 1]
        self.rows += len(frame)
        self.pages += len(first)
        self.degraded.update(first[schema.DEGRADED].dropna().astype(str).tolist())
        age = pd.to_numeric(first[schema.FEATURE_AGE_SECONDS], errors="coerce").to_numpy(dtype=float)
        self.stale += int((age > self.stale_seconds).sum())
        self.aged += int(np.isfinite(age).sum())
        self.nameless += int(first[schema.USER_KEY].isna().sum())
        silent = frame[schema.PERSONALISED].to_numpy(bool) & frame[schema.DISCLOSURE].isna().to_numpy()
        self.undisclosed += int(silent.sum())
        examples = frame.loc[silent, schema.QUOTE_ID].head(3).astype(str).tolist()
        self.undisclosed_examples = (self.undisclosed_examples + examples)[:3]
        chance = frame[schema.PROPENSITY].to_numpy(dtype=float)
        usual = chance >= USUAL
        self.others += int((~usual).sum())
        self.others_expected += float(((1 - chance[usual]) / chance[usual]).sum())
        for name in LIVELY:
            values = frame[name].to_numpy(dtype=float)
            low, high = self.lively.get(name, (np.inf, -np.inf))
            self.lively[name] = (min(low, float(values.min())), max(high, float(values.max())))
        seconds = first[schema.TS].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[s]")
        self.minutes.update((seconds.astype(np.int64) // 60).tolist())
        self.models.update(frame[schema.MODEL_VERSION].astype(str).unique())


def run(inputs: Inputs) -> JobReport:
    """Read the window once and judge the log."""
    reader = LogReader(inputs.quotes, schema.QUOTES, inputs.window)
    health = Health(inputs.settings.stale_feature_hours * 3600)
    for frame in reader.batches():
        health.add(frame)
    checks: tuple[Check, ...] = (log_check(reader.intake), traffic_check(inputs, health.pages, health.rows))
    if health.rows:
        checks += (
            *_shares(health, reader.intake, inputs.settings),
            *_lively(health),
            _silence(health, inputs.window, reader.intake),
        )
        checks += (_disclosed(health), _propensity(health))
    start, end = inputs.window.start.isoformat(), inputs.window.end.isoformat()
    detail: dict[str, Any] = {"pages": health.pages, "degraded": dict(health.degraded.most_common(5))}
    checks = remember_since(checks, start, None)
    return JobReport(JOB, start, end, checks, tuple(sorted(health.models)), reader.intake.as_json(), detail)


def _shares(health: Health, intake: Intake, settings: Settings) -> list[Check]:
    pages, rows = max(1, health.pages), max(1, intake.rows)
    causes = ", ".join(f"{cause} {count:,}" for cause, count in health.degraded.most_common(3))
    found = {
        "degraded": (sum(health.degraded.values()) / pages, f"pages served without their features: {causes or 'none'}"),
        "stale_features": (
            health.stale / max(1, health.aged),
            f"pages priced on features older than {settings.stale_feature_hours:g} h",
        ),
        "no_customer": (health.nameless / pages, "pages without a known customer"),
        "duplicates": (intake.duplicates / rows, "rows that repeat an earlier quote and item"),
        "late": (intake.late / rows, "rows that came more than an hour after their neighbours"),
        "future": (intake.future / rows, "rows with a time in the future: a clock runs ahead"),
        "broken_rows": (sum(intake.broken.values()) / rows, "rows that break the contract"),
    }
    return [_share(name, share, what, intake.rows) for name, (share, what) in found.items()]


def _share(name: str, share: float, what: str, rows: int) -> Check:
    warn, page = LIMITS[name]
    status = Status.URGENT if share > page else Status.WARN if share > warn else Status.PASS
    return Check(
        name,
        status,
        f"{100 * share:.2g} % {what}",
        value=share,
        reference=0.0,
        change=share,
        warn_at=warn,
        page_at=page,
        unit="share",
        n=rows,
    )


def _lively(health: Health) -> list[Check]:
    """A column that never changes comes from a broken job upstream."""
    if health.rows < CONSTANT_ROWS:
        return []
    stuck = [name for name, (low, high) in health.lively.items() if low == high]
    status = Status.URGENT if stuck else Status.PASS
    summary = f"{', '.join(stuck)} never changes" if stuck else f"{len(LIVELY)} columns vary as they should"
    return [Check("constant_column", status, summary, n=health.rows, unit="rows", examples=tuple(stuck))]


def _silence(health: Health, window: Window, intake: Intake) -> Check:
    """The longest time without a page, up to the edges of the window; what was before the log's first file is not."""
    minutes = np.array(sorted(health.minutes), dtype=np.int64)
    ends = [window.start, min(window.end, window.now)] if intake.older else [min(window.end, window.now)]
    edges = np.array([end.timestamp() // 60 for end in ends], dtype=np.int64)
    longest = int(np.diff(np.sort(np.concatenate([minutes, edges]))).max(initial=0))
    usual = window.hours * 60 / max(1, health.pages)
    # a Poisson stream of mean spacing m has a gap beyond 20 m once in e^20 gaps
    allowed = max(GAP.total_seconds() / 60, 20 * usual)
    status = Status.URGENT if longest > 4 * allowed else Status.WARN if longest > allowed else Status.PASS
    return Check(
        "silence",
        status,
        f"longest time without a page: {longest} min, {allowed:.0f} are usual at this traffic",
        value=float(longest),
        reference=0.0,
        change=float(longest),
        warn_at=allowed,
        page_at=4 * allowed,
        unit="minutes",
        n=health.pages,
    )


def _propensity(health: Health) -> Check:
    """Whether prices were explored as often as the log says, or no estimate from their propensities holds.

    A price chosen with chance p and shown stands for ``(1 - p) / p`` draws in which another was shown: summed over the
    log, the number of others that is to be expected.
    """
    seen, expected = health.others, health.others_expected
    if max(seen, expected) < OTHERS or 2 * seen > health.rows:
        little = "nothing, or too little, is explored to be judged"
        said = little if 2 * seen <= health.rows else "most prices are drawn at random: none of them is the usual one"
        return Check("propensity", Status.PASS, said, n=health.rows, unit="quotes")
    ratio = max(seen, 1.0) / max(expected, 1.0)
    odds = max(ratio, 1 / ratio)
    status = Status.URGENT if odds > ODDS[1] else Status.WARN if odds > ODDS[0] else Status.PASS
    said = f"{seen:,} quotes show another price than the chosen one, {expected:,.0f} by their propensities"
    return Check(
        "propensity", status, said, value=float(seen), reference=expected, change=seen - expected,
        warn_at=(ODDS[0] - 1) * expected, page_at=(ODDS[1] - 1) * expected, unit="quotes", n=health.rows,
    )  # fmt: skip


def _disclosed(health: Health) -> Check:
    said = f"{health.undisclosed:,} of {health.rows:,} personal prices carry no disclosure"
    status = Status.URGENT if health.undisclosed else Status.PASS
    return Check(
        "disclosure_missing",
        status,
        said,
        value=float(health.undisclosed),
        reference=0.0,
        warn_at=0.0,
        page_at=0.0,
        unit="quotes",
        n=health.rows,
        examples=tuple(health.undisclosed_examples),
    )
