"""The orange juice panel as arrays of store-weeks by brand, and its own-price elasticities.

A log-log regression within brand (and store) is the textbook estimate of the own-price elasticity. Its standard errors
are clustered by store, as the weeks of a store are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base.errors import DataError
from fairtag.data.dominicks import BRANDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Panel:
    """Store-weeks by brand; money is dollars an ounce.

    Args:
        store: (T,) row of the store.
        week: (T,) week of the Dominick's calendar.
        price: (T, 11) own prices.
        cost: (T, 11) unit costs from the recorded margins.
        ounces: (T, 11) ounces sold.
        deal: (T, 11) 1 where a deal was on.
        feature: (T, 11) 1 where the brand was featured, or the share of days.
    """

    store: Ints
    week: Ints
    price: Floats
    cost: Floats
    ounces: Floats
    deal: Floats
    feature: Floats

    @property
    def n_stores(self) -> int:
        """Number of stores."""
        return int(self.store.max()) + 1

    @property
    def promoted(self) -> NDArray[np.bool_]:
        """(T, 11) where a deal or a feature was on."""
        return np.asarray((self.deal > 0) | (self.feature > 0))

    def rows(self, keep: NDArray[np.bool_]) -> Panel:
        """The chosen store-weeks; stores keep their rows."""
        return Panel(**{name: getattr(self, name)[keep] for name in self.__dataclass_fields__})


def panel_arrays(frame: pd.DataFrame) -> Panel:
    """Arrays of a complete panel (:func:`fairtag.data.dominicks.read_panel`).

    Raises:
        DataError: A store-week does not have all eleven brands.
    """
    ordered = frame.sort_values(["store", "week", "brand"]).reset_index(drop=True)
    n = len(BRANDS)
    if len(ordered) % n or not (ordered["brand"].to_numpy().reshape(-1, n) == np.arange(1, n + 1)).all():
        raise DataError(
            "dominicks: a store-week lacks a brand; the study needs all eleven brands in each store-week",
            rule="complete",
        )

    def wide(name: str) -> Floats:
        return ordered[name].to_numpy(float).reshape(-1, n)

    return Panel(
        store=pd.factorize(ordered["store"])[0].astype(np.int64).reshape(-1, n)[:, 0],
        week=ordered["week"].to_numpy(np.int64).reshape(-1, n)[:, 0],
        price=wide("price"),
        cost=wide("cost"),
        ounces=wide("ounces"),
        deal=wide("deal"),
        feature=wide("feat"),
    )


class Coefficient(NamedTuple):
    """A coefficient and its standard error clustered by store."""

    value: float
    error: float


def within(values: Floats, group: Ints) -> Floats:
    """Values (n,) or (n, k) minus their group means."""
    matrix = values.reshape(len(values), -1)
    count = np.maximum(np.bincount(group), 1)[:, None]
    sums = np.column_stack([np.bincount(group, weights=column) for column in matrix.T])
    inside: Floats = (matrix - (sums / count)[group]).reshape(values.shape)
    return inside


def clustered_slope(y: Floats, X: Floats, group: Ints, cluster: Ints) -> Coefficient:
    """First coefficient of ``y`` (n,) on ``X`` (n, k) within groups, with a cluster-robust standard error."""
    X, y = within(X, group), within(y, group)
    bread = np.linalg.inv(X.T @ X)
    theta = bread @ (X.T @ y)
    scores = X * (y - X @ theta)[:, None]
    sums = np.column_stack([np.bincount(cluster, weights=column) for column in scores.T])
    n = len(np.unique(cluster))
    covariance = n / (n - 1) * bread @ (sums.T @ sums) @ bread
    return Coefficient(float(theta[0]), float(np.sqrt(covariance[0, 0])))


def own_elasticities(panel: Panel) -> dict[str, Coefficient]:
    """Own-price elasticities by name of the row: pooled in three specifications, then brand by brand."""
    t, n = panel.price.shape
    brand, store = np.tile(np.arange(n), t), np.repeat(panel.store, n)
    y, x = np.log(panel.ounces).ravel(), np.log(panel.price).ravel()[:, None]
    promotions = np.column_stack([x, panel.deal.ravel(), panel.feature.ravel()])
    both = store * n + brand
    found = {
        "elasticity_brand": clustered_slope(y, x, brand, store),
        "elasticity_brand_store": clustered_slope(y, x, both, store),
        "elasticity_brand_store_promo": clustered_slope(y, promotions, both, store),
    }
    for index in range(n):
        own = (np.log(panel.ounces[:, index]), np.log(panel.price[:, [index]]))
        found[f"elasticity_of_brand_{index + 1}"] = clustered_slope(*own, panel.store, panel.store)
    return found
