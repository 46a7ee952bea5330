"""Settings of the demand model: priors, checks, and what of a log it reads (docs/configuration.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from fairtag.base import schema
from fairtag.base.errors import ConfigError
from fairtag.demand.control_function import WEAK
from fairtag.demand.counts import Weights
from fairtag.demand.demand_data import PERIOD_DAYS
from fairtag.demand.nests import NEAR_IDENTICAL


@dataclass(frozen=True)
class DemandConfig:
    """Priors and checks of the demand model. A spread is a prior standard deviation, for standardised features.

    Empirical Bayes starts from the spreads of categories, behaviour and text; the others stay as given.

    Args:
        slope_mean: Prior mean of the price slope; at usual prices about minus the elasticity of an item.
        slope_spread: Prior spread of the mean slope.
        utility_spread: Prior spread of the mean utility; wide, as it depends on the page size.
        category_utility: Spread of categories around the mean utility at a usual price.
        category_slope: Spread of categories around the mean slope.
        similarity: Spread of kappa and beta_s; similarity ranges over one unit.
        behaviour: Spread of each eta and omega.
        text: Spread of the weight of each principal component of the text.
        control: Spread of phi.
        covariate: Spread of each coefficient of a standardised covariate; wide, as a shrunk control leaves its share in
            the slope.
        covariates: Columns of the impressions that demand may use beside the price: display, feature, deal, ad, rank,
            and a shop's own, whose names begin with ``x_``. None takes those of the first four that are there and fit.
        components: Principal components of the text; 0 leaves text out.
        tau: Spreads of the item effects on the utility at a usual price and on the slope; found by empirical Bayes
            when None.
        rounds: Largest number of rounds of empirical Bayes; 0 keeps all spreads as given.
        b_min: Floor of the slope.
        least_f: First-stage F statistic that a category's instruments must reach for a control function there.
        period_days: Days in which an item's prices count as set together: one observation of its price.
        item_level: Chance at which an item that follows its category is kept at list since its own purchases seem to
            contradict it.
        most_elasticity: Own-price elasticity beyond which an estimate is implausible, without its sign.
        most_disagreement: Times the model's elasticity beyond which the cross-check's is implausible.
        nest_similarity: Cosine of two items of a category, of their embeddings around the catalogue's mean, from which
            on they count as near-identical: one nest, with one price slope and, at one cost and list price, one price.
            1 finds equal texts only.
        weights: What a weight in the impressions means: ``sampling``, a page was kept with a probability of one over
            its weight and is one observation; ``counts``, it is that many equal, independent visits.
    """

    slope_mean: float = 4.0
    slope_spread: float = 3.0
    utility_spread: float = 10.0
    category_utility: float = 1.5
    category_slope: float = 1.5
    similarity: float = 5.0
    behaviour: float = 1.0
    text: float = 0.5
    control: float = 10.0
    covariate: float = 3.0
    covariates: tuple[str, ...] | None = None
    components: int = 8
    tau: tuple[float, float] | None = None
    rounds: int = 8
    b_min: float = 0.2
    least_f: float = WEAK
    period_days: float = PERIOD_DAYS
    item_level: float = 0.01
    most_elasticity: float = 10.0
    most_disagreement: float = 3.0
    nest_similarity: float = NEAR_IDENTICAL
    weights: Weights = "sampling"

    def __post_init__(self) -> None:
        others = ("tau", "components", "rounds", "covariates", "weights")
        numbers = {name: value for name, value in vars(self).items() if name not in others}
        for name, value in numbers.items():
            if not (np.isfinite(value) and value > 0):
                raise ConfigError(f"{name}: {value} is refused; it must be finite and above 0")
        if self.nest_similarity > 1:
            raise ConfigError(f"nest_similarity: {self.nest_similarity} is refused; a cosine is at most 1")
        if self.components < 0 or self.rounds < 0:
            raise ConfigError(f"components {self.components}, rounds {self.rounds}: both must be at least 0")
        if self.tau is not None and min(self.tau) <= 0:
            raise ConfigError(f"tau: {self.tau} is refused; both spreads must be above 0")
        if self.weights not in get_args(Weights):
            raise ConfigError(f"weights: {self.weights!r} is refused; it is one of {', '.join(get_args(Weights))}")
        _check_names(self.covariates or ())


def _check_names(covariates: tuple[str, ...]) -> None:
    known = (*schema.COVARIATES, schema.RANK)
    for name in covariates:
        if not (name in known or name.startswith(schema.OWN_COVARIATE)) or covariates.count(name) > 1:
            raise ConfigError(
                f"covariates: {name!r} is refused; name each once, of {', '.join(known)} and columns of impressions "
                f"that begin with {schema.OWN_COVARIATE}"
            )
