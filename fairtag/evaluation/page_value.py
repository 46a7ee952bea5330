"""The value of prices that were never shown, page by page, from a log of randomised prices (docs/pricing-model.md, 10).

A held-out demand model predicts what each page earns at new prices. Its errors are corrected by what the log shows: the
one-step estimator (Newey 1994; Chernozhukov et al. 2018). Where the model misjudges the level or the slope of any item,
the estimate is right to first order, whatever the model was fitted on.

>>> value = one_step(log, a, b, price)  # (P,) money; the mean is the estimate   # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairtag.evaluation.off_policy import Estimate
from fairtag.solver.cells import Cells

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

LEAST_SPREAD = 1e-6  # variance of the levels of an item below which its log says nothing about its slope


@dataclass(frozen=True)
class PageLog:
    """Logged pages whose prices were drawn from a menu; arrays (n,), a row an impression, unless stated.

    Args:
        page: Number of its page, 0 to P - 1.
        customer: (P,) number of each page's customer, the unit of every error.
        price: Price shown, money.
        unit: Reference price r, money: demand sees ``price / unit``.
        cost: Unit cost, money.
        bought: How often the item was bought, in purchases of average size: 1 where all are of one unit.
        on_sale: Whether it could be bought.
        propensity: Probability with which its price was drawn; NaN where it was not drawn.
        levels: (n, K) prices that could have been drawn, money; NaN where a point of the menu was not open to it.
        cells: Near-identical items of a page, as the demand model that scores it has them.
        units: Mean units of a purchase of the item; 1 when None.
        weight: (P,) visits that each page stands for; 1 when None.
    """

    page: Ints
    customer: Ints
    price: Floats
    unit: Floats
    cost: Floats
    bought: Floats
    on_sale: Flags
    propensity: Floats
    levels: Floats
    cells: Cells = field(default_factory=Cells.none)
    units: Floats | None = None
    weight: Floats | None = None

    def margin(self, price: Floats) -> Floats:
        """(n,) margin of a purchase at prices (n,), money."""
        one: Floats = price - self.cost
        return one if self.units is None else one * self.units

    def mean(self, value: Floats) -> float:
        """Mean over visits of a value (P,) of each page."""
        return float(value.mean() if self.weight is None else np.average(value, weights=self.weight))

    @property
    def visits(self) -> Floats:
        """(n,) visits that each row's page stands for."""
        return np.ones(len(self.page)) if self.weight is None else self.weight[self.page]

    def sums(self, values: Floats) -> Floats:
        """(P,) sum over the rows of each page."""
        return np.asarray(np.bincount(self.page, weights=values, minlength=len(self.customer)), dtype=np.float64)

    def rows(self, keep: Flags) -> PageLog:
        """The pages of some rows; a page stays whole or goes."""
        pages, page = np.unique(self.page[keep], return_inverse=True)
        parts = {name: getattr(self, name)[keep] for name in ROW_FIELDS}
        return PageLog(
            page=page,
            customer=self.customer[pages],
            cells=self.cells.rows(keep),
            units=None if self.units is None else self.units[keep],
            weight=None if self.weight is None else self.weight[pages],
            **parts,
        )

    def of_pages(self, name: str, value: Floats) -> Estimate:
        """An estimate of the mean over visits whose rows are pages, clustered by customer.

        A page's weight multiplies its value above and counts below (Hajek 1971), and its customer's error with it.
        """
        if self.weight is None:
            return Estimate(name, value, np.ones(len(value)), self.customer)
        return Estimate(name, value * self.weight, self.weight, self.customer)


ROW_FIELDS = ("price", "unit", "cost", "bought", "on_sale", "propensity", "levels")


class Shares(NamedTuple):
    """Demand at given prices.

    Args:
        pull: (n,) attraction of each row.
        share: (n,) purchase probability.
        none: (P,) probability that nothing is bought.
    """

    pull: Floats
    share: Floats
    none: Floats


def shares(log: PageLog, a: Floats, b: Floats, price: Floats) -> Shares:
    """Purchase probabilities at prices (n,) for utilities ``a`` and slopes ``b``, both (n,)."""
    pull = np.exp(log.cells.adjust(np.where(log.on_sale, a - b * price / log.unit, -np.inf)))
    none = 1.0 / (1.0 + log.sums(pull))
    return Shares(pull, pull * none[log.page], none)


def predicted(log: PageLog, a: Floats, b: Floats, price: Floats) -> Floats:
    """(P,) profit of each page at prices (n,) according to the demand model alone, money: the direct method."""
    return log.sums(shares(log, a, b, price).share * log.margin(price))


def earned(log: PageLog) -> Floats:
    """(P,) profit of each page as it was logged, money."""
    return log.sums(log.bought * log.margin(log.price))


