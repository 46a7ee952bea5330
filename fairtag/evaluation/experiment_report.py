"""The report of a live experiment: what each arm earned, what may be believed of it, and whether to go on.

    report = report_experiment(experiment, pages, now=datetime.now(UTC))
    report.verdict, report.words

The customer is the unit, and of guests the session: each counts once, in the arm first seen, with what was earned in
the window from the first page. So an interval is clustered by customer and session. Only those whose window is over
take part in the test, which looks at the end of every day; its confidence holds over all looks together
(:mod:`fairtag.evaluation.experiment`). A sale of unknown cost counts as if nothing were earned. Whom a change of the
user key may have named twice takes no part, and is counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import ConfigError
from fairtag.base.money import currency
from fairtag.base.normal import Z95
from fairtag.evaluation.experiment import Advice, Metric, SplitCheck, Sums, read_experiment, split_check
from fairtag.evaluation.experiment_customers import (
    CONVERSION,
    DAY,
    GUEST,
    PROFIT,
    Uncounted,
    customers_of,
    follow,
    uncounted,
)
from fairtag.evaluation.experiment_log import ExperimentPages
from fairtag.evaluation.experiment_plan import LEAST_CUSTOMERS, Traffic, plan
from fairtag.fairness.audit import AuditReport, audit
from fairtag.fairness.sequential import SequentialState
from fairtag.policy.experiments import Experiment, Split

Floats = NDArray[np.float64]


class Verdict(StrEnum):
    """What to do with an experiment."""

    GO_ON = "go on"
    DECIDED = "decided"
    HARM = "stop for harm"
    ENOUGH = "enough"
    BROKEN = "broken"


@dataclass(frozen=True)
class ArmFigures:
    """What was seen of one arm.

    Args:
        arm: The arm.
        share: Its planned share of all customers.
        customers: Customers and guests' sessions assigned to it so far.
        whole: Those of them whose window is over; the figures below are theirs.
        pages: Pages that they and the others were quoted.
        guest_pages: Pages of guests.
        guests: Those of the counted that are sessions.
        guest_profit: Mean profit of one of these, currency units; NaN without any.
        profit: Mean profit a customer, currency units; NaN without customers.
        low: Lower end of its 95 % interval, for this look alone.
        high: Upper end.
        conversion: Share of customers who bought.
        price: Mean quoted price as a share of list.
        gap: Largest gap between two audited groups, as log price; NaN where none was audited.
        gap_group: Whose gap that is.
    """

    arm: str
    share: float
    customers: int
    whole: int
    pages: int
    guest_pages: int
    guests: int
    guest_profit: float
    profit: float
    low: float
    high: float
    conversion: float
    price: float
    gap: float = math.nan
    gap_group: str = ""


@dataclass(frozen=True)
class Comparison:
    """An arm beside the control.

    Args:
        arm: The arm.
        advice: Of :func:`fairtag.evaluation.experiment.read_experiment` after the last look.
        why: Its reason.
        looks: Days that were looked at.
        profit: Sequential state of profit a customer.
        conversion: Sequential state of conversion.
    """

    arm: str
    advice: Advice
    why: str
    looks: int
    profit: SequentialState
    conversion: SequentialState


@dataclass(frozen=True)
class ExperimentReport:
    """The whole report.

    Args:
        name: Name of the experiment.
        terms: What the policy says about it, in one line.
        first: Time of the first page; None before there is one.
        until: Time of the report.
        arms: The control first, the holdout last.
        comparisons: Of every other arm with the control; none of the holdout.
        split: Whether customers arrive in the planned shares.
        moved: Customers who were seen in two arms; each counts in the first.
        verdict: What to do.
        words: The verdict and its reason.
        needed: Customers with a whole window that the plan asks for; None where that cannot be told yet.
        days_left: Days until they are there at this traffic; infinite where never, None where it cannot be told.
        unreadable: Files of the log that could not be read.
        uncounted: What takes no part.
    """

    name: str
    terms: str
    first: datetime | None
    until: datetime
    arms: tuple[ArmFigures, ...]
    comparisons: tuple[Comparison, ...]
    split: SplitCheck
    moved: int
    verdict: Verdict
    words: str
    needed: int | None = None
    days_left: float | None = None
    unreadable: tuple[str, ...] = ()
    uncounted: Uncounted = field(default_factory=Uncounted)

    @property
    def guests(self) -> str:
        """What guests' sessions did and how they count, in words; empty without any."""
        each = {arm.arm: arm.guest_profit for arm in self.arms if arm.guests}
        if not each:
            return ""
        profits = ", ".join(f"{name} {profit:.2f}" for name, profit in each.items())
        return (
            f"{sum(arm.guests for arm in self.arms):,} of the counted are guests (profit each: {profits}): a guest is "
            "a session, and counts again as a customer after signing in"
        )

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; a figure that is not finite is null."""
        document: dict[str, Any] = _finite(asdict(self))
        return {"schema": "fairtag.experiment-report/1", **document}


def report_experiment(
    experiment: Experiment,
    pages: ExperimentPages,
    *,
    now: datetime,
    groups: pd.DataFrame | None = None,
    names: Mapping[str, str] | None = None,
) -> ExperimentReport:
    """Read an experiment.

    Args:
        experiment: As the policy declares it.
        pages: Its pages and their outcomes.
        now: Aware time; later rows do not count.
        groups: Audit table with ``user_key``, ``attribute`` and ``group``; None audits nothing.
        names: Of :func:`fairtag.evaluation.experiment_customers.known_keys`, for a test during which the user key
            changed; None where user ids or keys are not known.

    Raises:
        ConfigError: The log names an arm that the experiment does not have, or has prices in several currencies.
    """
    quotes = pages.quotes[pages.quotes[schema.TS] <= now]
    if unknown := sorted(set(quotes[schema.ARM]) - set(experiment.split.shares)):
        raise ConfigError(
            f"experiment {experiment.name!r}: the log has arms {unknown}, the policy {list(experiment.split.shares)}; "
            "another experiment had this name, so give this one a new name"
        )
    unit, followed = _minor_units(experiment, quotes), follow(quotes, names)
    everybody = customers_of(followed, pages.outcomes, experiment.window_days, unit, now)
    left_out = uncounted(followed, pages.outcomes, everybody, unit)
    customers = everybody[~everybody["excluded"]]
    counts = {arm: int((customers[schema.ARM] == arm).sum()) for arm in experiment.split.shares}
    checked = split_check(counts, experiment.split)
    arms = tuple(_figures(experiment, arm, customers, quotes, groups) for arm in experiment.split.shares)
    comparisons = tuple(compare_with_control(experiment, arm.name, customers) for arm in experiment.arms[1:])
    needed, days_left = _outlook(experiment, customers, now)
    verdict, words = _verdict(experiment, comparisons, checked, counts, (needed, days_left), now)
    return ExperimentReport(
        experiment.name,
        experiment.words,
        None if quotes.empty else quotes[schema.TS].min().to_pydatetime(),
        now,
        arms,
        comparisons,
        checked,
        int(customers["moved"].sum()),
        verdict,
        words,
        needed,
        days_left,
        pages.unreadable,
        left_out,
    )


def _minor_units(experiment: Experiment, quotes: pd.DataFrame) -> int:
    codes = sorted(set(quotes[schema.CURRENCY]))
    if len(codes) > 1:
        raise ConfigError(
            f"experiment {experiment.name!r}: its pages are in {', '.join(codes)}, and several currencies have no "
            "sum; report each shop by itself"
        )
    return currency(codes[0]).minor_per_unit if codes else 1


def _figures(
    experiment: Experiment, arm: str, customers: pd.DataFrame, quotes: pd.DataFrame, groups: pd.DataFrame | None
) -> ArmFigures:
    mine, shown = customers[customers[schema.ARM] == arm], quotes[quotes[schema.ARM] == arm]
    whole = mine[mine["whole"]]
    profit, n = whole[PROFIT].to_numpy(dtype=np.float64), len(whole)
    guests = profit[whole[GUEST].to_numpy(dtype=bool)]
    mean = float(profit.mean()) if n else math.nan
    reach = float(Z95 * profit.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    gap, group = _widest_gap(shown, groups)
    return ArmFigures(
        arm=arm,
        share=experiment.split.shares[arm],
        customers=len(mine),
        whole=n,
        pages=int(shown[schema.QUOTE_ID].nunique()),
        guest_pages=int(shown[shown[schema.USER_KEY].isna()][schema.QUOTE_ID].nunique()),
        guests=guests.size,
        guest_profit=float(guests.mean()) if guests.size else math.nan,
        profit=mean,
        low=mean - reach,
        high=mean + reach,
        conversion=float(whole[CONVERSION].mean()) if n else math.nan,
        price=float((shown[schema.PRICE_MINOR] / shown[schema.LIST_PRICE_MINOR]).mean()) if len(shown) else math.nan,
        gap=gap,
        gap_group=group,
    )


def _widest_gap(quotes: pd.DataFrame, groups: pd.DataFrame | None) -> tuple[float, str]:
    """The largest price gap of an arm between audited groups; NaN where none could be estimated."""
    known = quotes[quotes[schema.USER_KEY].notna()]
    if groups is None or groups.empty or known.empty:
        return math.nan, ""
    found: AuditReport = audit(known, groups, seed=0)
    gaps = [each for each in found.findings if math.isfinite(each.gap)]
    if not gaps:
        return math.nan, ""
    widest = max(gaps, key=lambda each: abs(each.gap))
    return float(widest.gap), f"{widest.attribute} {widest.group}"


def compare_with_control(experiment: Experiment, arm: str, customers: pd.DataFrame) -> Comparison:
    """An arm beside the control, looked at the end of every day on which both had enough customers.

    Args:
        experiment: As it was declared.
        arm: The arm.
        customers: Of :func:`customers_of`; those whose window is not over do not count.
    """
    control, whole = experiment.arms[0].name, customers[customers["whole"]]
    level = 1 - (1 - experiment.confidence) / max(len(experiment.arms) - 1, 1)
    daily = {name: _running_sums(experiment, whole, name) for name in (control, arm)}
    shares = {name: experiment.split.shares[name] for name in (control, arm)}
    split = Split(experiment.name, {name: share / sum(shares.values()) for name, share in shares.items()})
    states: Mapping[str, SequentialState] = {PROFIT: SequentialState(), CONVERSION: SequentialState()}
    advice, why, guard = Advice.CONTINUE, f"fewer than {LEAST_CUSTOMERS} customers an arm have their window over", None
    for sums in zip(daily[control], daily[arm], strict=True):
        if min(each[PROFIT].n for each in sums) < LEAST_CUSTOMERS:
            continue
        bought = sums[0][CONVERSION].mean
        if guard is None:  # its scale is fixed at the first look
            guard = max(experiment.margin * (bought or sums[1][CONVERSION].mean), 1e-4)
        metrics = (
            Metric(PROFIT, experiment.effect),
            Metric(CONVERSION, guard, margin=max(experiment.margin * bought, 1e-4)),
        )
        reading = read_experiment(split, metrics, dict(zip(shares, sums, strict=True)), states, confidence=level)
        states, advice, why = reading.states, reading.advice, reading.why
    return Comparison(arm, advice, why, states[PROFIT].looks, states[PROFIT], states[CONVERSION])


def _running_sums(experiment: Experiment, whole: pd.DataFrame, arm: str) -> list[dict[str, Sums]]:
    """Sums over the customers of an arm whose window was over by the end of each day since the first page."""
    if whole.empty:
        return []
    ends = whole["first"] + timedelta(days=experiment.window_days)
    day = np.floor((ends - whole["first"].min()).dt.total_seconds().to_numpy() / DAY).astype(np.int64)
    size, mine = int(day.max()) + 1, (whole[schema.ARM] == arm).to_numpy()
    count = np.bincount(day[mine], minlength=size).cumsum()
    running: dict[str, tuple[Floats, Floats]] = {}
    for name in (PROFIT, CONVERSION):
        values = whole[name].to_numpy(dtype=np.float64)[mine]
        total, squares = (np.bincount(day[mine], weights=x, minlength=size).cumsum() for x in (values, values**2))
        running[name] = (total.astype(np.float64), squares.astype(np.float64))
    days = np.unique(day)
    return [
        {name: Sums(int(count[k]), float(total[k]), float(squares[k])) for name, (total, squares) in running.items()}
        for k in days.tolist()
    ]


def _outlook(experiment: Experiment, customers: pd.DataFrame, now: datetime) -> tuple[int | None, float | None]:
    """Whole customers that the test asks for, and the days until they are there; None where it cannot be told."""
    control = customers[customers["whole"] & (customers[schema.ARM] == experiment.arms[0].name)]
    took_part = customers[customers[schema.ARM].isin([arm.name for arm in experiment.arms])]
    if len(control) < LEAST_CUSTOMERS or not control[PROFIT].mean() > 0 or not control[PROFIT].std() > 0:
        return None, None
    start = took_part["first"].min()
    first = ((took_part["first"] - start).dt.total_seconds() / DAY).to_numpy(dtype=np.float64)
    so_far = max((now - start.to_pydatetime()).total_seconds() / DAY, 1.0)
    traffic = Traffic(first, control[PROFIT].to_numpy(dtype=np.float64), so_far, experiment.window_days)
    wanted = plan(
        traffic,
        experiment.effect / traffic.mean,
        share=1 - experiment.arms[0].share,
        confidence=experiment.confidence,
    )
    return wanted.sequential, max(wanted.days - so_far, 0.0)


def _verdict(
    experiment: Experiment,
    comparisons: tuple[Comparison, ...],
    split: SplitCheck,
    counts: Mapping[str, int],
    outlook: tuple[int | None, float | None],
    now: datetime,
) -> tuple[Verdict, str]:
    """The verdict over all arms: a broken split first, then harm, then a gain, then whether it is over."""
    if split.broken:
        return Verdict.BROKEN, (
            f"customers do not arrive in the planned shares ({_listed(counts)}): nothing else may be believed; find "
            "out where customers are lost, and begin a test with a new name"
        )
    by = {advice: [each for each in comparisons if each.advice is advice] for advice in Advice}
    if harmed := by[Advice.STOP]:
        each = harmed[0]
        return Verdict.HARM, (
            f"{each.arm}: {each.why}; {_range(each.profit)}: fairtag experiment stop {experiment.name} RUN --why TEXT"
        )
    if better := by[Advice.SHIP]:
        best = max(better, key=lambda each: each.profit.estimate)
        return Verdict.DECIDED, f"{best.arm}: {best.why}; {_range(best.profit)}"
    needed, days_left = outlook
    whole = min((each.looks for each in comparisons), default=0)
    ended = experiment.stopped or (experiment.ends is not None and _over(experiment, now))
    if ended or (whole and days_left == 0.0):
        why = "it is over" if ended else "as many customers as planned have been watched"
        return Verdict.ENOUGH, f"{why}, and no arm surely differs. {_undecided(comparisons)}"
    if needed is None:
        return Verdict.GO_ON, f"too early: {comparisons[0].why}"
    wait = f"about {days_left:,.0f} more days" if days_left is not None and math.isfinite(days_left) else "too few come"
    return Verdict.GO_ON, f"{_undecided(comparisons)}; {needed:,} customers are planned, {wait}"


def _over(experiment: Experiment, now: datetime) -> bool:
    """Whether the windows of all customers are over."""
    assert experiment.ends is not None, "asked of an experiment that ends"
    last = datetime.combine(experiment.ends, datetime.min.time(), UTC) + timedelta(days=1)
    return last + timedelta(days=experiment.window_days) <= now


def _undecided(comparisons: tuple[Comparison, ...]) -> str:
    return "; ".join(f"{each.arm}: {_range(each.profit)}" for each in comparisons)


def _range(state: SequentialState) -> str:
    if not math.isfinite(state.estimate):
        return "profit a customer is not known yet"
    return f"profit a customer {state.estimate:+.2f}, between {state.low:+.2f} and {state.high:+.2f}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return value.item() if isinstance(value, np.generic) else value
