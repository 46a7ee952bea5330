"""The performance job: did customers buy as the model said they would? Joins outcomes to quotes."""

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
from monitoring.detect.checks import Judge, Question, remember_since
from monitoring.detect.evidence import change_of
from monitoring.detect.state import State
from monitoring.detect.window import LogReader, Window
from monitoring.inputs import Inputs, cursor_of, job_state, read_reference, take_step
from monitoring.job_report import Check, JobReport
from monitoring.jobs import performance_fit as fit
from monitoring.jobs.log_checks import log_check, traffic_check

JOB = "performance"
KEY = [schema.QUOTE_ID, schema.ITEM_ID]
MIN_PURCHASES = 30  # below so many purchases a ratio of them says nothing
STEP_PURCHASES = 20  # new purchases that the detectors wait for: fewer say nothing
DELAYS = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Joined:
    """Quotes with what became of them.

    Args:
        frame: Quotes old enough, with quantity and delay in hours (NaN where not bought).
        orphans: Outcomes without a quote in the window.
        early: Outcomes before their quote: a clock is wrong.
    """

    frame: pd.DataFrame
    orphans: int
    early: int


def run(inputs: Inputs) -> JobReport:
    """Judge the quotes of the window that are old enough for their purchases to have been reported."""
    if inputs.outcomes is None:
        raise ConfigError("the performance job needs --outcomes")
    reference = read_reference(inputs.model_folder)
    window, settings = inputs.window, inputs.settings
    ripe = ripe_window(window, settings.maturity_hours)
    quotes = LogReader(inputs.quotes, schema.QUOTES, ripe)
    outcomes = LogReader(inputs.outcomes, schema.OUTCOMES, replace(window, start=ripe.start))
    joined = join(quotes.frame(), outcomes.frame())
    with job_state(inputs, JOB, reference.version) as state:
        pages = int((joined.frame[schema.RANK] == 1).sum())
        checks: tuple[Check, ...] = (
            log_check(quotes.intake),
            log_check(outcomes.intake, "outcomes"),
            traffic_check(inputs, pages, len(joined.frame)),
            _matched(joined),
        )
        if checks[2].status is Status.PASS:
            narrowed = replace(inputs, window=ripe)
            checks += _judged(narrowed, joined.frame, reference.profile, state)
        checks = remember_since(checks, window.start.isoformat(), state)
    models = tuple(sorted(joined.frame[schema.MODEL_VERSION].unique()))
    detail = {"model_folder": reference.version, "pages": pages, "ripe_until": ripe.end.isoformat(), **summary(joined)}
    return JobReport(
        JOB, window.start.isoformat(), window.end.isoformat(), checks, models, quotes.intake.as_json(), detail
    )


def ripe_window(window: Window, maturity_hours: float) -> Window:
    """The part of a window whose purchases are in; the same length, ``maturity_hours`` earlier, where none would be."""
    wait = timedelta(hours=maturity_hours)
    if window.end - wait > window.start:
        return replace(window, end=window.end - wait)
    return Window(window.start - wait, window.end - wait, window.now)


def join(quotes: pd.DataFrame, outcomes: pd.DataFrame) -> Joined:
    """Left join of quotes with their outcomes on quote and item."""
    bought = outcomes[[*KEY, schema.TS, schema.QUANTITY]].rename(columns={schema.TS: "bought_at"})
    frame = quotes.merge(bought, on=KEY, how="left")
    known = frame["bought_at"].notna()
    delay = (pd.to_datetime(frame["bought_at"], utc=True) - pd.to_datetime(frame[schema.TS], utc=True)).dt
    hours = delay.total_seconds() / 3600
    orphans = len(bought) - int(known.sum())
    units = pd.to_numeric(frame[schema.QUANTITY], errors="coerce").fillna(0.0)
    return Joined(frame.assign(**{schema.QUANTITY: units, "delay": hours}), orphans, int((hours < 0).sum()))


def summary(joined: Joined) -> dict[str, Any]:
    """Conversion, revenue and delays, for the report."""
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


def _matched(joined: Joined) -> Check:
    if joined.early:
        said = f"{joined.early:,} purchases are dated before their quote; a clock is wrong"
        return Check("outcomes_join", Status.UNKNOWN, said, n=joined.early)
    said = f"{joined.orphans:,} outcomes belong to quotes outside the window"
    return Check("outcomes_join", Status.PASS, said, n=len(joined.frame))


