"""Ratios between a group and all others: access to prices below list, and surplus."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.fairness import fixed_effects as fe

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

CERTAIN = 1 - 1e-9  # a page sure to sell would have infinite surplus


class Ratio(NamedTuple):
    """A figure with its interval."""

    value: float
    low: float
    high: float


def access_ratio(below_list: fe.Cells, group: Flags, *, seed: int, limits: tuple[int, float]) -> Ratio:
    """Chance of a price below list for a group, over that of all others, within strata (Mantel-Haenszel 1959).

    ``sum_s A_s m_s / n_s  /  sum_s B_s k_s / n_s`` with A_s, B_s prices below list of the group and of the others, k_s
    and m_s their numbers, ``n_s = k_s + m_s``. Strata without both sides drop out.

    Args:
        below_list: Share of a customer's quotes below list, by stratum.
        group: Whether each customer is in the group, shape (users,).
        seed: Of the bootstrap over customers.
        limits: Replicates and confidence.

    Returns:
        1 where nobody was priced below list; NaN where no stratum holds both sides; infinite where only the group was.
    """
    member = group[below_list.user]
    n = np.bincount(below_list.stratum, minlength=below_list.strata)
    k = fe.sums(below_list.stratum, member.astype(np.float64), below_list.strata)
    share = (k / np.maximum(n, 1))[below_list.stratum]
    top = fe.sums(below_list.user, below_list.outcome * member * (1 - share), below_list.users)
    bottom = fe.sums(below_list.user, below_list.outcome * ~member * share, below_list.users)
    if not ((share > 0) & (share < 1)).any():
        return Ratio(float("nan"), float("nan"), float("nan"))
    if top.sum() == bottom.sum() == 0:
        return Ratio(1.0, 1.0, 1.0)
    return _ratio(top, bottom, seed, limits)


def surplus_ratio(
    quotes: pd.DataFrame, user: Ints, group: Flags, *, seed: int, limits: tuple[int, float]
) -> Ratio | None:
    """Mean consumer surplus a page of a group, over that of all others, in the demand model's own terms.

    Under logit demand with an outside option a page is worth ``log(1 + sum exp(u_i)) = -log(1 - sum q_i)`` utils (Small
    and Rosen, Econometrica 49, 1981). Tastes differ between groups, so a ratio away from 1 accuses nobody.

    Returns:
        None where the quotes carry no purchase probabilities.
    """
    if schema.PURCHASE_PROBABILITY not in quotes.columns or schema.QUOTE_ID not in quotes.columns or quotes.empty:
        return None
    page, _ = pd.factorize(quotes[schema.QUOTE_ID])
    pages = int(page.max()) + 1
    bought = fe.sums(page, quotes[schema.PURCHASE_PROBABILITY].to_numpy(np.float64), pages)
    worth = -np.log1p(-np.minimum(bought, CERTAIN))
    owner = np.zeros(pages, dtype=np.int64)
    owner[page] = user
    users = len(group)
    total, count = fe.sums(owner, worth, users), fe.sums(owner, np.ones(pages), users)
    here, there = np.where(group, 1.0, 0.0), np.where(group, 0.0, 1.0)
    draws = _totals(np.stack([total * here, count * here, total * there, count * there], axis=1), seed, limits[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (draws[:, 0] / draws[:, 1]) / (draws[:, 2] / draws[:, 3])
    return _summary(ratios, limits[1])


def _ratio(top: Floats, bottom: Floats, seed: int, limits: tuple[int, float]) -> Ratio:
    draws = _totals(np.stack([top, bottom], axis=1), seed, limits[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        return _summary(draws[:, 0] / draws[:, 1], limits[1])


def _totals(by_user: Floats, seed: int, replicates: int) -> Floats:
    """Column sums over all customers, then over resamples of them: shape (1 + replicates, columns)."""
    active = by_user[np.abs(by_user).sum(axis=1) > 0]
    rng = np.random.default_rng(seed)
    return np.concatenate([active.sum(axis=0)[None], fe.resampled_sums(rng, active, replicates)])


def _summary(values: Floats, confidence: float) -> Ratio:
    """The first value with the percentile interval of the others; a resample without the other side drops out."""
    drawn = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]) or not len(drawn):
        return Ratio(float(values[0]), float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], method="nearest")  # between infinities nothing is interpolated
    return Ratio(float(values[0]), float(low), float(high))
