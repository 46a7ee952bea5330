"""f(v): what an item of this text and kind costs, with an honest interval; and r, the unit the demand model prices in.

Ridge regression of log price on the item's embedding, category, brand and competitor price, with intervals conformal by
category (PRICING.md section 3). Knows nothing of customers, demand or what will be charged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold

from pricing import schema
from pricing.errors import BundleError, ConfigError, DataError

Floats = NDArray[np.float64]

FORMAT = "fairtag.price_model/1"
ALPHAS = tuple(np.logspace(-2, 3, 16))  # ridge penalties tried by leave-one-out
FOLDS = 5  # of the out-of-fold residuals behind the intervals
LEAST_CATEGORY = 40  # residuals below which a category borrows the interval of all: its own 5 % tail would be one item
LEAST_BRAND = 3  # items below which a brand counts as unknown


@dataclass(frozen=True)
class PriceModelConfig:
    """How f(v) is fitted.

    Args:
        coverage: Share of new items that the interval must hold, in (0, 1).
        market: Use the competitor's price where there is one.
    """

    coverage: float = 0.9
    market: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0 < self.coverage < 1:
            raise ConfigError(f"coverage is {self.coverage}; it must lie in (0, 1)")


@dataclass(frozen=True)
class ReferencePrices:
    """Predictions, money (n,).

    Args:
        price: f(v).
        low: Lower end of the interval.
        high: Upper end.
    """

    price: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class PriceModel:
    """A fitted f(v).

    Args:
        categories: (C,) names seen.
        brands: (B,) names seen often enough.
        coefficients: (p,) of the standardised features, in the order of :func:`features`.
        intercept: Of log price.
        centre: (p,) means taken off the features.
        reach: (C + 1,) half-width of the interval in log price by category; the last is that of all categories.
        config: How it was fitted.
        report: What the fit says of itself; JSON.
    """

    categories: tuple[str, ...]
    brands: tuple[str, ...]
    coefficients: Floats
    intercept: float
    centre: Floats
    reach: Floats
    config: PriceModelConfig
    report: dict[str, Any] = field(default_factory=dict)

    def predict(self, embeddings: NDArray[np.float32], items: pd.DataFrame) -> ReferencePrices:
        """Prices of items, in the catalogue or not.

        Args:
            embeddings: (n, d) text embeddings.
            items: (n rows) of the items table.
        """
        X = features(embeddings, items, self.categories, self.brands, self.config) - self.centre
        log_price = X @ self.coefficients + self.intercept
        codes = _codes(items[schema.CATEGORY], self.categories)
        reach = self.reach[np.where(codes < 0, len(self.categories), codes)]
        return ReferencePrices(np.exp(log_price), np.exp(log_price - reach), np.exp(log_price + reach))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything numeric."""
        return {"coefficients": self.coefficients, "centre": self.centre, "reach": self.reach}

    def metadata(self) -> dict[str, Any]:
        """Everything else, as JSON."""
        return {
            "format": FORMAT,
            "categories": list(self.categories),
            "brands": list(self.brands),
            "intercept": self.intercept,
            "config": vars(self.config),
            "report": self.report,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], metadata: dict[str, Any]) -> PriceModel:
        """The model that :meth:`arrays` and :meth:`metadata` describe.

        Raises:
            BundleError: The format is another one.
        """
        if metadata.get("format") != FORMAT:
            raise BundleError(f"price model: format {metadata.get('format')!r}, this code reads {FORMAT!r}; fit again")
        return cls(
            categories=tuple(metadata["categories"]),
            brands=tuple(metadata["brands"]),
            coefficients=arrays["coefficients"],
            intercept=float(metadata["intercept"]),
            centre=arrays["centre"],
            reach=arrays["reach"],
            config=PriceModelConfig(**metadata["config"]),
            report=dict(metadata["report"]),
        )


def fit_price_model(
    embeddings: NDArray[np.float32], items: pd.DataFrame, config: PriceModelConfig | None = None, *, seed: int = 0
) -> PriceModel:
    """Fit f(v) on the list prices of a catalogue.

    Args:
        embeddings: (n, d) text embeddings of the items.
        items: (n rows) of the items table.
        config: How.
        seed: Seed of the folds.

    Raises:
        DataError: Fewer than ten items, or an embedding that is not finite.
    """
    config = config or PriceModelConfig()
    if len(items) < 2 * FOLDS or not np.isfinite(embeddings).all():
        raise DataError(
            f"items: {len(items)} with {int((~np.isfinite(embeddings)).sum())} broken embedding values; "
            f"f(v) needs at least {2 * FOLDS} items and finite embeddings",
            table="items",
            rule="enough items, finite embeddings",
            count=len(items),
        )
    log_price = np.log(items[schema.LIST_PRICE].to_numpy(dtype=np.float64))
    categories = tuple(sorted(items[schema.CATEGORY].astype(str).unique()))
    brands = _frequent(items.get(schema.BRAND))
    X = features(embeddings, items, categories, brands, config)
    centre = X.mean(axis=0)
    ridge = RidgeCV(alphas=ALPHAS).fit(X - centre, log_price)
    residual = _out_of_fold(X, log_price, seed)
    codes = _codes(items[schema.CATEGORY], categories)
    return PriceModel(
        categories=categories,
        brands=brands,
        coefficients=np.asarray(ridge.coef_, dtype=np.float64),
        intercept=float(ridge.intercept_),
        centre=centre,
        reach=_reaches(np.abs(residual), codes, len(categories), config.coverage),
        config=config,
        report={
            "items": len(items),
            "alpha": float(ridge.alpha_),
            "rmse_log": float(np.sqrt(np.square(residual).mean())),
        },
    )


