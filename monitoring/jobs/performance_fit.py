"""Fits purchases against the demand model's predictions: totals, calibration, log loss, elasticity.

Predicted purchase probabilities ``q`` are compared with outcomes ``y`` (bought or not). Standard errors are
cluster-robust over customers, because the items of one page (at most one is bought) and the pages of one customer are
not independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairtag.profile.measures import CLUSTERS, Estimate, Tally, estimate

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

EDGE = 1e-6  # least distance of a probability from 0 and 1, where its logit is infinite
NEWTON_STEPS = 8


@dataclass(frozen=True)
class PurchaseData:
    """One row for each quoted item whose purchase has had time to be reported; arrays (n,).

    Args:
        probability: Predicted probability of purchase.
        bought: 1 if the item was bought, else 0.
        units: Units bought.
        price: Price in minor units.
        deviation: log(price / reference price) minus the item's mean in training; 0 for new items.
        cluster: Customer bucket, 0 to CLUSTERS - 1.
    """

    probability: Float
    bought: Float
    units: Float
    price: Float
    deviation: Float
    cluster: Int

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.probability)


def log_observed_to_expected(observed: Float, expected: Float, cluster: Int, group: Int, groups: int) -> Estimate:
    """log(sum observed / sum expected) of each group (J,), with the delta method.

    Args:
        observed: Observed value of each row.
        expected: Predicted value of each row.
        cluster: Customer bucket of each row.
        group: Group of each row, 0 to ``groups`` - 1.
        groups: Number of groups.
    """
    ratio = estimate(Tally(_sums(cluster, group, groups, observed), _sums(cluster, group, groups, expected)))
    with np.errstate(divide="ignore", invalid="ignore"):
        value, se = np.log(ratio.value), ratio.se / ratio.value
    return Estimate(np.where(ratio.value > 0, value, np.nan), se, ratio.weight, ratio.clusters)


def calibration_slope(data: PurchaseData) -> Estimate:
    """(1,) slope of the logistic regression of purchases on the predicted logit; 1 is calibrated."""
    return _logistic(data, _logit(data.probability), offset=np.zeros(len(data)))


def log_loss_ratio(data: PurchaseData) -> Estimate:
    """(1,) log(observed log loss / log loss expected if the predictions were right)."""
    q = np.clip(data.probability, EDGE, 1 - EDGE)
    seen = -(data.bought * np.log(q) + (1 - data.bought) * np.log1p(-q))
    expected = -(q * np.log(q) + (1 - q) * np.log1p(-q))
    nothing = np.zeros(len(data), dtype=np.int64)
    return log_observed_to_expected(seen, expected, data.cluster, nothing, 1)


def elasticity_change(data: PurchaseData) -> Estimate:
    """(1,) realised minus predicted price elasticity: the slope on log price with the predicted logit as offset.

    Prices are deviations from the item's mean in training. Only variation in the price of the same item counts
    (exploration, personal prices, price changes), so that quality is not mistaken for price, and an hour with a single
    quote of an item still counts.
    """
    if np.square(data.deviation - data.deviation.mean()).sum() < EDGE:
        return Estimate(*(np.array([np.nan]) for _ in range(4)))
    return _logistic(data, data.deviation, offset=_logit(data.probability))


def _logistic(data: PurchaseData, regressor: Float, *, offset: Float) -> Estimate:
    """(1,) slope of a logistic regression, by Newton's method, with its sandwich error over customers."""
    X = np.stack([np.ones(len(data)), regressor], axis=1)
    theta = np.zeros(2)
    if not offset.any():
        theta[1] = 1.0
    for _ in range(NEWTON_STEPS):
        mean = 1 / (1 + np.exp(-np.clip(offset + X @ theta, -30, 30)))
        information = (X * (mean * (1 - mean))[:, None]).T @ X
        step = np.linalg.solve(information + EDGE * np.eye(2), X.T @ (data.bought - mean))
        theta = theta + np.clip(step, -5, 5)  # under separation the step would be infinite
    mean = 1 / (1 + np.exp(-np.clip(offset + X @ theta, -30, 30)))
    inverse = np.linalg.inv((X * (mean * (1 - mean))[:, None]).T @ X + EDGE * np.eye(2))
    residual = data.bought - mean
    scores = np.stack([np.bincount(data.cluster, residual * x, CLUSTERS) for x in X.T], axis=1)
    active = len(np.unique(data.cluster))
    covariance = inverse @ (scores.T @ scores) @ inverse * active / max(1, active - 1)
    figures = (theta[1], np.sqrt(covariance[1, 1]), len(data), active)
    return Estimate(*(np.array([float(figure)]) for figure in figures))


def _logit(probability: Float) -> Float:
    q = np.clip(probability, EDGE, 1 - EDGE)
    return np.log(q) - np.log1p(-q)


def _sums(cluster: Int, group: Int, groups: int, weights: Float) -> Float:
    flat = np.bincount(cluster * groups + group, weights=weights, minlength=CLUSTERS * groups)
    return flat.reshape(CLUSTERS, groups).astype(np.float64)
