"""The thresholds of the gates, in one place.

>>> EvaluationLimits(launch={"ess": 400}).launch.ess
400.0
>>> EvaluationLimits(coverage=90)  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
fairtag.base.errors.ConfigError: coverage: 90 is refused; it must be less than 1 (Share of held-out products ...)
"""

from __future__ import annotations

import math

from pydantic import model_validator

from fairtag.base.errors import ConfigError
from fairtag.base.settings import Field, Settings
from fairtag.search.near_titles import NEAR


class LaunchLimits(Settings):
    """Thresholds of the off-policy gates (docs/pricing-model.md, section 10)."""

    ess: float = Field(200.0, ge=0, description="Smallest effective sample size, rows.")
    ess_share: float = Field(0.01, ge=0, le=1, description="Smallest effective sample size as a share of the rows.")
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="One-sided level of the lower bound of the uplift, which must be above 0."
    )
    agreement: float = Field(
        3.0,
        gt=0,
        description="Largest distance between an estimate that knows demand curves and one that does not, in standard "
        "errors.",
    )
    # Three such gates together fail a sound log about once in 120 launches.
    balance: float = Field(
        3.0,
        gt=0,
        description="Largest distance of the mean weight from 1, and of a placebo's uplift from 0, in standard errors.",
    )
    clip: float = Field(math.inf, gt=0, description="Largest importance weight.")
    pages: int = Field(
        40_000, ge=1, description="Most logged pages on which the value of prices is judged; more are thinned."
    )
    folds: int = Field(
        4,
        ge=2,
        description="Folds of the customers: each is priced by demand of the others, so that the whole log counts.",
    )


class EvaluationLimits(Settings):
    """What a challenger must reach to be accepted."""

    relevance_margin: float = Field(
        0.01,
        ge=0,
        description="nDCG@10 that a challenger may lose to its rival, at the lower end of the interval.",
    )
    items_found: float = Field(
        0.9, ge=0, le=1, description="Share of the items in stock that a search for their own title must find."
    )
    coverage: float = Field(
        0.9, gt=0, lt=1, description="Share of held-out products whose price the 90 % interval must contain."
    )
    coverage_slack: float = Field(
        0.02, ge=0, description="How far from it the share may lie, beyond two standard errors."
    )
    calibration: tuple[float, float] = Field(
        (0.9, 1.1), description="Range of the slope of demand calibration; its interval may reach into it instead."
    )
    calibration_outer: tuple[float, float] = Field(
        (0.75, 1.35), description="Range outside which no interval saves the slope."
    )
    profit_margin: float = Field(
        0.01,
        ge=0,
        description="Share of the champion's profit that a challenger may lose, at the lower end of the interval.",
    )
    personal_must_gain: bool = Field(
        False,
        description="Accept personal prices only where they are surely better than the same prices without the "
        "customer's data, instead of wherever they are not surely worse.",
    )
    price_milliseconds: float = Field(25.0, gt=0, description="95th percentile of the time to price a page.")
    encode_milliseconds: float = Field(50.0, gt=0, description="Median time to encode a query.")
    model_bytes: float = Field(2e9, gt=0, description="Size of the model folder.")
    launch: LaunchLimits = Field(LaunchLimits(), description="Thresholds of the off-policy gates.")
    pages: int = Field(2_500, ge=1, description="Most held-out pages that are priced.")
    audit_pages: int = Field(8, ge=1, description="Pages priced for many customers, for the fairness gates.")
    # 800 left the gaps of every group of the simulated shop undecided: about 670 customers in each of three are needed.
    audit_users: int = Field(2_000, ge=1, description="Most customers that each of them is priced for.")
    proxy_auc: float = Field(
        0.8,
        ge=0.5,
        le=1,
        description="AUC, at the lower end of its interval, beyond which one pricing feature that alone tells a "
        "protected group blocks personal prices.",
    )
    require_experiment: bool = Field(
        False,
        description="Reject a model whose log has no randomised prices, instead of taking the word of held-out demand "
        "models and calling the evidence observational.",
    )

    near_titles: float = Field(
        NEAR,
        gt=0,
        le=1,
        description="Similarity from which on the decision names two titles as nearly the same; 1 names equal ones.",
    )

    @model_validator(mode="after")
    def _ranges_are_nested(self) -> EvaluationLimits:
        (low, high), (least, most) = self.calibration, self.calibration_outer
        if not least <= low <= high <= most:
            raise ConfigError(
                f"calibration {self.calibration} and calibration_outer {self.calibration_outer} are refused; each is a "
                "range from low to high, and the outer one contains the other"
            )
        return self
