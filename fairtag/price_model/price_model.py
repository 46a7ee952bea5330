"""The price model ``f(v)`` with its interval, and the reference price ``r`` (docs/pricing-model.md, section 3).

Four learners predict an item's log price; their cross-fitted predictions are combined with weights >= 0:

    prices = fit_price_model(embeddings, items).predict(new_embeddings, new_items)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import nnls
from sklearn.model_selection import KFold

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.base.text import normalise
from fairtag.price_model.conformal import Intervals, fit_intervals
from fairtag.price_model.design import Design, fit_design, log_competitor
from fairtag.price_model.learners import LEARNERS, Learners, PriceModelConfig, fit_learners

Floats = NDArray[np.float64]

MIN_ITEMS = 20  # priced items needed for cross-fitting
MIN_MARKET = 40  # items with a competitor's price needed for weights of their own


@dataclass(frozen=True)
class PriceEstimates:
    """f(v) with its interval, each (n,), in currency units."""

    price: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class PriceModel:
    """A fitted price model; plain arrays and lists.

    Args:
        config: Settings.
        learners: The fitted learners.
        mean: Mean log price, around which the learners are combined.
        weights: (2, 4) weights of the learners, without and with a competitor's price.
        intervals: Intervals of the residual.
        catalogue: Out-of-fold estimates for the items of the fit, which the model itself has seen. Not stored.
    """

    config: PriceModelConfig
    learners: Learners
    mean: float
    weights: Floats
    intervals: Intervals
    catalogue: PriceEstimates | None = None

    def predict(self, embeddings: NDArray[np.float32], items: pd.DataFrame) -> PriceEstimates:
        """f(v) of items, with its interval.

        Args:
            embeddings: (n, d) unit embeddings of the items.
            items: Their rows; the list price is not read.
        """
        if not len(items):
            empty = np.zeros(0)
            return PriceEstimates(empty, empty, empty)
        predictions, nearness = self.learners.predictions(embeddings, items, self.config)
        log_price = _combine(predictions, self.mean, self.weights)
        return _prices(self.intervals, log_price, nearness, items)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of the model, for storage."""
        return {
            "embedding_line": self.learners.embedding_line,
            "word_line": self.learners.word_line,
            "memory": self.learners.memory,
            "memory_log_price": self.learners.memory_log_price,
            "weights": self.weights,
            "word_weights": self.learners.design.word_weights,
            "numeric_scale": self.learners.design.numeric_scale,
            "interval_coefficients": self.intervals.coefficients,
            "interval_corrections": self.intervals.corrections,
        }

    def metadata(self) -> dict[str, Any]:
        """All else of the model, as JSON."""
        return {
            "config": asdict(self.config),
            "categories": list(self.learners.design.categories),
            "brands": list(self.learners.design.brands),
            "words": list(self.learners.design.words),
            "market_offset": self.learners.market_offset,
            "mean": self.mean,
            "interval_groups": list(self.intervals.groups),
            "interval_narrowest": self.intervals.narrowest,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> PriceModel:
        """The model that :meth:`arrays` and :meth:`metadata` describe."""
        config = PriceModelConfig(**{**metadata["config"], "numeric": tuple(metadata["config"]["numeric"])})
        design = Design(
            categories=tuple(metadata["categories"]),
            brands=tuple(metadata["brands"]),
            words=tuple(metadata["words"]),
            word_weights=arrays["word_weights"],
            numeric=config.numeric,
            numeric_scale=arrays["numeric_scale"],
        )
        learners = Learners(
            design=design,
            embedding_line=arrays["embedding_line"],
            word_line=arrays["word_line"],
            memory=arrays["memory"],
            memory_log_price=arrays["memory_log_price"],
            market_offset=metadata["market_offset"],
        )
        intervals = Intervals(
            arrays["interval_coefficients"],
            tuple(metadata["interval_groups"]),
            arrays["interval_corrections"],
            metadata["interval_narrowest"],
        )
        return cls(config, learners, metadata["mean"], arrays["weights"], intervals)


def fit_price_model(
    embeddings: NDArray[np.float32],
    items: pd.DataFrame,
    config: PriceModelConfig | None = None,
    product: Sequence[str] | None = None,
) -> PriceModel:
    """Fit ``f`` on the items that have a list price; of fewer than 20 it is their geometric mean, with a wide interval.

    Args:
        embeddings: (n, d) unit embeddings of the items.
        items: Their rows.
        config: Settings.
        product: (n,) product of which each item is a listing; by default each item is its own. Listings of one product
            stay in one fold, so that the interval is that of new products and not of half-known ones.

    Raises:
        DataError: No item has a list price above 0.
    """
    config = config or PriceModelConfig()
    price = items[schema.LIST_PRICE].to_numpy(dtype=np.float64)
    priced = np.isfinite(price) & (price > 0)
    if 0 < priced.sum() < MIN_ITEMS:
        return _constant_model(np.asarray(embeddings)[priced], items[priced], np.log(price[priced]), config, priced)
    if not priced.any():
        raise DataError(
            "items: none has a list price above 0; the price model needs at least one",
            table="items",
            column=schema.LIST_PRICE,
            rule="at least one price",
        )
    rows, table = np.asarray(embeddings)[priced], items[priced]
    log_price = np.log(price[priced])
    whole = np.arange(len(rows)) if product is None else np.asarray(product, dtype=np.str_)[priced]
    predictions, nearness = _cross_fitted(rows, table, log_price, whole, config)
    mean = float(log_price.mean())
    weights = _weights(predictions, log_price, mean)
    estimate = _combine(predictions, mean, weights)
    features = _spread_features(estimate, nearness, table)
    intervals = fit_intervals(log_price - estimate, features, _groups(table), config.coverage, config.seed)
    learners = fit_learners(rows, table, log_price, config)
    catalogue = _at_priced(_prices(intervals, estimate, nearness, table), priced)
    return PriceModel(config, learners, mean, weights, intervals, catalogue)


def reference_price(
    f: Floats, list_price: Floats, competitor: Floats, weights: tuple[float, float, float] = (0.0, 1.0, 0.0)
) -> Floats:
    """Reference price ``r``: ``log r = w_f log f + w_l log list + w_c log competitor``.

    The weight of an absent price (NaN) goes to the others in proportion, or to list if they have none.

    Args:
        f: Model price (n,), money.
        list_price: (n,), money.
        competitor: (n,), money, NaN where there is none.
        weights: Weights of f, list and competitor; >= 0, sum 1.

    Raises:
        ConfigError: A weight is negative, or they do not sum to 1.

    >>> f, listed, competitor = np.array([9.0, 9.0]), np.array([16.0, 16.0]), np.array([4.0, np.nan])
    >>> reference_price(f, listed, competitor, weights=(0.0, 0.5, 0.5)).round(6).tolist()
    [8.0, 16.0]
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (3,) or not (w >= 0).all() or abs(w.sum() - 1.0) > 1e-9:
        raise ConfigError(f"reference price: weights are {tuple(weights)}; they must be three, >= 0, and sum to 1")
    prices = np.empty((*np.broadcast_shapes(*(np.shape(x) for x in (f, list_price, competitor))), 3))
    prices[..., 0], prices[..., 1], prices[..., 2] = f, list_price, competitor
    known = np.isfinite(prices) & (prices > 0)
    shares = np.where(known, w, 0.0)
    shares[shares.sum(-1) == 0, 1] = 1.0
    shares /= shares.sum(-1, keepdims=True)
    logs = np.log(np.where(known, prices, 1.0))
    return np.asarray(np.where(known.any(-1), np.exp((shares * logs).sum(-1)), np.nan), dtype=np.float64)


def _constant_model(
    embeddings: NDArray[np.float32],
    items: pd.DataFrame,
    log_price: Floats,
    config: PriceModelConfig,
    priced: NDArray[np.bool_],
) -> PriceModel:
    """The geometric mean of a few prices, with Student's prediction interval; of a single price, tenfold each way."""
    n = len(log_price)
    design = fit_design(items, config.numeric)
    learners = Learners(
        design=design,
        embedding_line=np.zeros(1 + design.dense(embeddings, items).shape[1]),
        word_line=np.zeros(1 + design.sparse(items).shape[1]),
        memory=np.asarray(embeddings, dtype=np.float32),
        memory_log_price=log_price,
        market_offset=0.0,
    )
    tail = (1.0 - config.coverage) / 2.0
    spread = float(log_price.std(ddof=1)) * np.sqrt(1 + 1 / n) if n > 1 else 0.0
    reach = max(float(stats.t.ppf(1 - tail, n - 1)) * spread if n > 1 else np.log(10.0), 1e-9)
    lines = np.zeros((3, 4))
    lines[[0, 2], 0] = -reach, reach
    intervals = Intervals(lines, ("",), np.ones((1, 2)), 1e-9)
    mean = np.full(n, log_price.mean())
    catalogue = _at_priced(PriceEstimates(*(np.exp(mean + shift) for shift in (0.0, -reach, reach))), priced)
    return PriceModel(config, learners, float(log_price.mean()), np.zeros((2, 4)), intervals, catalogue)


def _cross_fitted(
    embeddings: NDArray[np.float32],
    items: pd.DataFrame,
    log_price: Floats,
    product: NDArray[Any],
    config: PriceModelConfig,
) -> tuple[Floats, Floats]:
    """Out-of-fold predictions (n, 4) and nearness (n,) of each item."""
    predictions, nearness = np.zeros((len(items), len(LEARNERS))), np.zeros(len(items))
    products, place = np.unique(product, return_inverse=True)
    folds = KFold(config.folds, shuffle=True, random_state=config.seed)
    for _, held in folds.split(products):
        out = np.isin(place, held)
        train, test = np.flatnonzero(~out), np.flatnonzero(out)
        learners = fit_learners(embeddings[train], items.iloc[train], log_price[train], config)
        predictions[test], nearness[test] = learners.predictions(embeddings[test], items.iloc[test], config)
    return predictions, nearness


def _weights(predictions: Floats, log_price: Floats, mean: float) -> Floats:
    """Non-negative least squares of the log price on the predictions, without and with the competitor's."""
    texts = nnls(predictions[:, :3] - mean, log_price - mean)[0]
    market = np.isfinite(predictions[:, 3])
    if market.sum() < MIN_MARKET:
        return np.stack([np.append(texts, 0.0), np.append(texts, 0.0)])
    return np.stack([np.append(texts, 0.0), nnls(predictions[market] - mean, log_price[market] - mean)[0]])


def _combine(predictions: Floats, mean: float, weights: Floats) -> Floats:
    market = np.isfinite(predictions[:, 3])
    centred = np.where(np.isfinite(predictions), predictions - mean, 0.0)
    return np.asarray(mean + (centred * weights[market.astype(np.int64)]).sum(1), dtype=np.float64)


def _spread_features(estimate: Floats, nearness: Floats, items: pd.DataFrame) -> Floats:
    """Features of the interval: price level, cosine of the nearest item, whether a competitor's price is known."""
    return np.stack([estimate, nearness, np.isfinite(log_competitor(items)).astype(np.float64)], axis=1)


def _groups(items: pd.DataFrame) -> list[str]:
    return [normalise(value) for value in items[schema.CATEGORY]] if schema.CATEGORY in items else [""] * len(items)


def _prices(intervals: Intervals, estimate: Floats, nearness: Floats, items: pd.DataFrame) -> PriceEstimates:
    low, high = intervals.ends(_spread_features(estimate, nearness, items), _groups(items))
    return PriceEstimates(np.exp(estimate), np.exp(estimate + low), np.exp(estimate + high))


def _at_priced(prices: PriceEstimates, priced: NDArray[np.bool_]) -> PriceEstimates:
    """Estimates of the priced rows at their places, NaN elsewhere."""
    columns = []
    for values in (prices.price, prices.low, prices.high):
        full = np.full(len(priced), np.nan)
        full[priced] = values
        columns.append(full)
    return PriceEstimates(*columns)
