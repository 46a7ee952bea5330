"""How close f(v) comes to the prices of held-out products, and how often its interval contains them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.data.splits import HOLD_OUT_SHARE, PRODUCT_SALT, held_out
from fairtag.evaluation.power import products_for_gap
from fairtag.evaluation.relevance_gate import paired_interval
from fairtag.model.decision import GateResult
from fairtag.model.pricing_model import PricingModel

Floats = NDArray[np.float64]

LEAST_PRODUCTS = 30
LEAST_PAIRS = 5  # held-out products from which the spread of the errors is estimated


@dataclass(frozen=True)
class PriceAccuracy:
    """Predictions for the held-out products, arrays (n,) in money.

    Args:
        true: List price.
        predicted: f(v).
        low: Lower end of the 90 % interval.
        high: Upper end.
        median: Median list price of the product's category among the products that f(v) was fitted on.
    """

    true: Floats
    predicted: Floats
    low: Floats
    high: Floats
    median: Floats

    def log_errors(self, predicted: Floats) -> Floats:
        """Squared log errors of predictions (n,)."""
        return np.asarray(np.square(np.log1p(predicted) - np.log1p(self.true)), dtype=np.float64)

    @property
    def coverage(self) -> float:
        """Share of true prices inside the interval."""
        return float(((self.low <= self.true) & (self.true <= self.high)).mean())

    def figures(self) -> dict[str, Any]:
        """RMSLE, MAE, R2 of the log price, and coverage, for the report."""
        if self.true.size == 0:
            return {"products": 0}
        log_true = np.log(self.true)
        unexplained = np.square(np.log(self.predicted) - log_true).sum()
        spread = np.square(log_true - log_true.mean()).sum()
        return {
            "products": int(self.true.size),
            "rmsle": float(np.sqrt(self.log_errors(self.predicted).mean())),
            "rmsle_category_median": float(np.sqrt(self.log_errors(self.median).mean())),
            "mae": float(np.abs(self.predicted - self.true).mean()),
            "r2_log": float(1 - unexplained / spread) if spread > 0 else 0.0,
            "interval_coverage": self.coverage,
        }

    def scatter(self, most: int = 400) -> dict[str, list[float]]:
        """True and predicted prices for a chart, thinned evenly."""
        step = max(1, self.true.size // most)
        return {"true": self.true[::step].tolist(), "predicted": self.predicted[::step].tolist()}


def _needed_products(prices: PriceAccuracy) -> str:
    """How many products would tell f(v) from the category's median, in words."""
    n = prices.true.size
    held = LEAST_PRODUCTS
    if n >= LEAST_PAIRS:
        gaps = prices.log_errors(prices.predicted) - prices.log_errors(prices.median)
        if gaps.mean() < 0:
            held = max(held, products_for_gap(float(gaps.mean()), float(gaps.std(ddof=1))))
    return f"about {round(held / HOLD_OUT_SHARE):,} products, of which {held} are held out; {n} are now"


def score_prices(model: PricingModel) -> PriceAccuracy:
    """Predictions for the products that the fit held out."""
    catalogue = model.catalogue
    unseen = held_out(catalogue[schema.ITEM_ID], PRODUCT_SALT)
    listed = catalogue[schema.LIST_PRICE].to_numpy(dtype=np.float64)
    medians = catalogue[~unseen].groupby(schema.CATEGORY)[schema.LIST_PRICE].median()
    overall = float(np.median(listed[~unseen])) if (~unseen).any() else float("nan")
    median = catalogue[schema.CATEGORY].map(medians).fillna(overall).to_numpy(dtype=np.float64)
    found = model.estimates
    return PriceAccuracy(listed[unseen], found.f[unseen], found.f_low[unseen], found.f_high[unseen], median[unseen])


def price_gates(
    prices: PriceAccuracy, coverage: float, slack: float, seed: int, *, weighs: bool = True
) -> list[GateResult]:
    """Better than the category median, and an interval with the coverage that it states.

    Args:
        prices: Predictions for the held-out products.
        coverage: Share of products that the interval states.
        slack: How far from it the share may lie, beyond two standard errors.
        seed: Seed of the bootstrap.
        weighs: Whether f(v) has a weight in the policy. Without one it moves no price, and its gates decide nothing.
    """
    gates = _price_gates(prices, coverage, slack, seed)
    if weighs:
        return gates
    return [
        gate
        if gate.status == "pass"
        else replace(
            gate,
            status="not applicable",
            needs="",
            note=f"f(v) has no weight in this policy; it would be: {gate.status}"
            + (f" ({gate.note})" if gate.note else ""),
        )
        for gate in gates
    ]


def _price_gates(prices: PriceAccuracy, coverage: float, slack: float, seed: int) -> list[GateResult]:
    rule = "RMSLE on held-out products below the category median's, by the paired 95 % interval of squared log errors"
    hold = f"{coverage:.0%} of held-out products inside the interval, within {slack:.0%} and two standard errors"
    n = prices.true.size
    if n < LEAST_PRODUCTS:
        note = f"{n} products were held out, {LEAST_PRODUCTS} are needed"
        return [
            GateResult(name, None, text, "could not tell", note=note, needs=_needed_products(prices))
            for name, text in (("price_accuracy", rule), ("price_interval", hold))
        ]
    figures = prices.figures()
    low, high = paired_interval(prices.log_errors(prices.predicted) - prices.log_errors(prices.median), seed)
    reach = slack + 2 * float(np.sqrt(coverage * (1 - coverage) / n))
    return [
        GateResult(
            "price_accuracy",
            figures["rmsle"],
            rule,
            "pass" if high < 0 else "fail",
            threshold=figures["rmsle_category_median"],
            note=f"squared log error against the median's: {low:.4f} to {high:.4f}, {n} products",
        ),
        GateResult(
            "price_interval",
            prices.coverage,
            hold,
            "pass" if abs(prices.coverage - coverage) <= reach else "fail",
            threshold=coverage,
            low=coverage - reach,
            high=coverage + reach,
        ),
    ]