def _judged(inputs: Inputs, frame: pd.DataFrame, profile: Profile, state: State | None) -> tuple[Check, ...]:
    purchases = int((frame[schema.QUANTITY] > 0).sum())
    if purchases < MIN_PURCHASES:
        said = f"{purchases} purchases; {MIN_PURCHASES} are needed"
        return (Check("purchases", Status.UNKNOWN, said, value=float(purchases), n=len(frame)),)
    cursor = cursor_of(inputs, state)
    fresh = None if cursor is None else frame[frame[schema.TS] >= pd.Timestamp(cursor)]
    pages = 0 if fresh is None else int((fresh[schema.RANK] == 1).sum())
    hours = take_step(inputs, pages, state, enough=_speaks(fresh))
    asked = questions(frame, fresh if hours is not None else None, profile, inputs)
    judge = Judge(inputs.settings, len(asked), hours, state)
    return tuple(judge.answer(question) for question in asked)


def _speaks(fresh: pd.DataFrame | None) -> bool:
    """Whether there are purchases enough for the detectors."""
    return fresh is not None and int((fresh[schema.QUANTITY] > 0).sum()) >= STEP_PURCHASES


def outcomes_of(frame: pd.DataFrame, lookup: Lookup) -> fit.Outcomes:
    """The joined quotes as arrays; ``lookup`` holds each item's own price level in training."""
    units = frame[schema.QUANTITY].to_numpy(dtype=np.float64)
    price = frame[schema.PRICE_MINOR].to_numpy(dtype=np.float64)
    ratio = np.log(price / frame[schema.REFERENCE_PRICE_MINOR].to_numpy(dtype=np.float64))
    usual = (lookup.logs[schema.PRICE_MINOR] - lookup.logs[schema.REFERENCE_PRICE_MINOR]).to_numpy()
    position = lookup.items.get_indexer(pd.Index(frame[schema.ITEM_ID]))
    return fit.Outcomes(
        frame[schema.PURCHASE_PROBABILITY].to_numpy(dtype=np.float64),
        (units > 0).astype(np.float64),
        units,
        price,
        np.where(position >= 0, ratio - usual[position], 0.0),
        clusters_of(frame),
    )


def questions(frame: pd.DataFrame, fresh: pd.DataFrame | None, profile: Profile, inputs: Inputs) -> list[Question]:
    """Totals, calibration, loss and elasticity of the window, and of what the detectors have not seen.

    The categories are training's, whichever the window holds: detectors would start afresh with each other set of them.
    """
    categories, lookup = tuple(sorted(profile.items[schema.CATEGORY].astype(str).unique())), profile.lookup
    window = measures(frame, categories, lookup)
    recent = None
    if fresh is not None:
        recent = window if fresh is frame else measures(fresh, categories, lookup)
    labels = {"category_purchases": categories}
    return [
        _question(
            name, labels.get(name, ("all",)), window[name], None if recent is None else recent[name], frame, inputs
        )
        for name in window
    ]


def measures(frame: pd.DataFrame, categories: tuple[str, ...], lookup: Lookup) -> dict[str, Estimate]:
    """Every figure of the job over joined quotes, by the name of its check."""
    data = outcomes_of(frame, lookup)
    codes = pd.Index(categories).get_indexer(pd.Index(frame[schema.CATEGORY].astype(str))).astype(np.int64)
    known = codes >= 0  # a category that training never saw is the drift job's to name
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


UNITS = {"calibration_slope": ("slope", 1.0), "elasticity": ("elasticity", 0.0)}  # (unit, calibrated value)


def _question(
    name: str,
    labels: tuple[str, ...],
    window: Estimate,
    recent: Estimate | None,
    frame: pd.DataFrame,
    inputs: Inputs,
) -> Question:
    unit, at = UNITS.get(name, ("log ratio", 0.0))
    reference = np.full(len(labels), at)
    tolerance = inputs.settings.tolerance(name)
    value = np.expm1(window.value) if unit == "log ratio" else window.value
    return Question(
        name,
        labels,
        change_of(window, reference),
        None if recent is None else change_of(recent, reference),
        window.value,
        reference,
        np.full(len(labels), tolerance.warn),
        np.full(len(labels), tolerance.page),
        np.full(len(labels), float(len(frame))),
        unit,
        lambda j: _say(name, labels[j], float(value[j])),
    )


def _say(name: str, label: str, value: float) -> str:
    if name == "calibration_slope":
        return f"calibration slope {value:.2f}; 1 is calibrated"
    if name == "elasticity":
        return f"customers react to price {abs(value):.2f} {'less' if value > 0 else 'more'} than the model says"
    what = {
        "purchases": "purchases",
        "revenue": "revenue",
        "category_purchases": f"purchases in {label}",
        "log_loss": "log loss",
    }[name]
    return f"{what} {abs(100 * value):.1f} % {'above' if value > 0 else 'below'} what the model expected"
