"""Calibration of a demand model on held-out pages: recalibration slope, reliability bins, log loss.

found = calibrate(model, held_out, training)
found.slope.value  # 1 is calibrated, below 1 the model is too sure
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fairtag.base.errors import DataError
from fairtag.base.normal import Z95
from fairtag.demand.choices import Choices, Flags, Floats, Ints, group_sums, log_likelihood, probabilities
from fairtag.demand.demand_data import DemandData
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.logit import LogitFit, Prior, fit_logit, laplace

BINS = 10
BASELINE_SPREAD = 5.0  # prior spread of the baselines' coefficients; keeps categories without a purchase finite


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 95 % interval; errors are clustered by customer."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bin:
    """Impressions of similar predicted probability: mean prediction, and share bought with its Wilson interval."""

    rows: int
    predicted: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """Calibration on held-out pages.

    Args:
        intercept: Intercept of the recalibrated utility ``intercept + slope u``; 0 is calibrated.
        slope: Its slope; 1 is calibrated, below 1 the model is too sure.
        price_slope: Factor on ``b (y - usual y)`` alone; 1 means that the response to price is right.
        bins: Reliability, by tenth of the predicted probability.
        log_loss: Mean of minus the log probability of what each customer did.
        baselines: The same for ``constant`` (all items alike) and ``no price`` (category, similarity, behaviour,
            covariates).
        pages: Pages scored.
        purchases: Purchases on them.
        expected: Purchases that the model expected.
        units: Units ``sold`` and ``expected`` on all visits that the pages stand for.
    """

    intercept: Estimate
    slope: Estimate
    price_slope: Estimate
    bins: tuple[Bin, ...]
    log_loss: float
    baselines: dict[str, float]
    pages: int
    purchases: int
    expected: float
    units: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """The calibration as a JSON object."""
        return asdict(self)


def calibrate(model: DemandModel, held_out: DemandData, training: DemandData) -> Calibration:
    """Score a demand model on pages that it was not fitted on.

    The recalibration is a conditional logit on the model's own utility ``u``, adjusted for nests: ``intercept +
    slope u``. A calibrated model gets intercept 0 and slope 1 (Cox, 1958, for pages instead of single trials).

    Args:
        model: The model.
        held_out: Pages to score.
        training: Pages on which the baselines are fitted.

    Raises:
        DataError: Nothing was bought on the held-out pages.
    """
    if held_out.bought.sum() == 0:
        raise DataError(
            f"calibration: no purchase on {held_out.starts.size} held-out pages; hold out a longer period",
            rule="at least one purchase",
        )
    page = held_out.page
    a, b = model.utilities(
        held_out.item, held_out.similarity, held_out.behaviour[page], held_out.first_stage.nu, held_out.covariates
    )
    cells = model.cells(held_out.item, page)
    utility = cells.adjust(a - b * held_out.y)
    level = cells.adjust(a - b * model.usual_ratio[model.category[held_out.item]])
    response = utility - level
    q, _ = probabilities(utility, held_out.starts, page)
    intercept, slope = _recalibrated(held_out, np.column_stack([utility]))
    *_, price_slope = _recalibrated(held_out, np.column_stack([level, response]))
    return Calibration(
        intercept=intercept,
        slope=slope,
        price_slope=price_slope,
        bins=reliability(q, held_out.bought / held_out.row_weight, held_out.row_weight),
        log_loss=_log_loss(_choices(held_out, utility[:, None]), utility),
        baselines=_baselines(model, held_out, training),
        pages=int(held_out.starts.size),
        purchases=round(float(held_out.bought.sum())),
        expected=float((held_out.row_weight * q).sum()),
        units=_units(model, held_out, q),
    )


def _units(model: DemandModel, data: DemandData, q: Floats) -> dict[str, float]:
    """Units sold, and expected at probabilities q (N,), over the visits that the pages stand for."""
    visits = data.counts["visits"] / float(data.weight.sum())
    sold = float((data.bought * data.units[model.category[data.item]]).sum())
    expected = float((data.row_weight * q * model.units_of(data.item)).sum())
    return {"sold": visits * sold, "expected": visits * expected}


def reliability(q: Floats, bought: Floats, weight: Floats | None = None, n_bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of equal size by predicted probability; fewer bins when there are fewer rows."""
    order = np.argsort(q, kind="stable")
    parts = [part for part in np.array_split(order, n_bins) if part.size]
    w = np.ones_like(q) if weight is None else weight
    return tuple(_bin(q[part], bought[part], w[part]) for part in parts)