def one_step(log: PageLog, a: Floats, b: Floats, price: Floats, clip: float = np.inf) -> Floats:
    """(P,) profit of each page at new prices, money: predicted, and corrected by what the log shows.

    With ``q`` the model's purchase probabilities at the logged prices (``q_0`` of buying nothing), ``q*`` those at the
    new ones, ``m*`` the new margins and ``R*`` the page's predicted profit, an error ``d_j(y) = da_j - y db_j`` in the
    utility of row j moves the predicted profit by ``g_j d_j(y*_j)`` with ``g_j = q*_j (m*_j - R*)``. The log shows it:
    ``s_j = bought_j - (q_j / q_0) nothing bought`` has the mean ``q_j d_j(y_j)``, whatever is wrong about the other
    rows. (With nests g and s are those of adjusted utilities, taken back to utilities.) Hence

        value = R* + sum_j g_j w_j s_j

    with weights that turn what is seen at the drawn prices into what holds at the new one:
    ``E[w_j q_j (1, y_j)] = (1, y*_j)`` over the draw of the row's own price.

    Args:
        log: The log.
        a: (n,) utilities, by a model that was fitted on other customers.
        b: (n,) slopes.
        price: (n,) new prices, money.
        clip: Largest size of a weight, relative to one that only corrects the level.
    """
    logged, new = shares(log, a, b, log.price), shares(log, a, b, price)
    margin = log.margin(price)
    worth = log.sums(new.share * margin)
    gain = log.cells.pull(new.share * (margin - worth[log.page]), new.pull)
    nothing = np.where(log.sums(log.bought) > 0, 0.0, 1.0)
    seen = log.bought * log.on_sale - logged.pull * nothing[log.page]
    surprise = seen.copy()
    at = log.cells.row  # a row's error is what its cell shows of it: J^-1 (seen / q), times q
    held = np.maximum(logged.share, 1e-300)
    surprise[at] = (log.cells.unpush(seen / held, logged.pull) * held)[at]
    weight = curve_weights(log, b, price, logged)
    most = clip / np.maximum(logged.share, 1e-300)
    return worth + log.sums(gain * np.clip(weight, -most, most) * surprise)


def curve_weights(log: PageLog, b: Floats, price: Floats, logged: Shares) -> Floats:
    """(n,) weights ``w`` with ``E[w q (1, y)] = (1, y*)`` over the draw of each row's own price.

    Among all such weights these have the least variance where all rows are drawn alike: ``w = pi / propensity``, with
    ``pi`` proportional to ``propensity (1 + (y* - ybar)(y - ybar) / var)`` over the levels of the row, whose moments
    are weighted by ``q``. A row whose price was not drawn, or has one level, corrects its level alone.
    """
    drawn = np.isfinite(log.propensity) & log.on_sale
    nominal = _nominal(log, drawn)
    y, target = log.levels / log.unit[:, None], price / log.unit
    open_ = np.isfinite(y)
    y = np.where(open_, y, 0.0)
    others = 1.0 / logged.none[log.page] - logged.pull
    step = b[:, None] * (log.price / log.unit)[:, None] - b[:, None] * y
    pull, moved = log.cells.move_one(logged.pull, np.where(open_, step, -np.inf))
    chance = np.where(open_, nominal[None, :], 0.0)
    chance /= np.maximum(chance.sum(axis=1, keepdims=True), 1e-300)
    seen = chance * pull / (others[:, None] + moved + pull)
    total = np.maximum(seen.sum(axis=1), 1e-300)
    mean = (seen * y).sum(axis=1) / total
    spread = (seen * (y - mean[:, None]) ** 2).sum(axis=1) / total
    tilt = np.where(spread > LEAST_SPREAD, (target - mean) / np.maximum(spread, LEAST_SPREAD), 0.0)
    at = _level(log)
    rows = np.arange(len(at))
    weight = (1.0 + tilt * (log.price / log.unit - mean)) / total * chance[rows, at] / log.propensity
    return np.where(drawn, weight, 1.0 / np.maximum(logged.share, 1e-300)) * log.on_sale


def _level(log: PageLog) -> Ints:
    """(n,) the point of its menu at which each row was logged."""
    distance = np.abs(log.levels - log.price[:, None])
    return np.asarray(np.where(np.isnan(distance), np.inf, distance).argmin(axis=1), dtype=np.int64)


def _nominal(log: PageLog, drawn: Flags) -> Floats:
    """(K,) how often each point of the menu is drawn where it is open: it decides the variance, not the mean."""
    at = _level(log)[drawn]
    counts = np.bincount(at, minlength=log.levels.shape[1]).astype(np.float64)
    chance = np.bincount(at, weights=log.propensity[drawn], minlength=log.levels.shape[1])
    return np.where(counts > 0, chance / np.maximum(counts, 1.0), 0.0)
