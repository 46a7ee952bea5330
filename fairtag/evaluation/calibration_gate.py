"""Does predicted demand match what later pages sold? Calibration on the hold-out."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from fairtag.base.settings import parse
from fairtag.data.splits import HOLD_OUT_SHARE
from fairtag.demand.calibration import Calibration, calibrate
from fairtag.demand.config import DemandConfig
from fairtag.demand.demand_data import DemandData
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.power import more
from fairtag.model.decision import GateResult, GateStatus
from fairtag.model.pricing_model import PricingModel
from fairtag.training.inputs import demand_inputs


def inputs_of(model: PricingModel, impressions: pd.DataFrame) -> DemandData:
    """Impressions as this model's demand model reads them."""
    config = parse(DemandConfig, model.demand.report["config"], "demand")
    return demand_inputs(
        impressions,
        model.catalogue,
        model.embeddings,
        model.encoder,
        model.price_model,
        model.policy,
        config=config,
        nest=model.demand.nest,
    )


def score_demand(model: PricingModel, hold_out: DemandData, fitted: DemandData) -> Calibration:
    """Calibrate on the hold-out, with baselines from the part that the model was fitted on."""
    return calibrate(model.demand, hold_out, fitted)


def calibration_gate(found: Calibration, limits: EvaluationLimits) -> GateResult:
    """The calibration slope is close to one."""
    low, high = limits.calibration
    outer_low, outer_high = limits.calibration_outer
    slope = found.slope
    reaches = slope.low <= high and slope.high >= low
    status: GateStatus = "pass" if low <= slope.value <= high else "fail"
    if status == "fail" and reaches and outer_low <= slope.value <= outer_high:
        status = "pass"
    return GateResult(
        "demand_calibration",
        _told(slope.value),
        f"slope in [{low:g}, {high:g}], or its 95 % interval reaches in and the slope lies in "
        f"[{outer_low:g}, {outer_high:g}]",
        status,
        threshold=1.0,
        low=_told(slope.low),
        high=_told(slope.high),
        note=f"{found.purchases} purchases on {found.pages} pages, {found.expected:.0f} expected{_in_units(found)}",
        needs="" if status == "pass" else _needed(found, low, high),
    )


def _in_units(found: Calibration) -> str:
    """Units sold and expected, in words; empty where they are the purchases."""
    if round(found.units["sold"]) == found.purchases:
        return ""
    return f"; {found.units['sold']:,.0f} units sold, {found.units['expected']:,.0f} expected"


def _needed(found: Calibration, low: float, high: float) -> str:
    """What would bring the slope into its range, in words."""
    slope = found.slope
    if slope.low <= high and slope.high >= low:
        half = (slope.high - slope.low) / (high - low)  # of an interval as wide as the range, over that of now
        whole = round(found.purchases / HOLD_OUT_SHARE)
        needed = more(max(half, 1.0) ** 2, whole, "purchases")
        return f"{needed} on pages, for an interval as narrow as the range ({whole:,} now)"
    return "a demand model that fits this shop: its predictions are off by more than chance"


def calibration_figures(found: Calibration) -> dict[str, Any]:
    """Figures for the report; absent where the data do not tell, as the response to a price that never varied."""
    figures = {
        "calibration_slope": found.slope.value,
        "calibration_intercept": found.intercept.value,
        "price_slope": found.price_slope.value,
        "log_loss": found.log_loss,
        **{f"log_loss_{name}": value for name, value in found.baselines.items()},
        "pages": found.pages,
        "purchases": found.purchases,
        "units_sold": found.units["sold"],
        "units_expected": found.units["expected"],
    }
    return {name: _told(value) for name, value in figures.items()}


def _told(value: float) -> float | None:
    """A figure; None where the data do not tell, as no document holds a NaN."""
    return value if math.isfinite(value) else None


def reliability_bins(found: Calibration) -> list[dict[str, float]]:
    """Predicted and observed purchase rates by bin, for a chart."""
    return [{"predicted": row.predicted, "observed": row.observed, "n": row.rows} for row in found.bins]
