"""The performance job: joins the shop's outcomes to the quotes and compares purchases with the model's predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import ConfigError
from fairtag.base.types import Status
from fairtag.profile.measures import Estimate, Lookup, clusters_of
from fairtag.profile.profile import Profile
from monitoring.detect.checks import ChangeDetector, Comparison, log_check, remember_since, traffic_check
from monitoring.detect.evidence import change_of
from monitoring.detect.state import State
from monitoring.detect.window import LogReader, Window
from monitoring.inputs import Inputs, cursor_of, job_state, read_reference, take_step
from monitoring.job_report import Check, JobReport
from monitoring.jobs import performance_fit as fit
from monitoring.jobs.experiment_checks import experiment_checks

JOB = "performance"
KEY = [schema.QUOTE_ID, schema.ITEM_ID]
MIN_PURCHASES = 30  # with fewer purchases, their ratio to the prediction says nothing
STEP_PURCHASES = 20  # new purchases that the detectors wait for
DELAYS = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class OutcomeJoin:
    """Quotes joined with their outcomes.

    Args:
        frame: Quotes with quantity (0 if not bought) and delay in hours (NaN if not bought).
        orphans: Number of outcomes without a quote in the window.
        early: Number of outcomes dated before their quote: a clock is wrong.
    """

    frame: pd.DataFrame
    orphans: int
    early: int


def run(inputs: Inputs) -> JobReport:
    """Compare the quotes whose purchases the shop has had time to report."""
    if inputs.outcomes is None:
        raise ConfigError("the performance job needs the option --outcomes")
    reference = read_reference(inputs.model_folder)
    window, settings = inputs.window, inputs.settings
    mature = mature_window(window, settings.maturity_hours)
    quotes = LogReader(inputs.quotes, schema.QUOTES, mature)
    outcomes = LogReader(inputs.outcomes, schema.OUTCOMES, replace(window, start=mature.start))
    joined = join_outcomes(quotes.frame(), outcomes.frame())
    with job_state(inputs, JOB, reference.version) as state:
        pages = int((joined.frame[schema.RANK] == 1).sum())
        traffic = traffic_check(pages, len(joined.frame), settings.min_pages)
        checks: tuple[Check, ...] = (
            log_check(quotes.intake),
            log_check(outcomes.intake, "outcomes"),
            traffic,
            _join_check(joined),
        )
        if traffic.status is Status.PASS:
            checks += _performance_checks(replace(inputs, window=mature), joined.frame, reference.profile, state)
        checks += experiment_checks(inputs)
        checks = remember_since(checks, window.start.isoformat(), state)
    models = tuple(sorted(joined.frame[schema.MODEL_VERSION].unique()))
    detail = {
        "model_folder": reference.version,
        "pages": pages,
        "mature_until": mature.end.isoformat(),
        **summary(joined),
    }
    return JobReport(
        JOB, window.start.isoformat(), window.end.isoformat(), checks, models, quotes.intake.as_json(), detail
    )


def mature_window(window: Window, maturity_hours: float) -> Window:
    """The part of a window whose purchases have been reported.

    If there is none, the window is moved ``maturity_hours`` into the past.
    """
    wait = timedelta(hours=maturity_hours)
    if window.end - wait > window.start:
        return replace(window, end=window.end - wait)
    return Window(window.start - wait, window.end - wait, window.now)


def join_outcomes(quotes: pd.DataFrame, outcomes: pd.DataFrame) -> OutcomeJoin:
    """Join quotes with their outcomes on quote and item; quotes without an outcome stay, with quantity 0."""
    bought = outcomes[[*KEY, schema.TS, schema.QUANTITY]].rename(columns={schema.TS: "bought_at"})
    frame = quotes.merge(bought, on=KEY, how="left")
    bought_rows = int(frame["bought_at"].notna().sum())
    delay = (pd.to_datetime(frame["bought_at"], utc=True) - pd.to_datetime(frame[schema.TS], utc=True)).dt
    hours = delay.total_seconds() / 3600
    orphans = len(bought) - bought_rows
    units = pd.to_numeric(frame[schema.QUANTITY], errors="coerce").fillna(0.0)
    return OutcomeJoin(frame.assign(**{schema.QUANTITY: units, "delay": hours}), orphans, int((hours < 0).sum()))


def summary(joined: OutcomeJoin) -> dict[str, Any]:
    """Conversion, revenue and delays for the report; ``delay_hours`` holds quantiles."""
    frame = joined.frame
    delay = frame["delay"].dropna().to_numpy()
    pages = max(1, int((frame[schema.RANK] == 1).sum()))
    revenue = float((frame[schema.QUANTITY] * frame[schema.PRICE_MINOR]).sum())
    return {
        "purchases": int((frame[schema.QUANTITY] > 0).sum()),
        "conversion": float((frame[schema.QUANTITY] > 0).sum() / pages),
        "revenue_minor": revenue,
        "delay_hours": {str(q): float(np.quantile(delay, q)) for q in DELAYS} if len(delay) else {},
        "orphans": joined.orphans,
    }


def _join_check(joined: OutcomeJoin) -> Check:
    if joined.early:
        summary = f"{joined.early:,} purchases are dated before their quote: a clock is wrong"
        return Check("outcomes_join", Status.UNKNOWN, summary, n=joined.early)
    summary = f"{joined.orphans:,} outcomes belong to quotes outside the window"
    return Check("outcomes_join", Status.PASS, summary, n=len(joined.frame))


def _performance_checks(
    inputs: Inputs, frame: pd.DataFrame, profile: Profile, state: State | None
) -> tuple[Check, ...]:
    purchases = int((frame[schema.QUANTITY] > 0).sum())
    if purchases < MIN_PURCHASES:
        summary = f"{purchases} purchases, {MIN_PURCHASES} needed"
        return (Check("purchases", Status.UNKNOWN, summary, value=float(purchases), n=len(frame)),)
    if frame[schema.PURCHASE_PROBABILITY].isna().all():
        summary = "the model has learned no demand yet, so there is nothing to compare the purchases with"
        return (Check("purchases", Status.UNKNOWN, summary, value=float(purchases), n=len(frame)),)
    frame = frame[frame[schema.PURCHASE_PROBABILITY].notna()]
    cursor = cursor_of(inputs, state)
    fresh = None if cursor is None else frame[frame[schema.TS] >= pd.Timestamp(cursor)]
    pages = 0 if fresh is None else int((fresh[schema.RANK] == 1).sum())
    hours = take_step(inputs, pages, state, enough=_enough_purchases(fresh))
    all_comparisons = comparisons(frame, fresh if hours is not None else None, profile, inputs)
    detector = ChangeDetector(inputs.settings, len(all_comparisons), hours, state)
    return tuple(detector.check(comparison) for comparison in all_comparisons)


def _enough_purchases(fresh: pd.DataFrame | None) -> bool:
    """Whether there are enough new purchases for a step of the detectors."""
    return fresh is not None and int((fresh[schema.QUANTITY] > 0).sum()) >= STEP_PURCHASES


def purchase_data(frame: pd.DataFrame, lookup: Lookup) -> fit.PurchaseData:
    """The joined quotes as arrays; ``lookup`` holds the price level of each item in training."""
    units = frame[schema.QUANTITY].to_numpy(dtype=np.float64)
    price = frame[schema.PRICE_MINOR].to_numpy(dtype=np.float64)
    ratio = np.log(price / frame[schema.REFERENCE_PRICE_MINOR].to_numpy(dtype=np.float64))
    usual = (lookup.logs[schema.PRICE_MINOR] - lookup.logs[schema.REFERENCE_PRICE_MINOR]).to_numpy()
    position = lookup.items.get_indexer(pd.Index(frame[schema.ITEM_ID]))
    return fit.PurchaseData(
        frame[schema.PURCHASE_PROBABILITY].to_numpy(dtype=np.float64),
        (units > 0).astype(np.float64),
        units,
        price,
        np.where(position >= 0, ratio - usual[position], 0.0),
        clusters_of(frame),
    )


def comparisons(frame: pd.DataFrame, fresh: pd.DataFrame | None, profile: Profile, inputs: Inputs) -> list[Comparison]:
    """Comparisons of totals, calibration, log loss and elasticity.

    The categories are those of training whatever the window holds, because another set would start new detectors.

    Args:
        frame: Joined quotes of the window.
        fresh: Joined quotes that the detectors have not seen; None leaves the detectors as they are.
        profile: Reference of the model.
        inputs: Settings.
    """
    categories, lookup = tuple(sorted(profile.items[schema.CATEGORY].astype(str).unique())), profile.lookup
    window = measures(frame, categories, lookup)
    recent = None
    if fresh is not None:
        recent = window if fresh is frame else measures(fresh, categories, lookup)
    labels = {"category_purchases": categories}
    return [
        _comparison(
            name, labels.get(name, ("all",)), window[name], None if recent is None else recent[name], frame, inputs
        )
        for name in window
    ]


def measures(frame: pd.DataFrame, categories: tuple[str, ...], lookup: Lookup) -> dict[str, Estimate]:
    """All figures of the job over joined quotes, by name of the check."""
    data = purchase_data(frame, lookup)
    codes = pd.Index(categories).get_indexer(pd.Index(frame[schema.CATEGORY].astype(str))).astype(np.int64)
    known = codes >= 0  # the drift job reports categories that were not in training
    one = np.zeros(len(data), dtype=np.int64)
    paid, expected = data.bought * data.price, data.probability * data.price
    return {
        "purchases": fit.log_observed_to_expected(data.bought, data.probability, data.cluster, one, 1),
        "revenue": fit.log_observed_to_expected(paid, expected, data.cluster, one, 1),
        "category_purchases": fit.log_observed_to_expected(
            data.bought[known], data.probability[known], data.cluster[known], codes[known], len(categories)
        ),
        "calibration_slope": fit.calibration_slope(data),
        "log_loss": fit.log_loss_ratio(data),
        "elasticity": fit.elasticity_change(data),
    }


# Check -> (unit, value of a perfect model); all other checks are log ratios around 0.
UNITS = {"calibration_slope": ("slope", 1.0), "elasticity": ("elasticity", 0.0)}


def _comparison(
    name: str,
    labels: tuple[str, ...],
    window: Estimate,
    recent: Estimate | None,
    frame: pd.DataFrame,
    inputs: Inputs,
) -> Comparison:
    unit, perfect = UNITS.get(name, ("log ratio", 0.0))
    reference = np.full(len(labels), perfect)
    tolerance = inputs.settings.tolerance(name)
    value = np.expm1(window.value) if unit == "log ratio" else window.value
    return Comparison(
        name,
        labels,
        change_of(window, reference),
        None if recent is None else change_of(recent, reference),
        window.value,
        reference,
        np.full(len(labels), tolerance.warn),
        np.full(len(labels), tolerance.urgent),
        np.full(len(labels), float(len(frame))),
        unit,
        lambda j: _describe(name, labels[j], float(value[j])),
    )


def _describe(name: str, label: str, value: float) -> str:
    if name == "calibration_slope":
        return f"calibration slope {value:.2f}, calibrated is 1.00"
    if name == "elasticity":
        side = "less" if value > 0 else "more"
        return f"price elasticity {value:+.2f} against the model: customers are {side} price-sensitive"
    what = {
        "purchases": "purchases",
        "revenue": "revenue",
        "category_purchases": f"purchases in {label}",
        "log_loss": "log loss",
    }[name]
    return f"{what} {100 * value:+.1f} % against the prediction"