def _bin(q: Floats, bought: Floats, weight: Floats) -> Bin:
    n, observed = q.size, float(np.average(bought, weights=weight))
    centre = (observed + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    width = Z95 * np.sqrt(max(observed * (1 - observed), 0.0) / n + Z95**2 / (4 * n**2)) / (1 + Z95**2 / n)
    return Bin(
        n,
        float(np.average(q, weights=weight)),
        observed,
        float(max(0.0, centre - width)),
        float(min(1.0, centre + width)),
    )


def _recalibrated(data: DemandData, features: Floats) -> tuple[Estimate, ...]:
    """Coefficients of a conditional logit on an intercept and the features, with intervals clustered by customer."""
    varies = features.std(axis=0) > 1e-12
    used: Flags = np.concatenate([[True], varies])
    X = np.column_stack([np.ones(data.n_rows), features])[:, used]
    choices = _choices(data, X)
    prior = Prior(np.r_[0.0, np.ones(int(varies.sum()))], np.full(X.shape[1], 1e-4), np.zeros(0))  # against separation
    fit = fit_logit(choices, prior)
    errors = np.sqrt(np.diag(clustered_covariance(choices, fit, prior, data.customer)))
    values, widths = np.full(used.size, np.nan), np.full(used.size, np.nan)
    values[used], widths[used] = fit.theta, Z95 * errors
    return tuple(Estimate(float(v), float(v - w), float(v + w)) for v, w in zip(values, widths, strict=True))


def _baselines(model: DemandModel, held_out: DemandData, training: DemandData) -> dict[str, float]:
    features = {"constant": _constant, "no price": _no_price}
    losses = {}
    for name, build in features.items():
        fitted = _fit_baseline(_choices(training, build(model, training)))
        choices = _choices(held_out, build(model, held_out))
        losses[name] = _log_loss(choices, choices.X @ fitted.theta)
    return losses


def _constant(model: DemandModel, data: DemandData) -> Floats:
    del model
    return np.ones((data.n_rows, 1))


def _no_price(model: DemandModel, data: DemandData) -> Floats:
    text = np.zeros((data.n_rows, model.layout.n_text))
    behaviour = model.scaling.behaviour(data.behaviour)[data.page]
    similarity = data.similarity - model.scaling.similarity
    rows = model.layout.rows(model.category[data.item], similarity, behaviour, text)
    return np.column_stack([rows, model.covariates.standardised(data.covariates)])


def _fit_baseline(choices: Choices) -> LogitFit:
    size = choices.X.shape[1]
    return fit_logit(choices, Prior(np.zeros(size), np.full(size, BASELINE_SPREAD**-2.0), np.zeros(0)))


def _choices(data: DemandData, X: Floats) -> Choices:
    return Choices(X, data.starts, data.bought, data.outside)


def _log_loss(choices: Choices, utility: Floats) -> float:
    return -log_likelihood(choices, utility) / float(choices.trials.sum())


def clustered_covariance(choices: Choices, fit: LogitFit, prior: Prior, cluster: Ints) -> Floats:
    """(K, K) covariance of the shared coefficients of a fit without group effects.

    Args:
        choices: What was fitted.
        fit: Its optimum.
        prior: Its prior.
        cluster: (P,) cluster of each page, from 0. With fewer than two clusters, or no more pages than coefficients,
            the inverse Hessian is returned instead.
    """
    bread = laplace(choices, fit, prior).shared
    found, code = np.unique(cluster, return_inverse=True)
    n_pages, n_features, n_clusters = choices.n_pages, choices.X.shape[1], int(found.size)
    if n_clusters < 2 or n_pages <= n_features:
        return bread
    q, _ = probabilities(choices.utility(fit.theta, fit.effects), choices.starts, choices.page)
    residual = choices.bought - choices.trials[choices.page] * q
    scores = group_sums(code[choices.page], choices.X * residual[:, None], n_clusters)
    correction = n_clusters / (n_clusters - 1) * (n_pages - 1) / (n_pages - n_features)
    covariance: Floats = correction * bread @ (scores.T @ scores) @ bread
    return covariance