def features(
    embeddings: NDArray[np.float32],
    items: pd.DataFrame,
    categories: Sequence[str],
    brands: Sequence[str],
    config: PriceModelConfig,
) -> Floats:
    """(n, p) embedding, category, brand, log competitor price and whether there is one."""
    parts = [np.asarray(embeddings, dtype=np.float64), _one_hot(items[schema.CATEGORY], categories)]
    if schema.BRAND in items.columns:
        parts.append(_one_hot(items[schema.BRAND], brands))
    else:
        parts.append(np.zeros((len(items), len(brands))))
    if config.market:
        absent = pd.Series(np.nan, index=items.index)
        rival = items.get(schema.COMPETITOR_PRICE, absent).to_numpy(dtype=np.float64)
        known = np.isfinite(rival) & (rival > 0)
        parts.append(np.column_stack([np.log(np.where(known, rival, 1.0)), known.astype(np.float64)]))
    return np.hstack(parts)


def reference_price(
    f: ArrayLike, list_price: ArrayLike, competitor_price: ArrayLike, weights: Sequence[float] = (0.0, 1.0, 0.0)
) -> Floats:
    """``log r = w_f log f + w_l log list + w_c log competitor``; an absent price gives its weight to the list price.

    Args:
        f: (n,) predicted price, money.
        list_price: (n,) money.
        competitor_price: (n,) money, NaN where absent.
        weights: w_f, w_l, w_c: >= 0, sum 1; the list price alone by default.

    Raises:
        ConfigError: The weights are negative or do not sum to 1.
    """
    w_f, w_l, w_c = weights
    if min(weights) < 0 or abs(sum(weights) - 1) > 1e-9:
        raise ConfigError(f"reference weights are {tuple(weights)}; they must be >= 0 and sum to 1")
    listed = np.asarray(list_price, dtype=np.float64)
    if w_l == 1.0:
        return listed.copy()
    log_list = np.log(listed)
    predicted, rival = (_log_or(np.asarray(x, dtype=np.float64), log_list) for x in (f, competitor_price))
    return np.asarray(np.exp(w_f * predicted + w_l * log_list + w_c * rival), dtype=np.float64)


def _log_or(price: Floats, otherwise: Floats) -> Floats:
    known = np.isfinite(price) & (price > 0)
    return np.where(known, np.log(np.where(known, price, 1.0)), otherwise)


def _out_of_fold(X: Floats, y: Floats, seed: int) -> Floats:
    """Residual of each item under a model that did not see it."""
    residual = np.empty_like(y)
    for seen, unseen in KFold(FOLDS, shuffle=True, random_state=seed).split(X):
        centre = X[seen].mean(axis=0)
        ridge = RidgeCV(alphas=ALPHAS).fit(X[seen] - centre, y[seen])
        residual[unseen] = y[unseen] - ridge.predict(X[unseen] - centre)
    return residual


def _reaches(errors: Floats, codes: NDArray[np.int64], n_categories: int, coverage: float) -> Floats:
    """Conformal half-widths: the ``ceil((n + 1) coverage)``-th smallest error of each category, of all at the end."""
    overall = _conformal(errors, coverage)
    own = [errors[codes == code] for code in range(n_categories)]
    return np.array([*(overall if e.size < LEAST_CATEGORY else _conformal(e, coverage) for e in own), overall])


def _conformal(errors: Floats, coverage: float) -> float:
    place = min(int(np.ceil((errors.size + 1) * coverage)), errors.size) - 1
    return float(np.sort(errors)[place])


def _frequent(brands: pd.Series[Any] | None) -> tuple[str, ...]:
    if brands is None:
        return ()
    counts = brands.dropna().astype(str).value_counts()
    return tuple(sorted(counts[counts >= LEAST_BRAND].index))


def _codes(values: pd.Series[Any], names: Sequence[str]) -> NDArray[np.int64]:
    """Number of each value's name, -1 for one never seen."""
    place = {name: number for number, name in enumerate(names)}
    return np.array([place.get(str(value), -1) for value in values], dtype=np.int64)


def _one_hot(values: pd.Series[Any], names: Sequence[str]) -> Floats:
    codes = _codes(values, names)
    out = np.zeros((len(codes), len(names)))
    known = np.flatnonzero(codes >= 0)
    out[known, codes[known]] = 1.0
    return out
