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
from scipy.optimize import nnls
from sklearn.model_selection import KFold

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.base.text import normalise
from fairtag.price_model.conformal import Intervals, fit_intervals
from fairtag.price_model.design import Design, log_competitor
from fairtag.price_model.learners import LEARNERS, Learners, PriceModelConfig, fit_learners

Floats = NDArray[np.float64]

MIN_ITEMS = 20  # priced items below which nothing can be cross-fitted
MIN_MARKET = 40  # items with a competitor's price below which the market has no weights of its own


@dataclass(frozen=True)
class ReferencePrices:
    """Prices in currency units, (n,) each: the estimate and the ends of its interval."""

    price: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class PriceModel:
    """A fitted ``f``; plain arrays and lists.

    Args:
        config: Settings.
        learners: The readings of an item.
        mean: Mean log price, about which the learners are combined.
        weights: (2, 4) weights of the learners without and with a competitor's price.
        intervals: Of the residual.
        catalogue: Cross-fitted prices of the items fitted on: each predicted by a model that had not seen it.
            Not stored; what a catalogue is referred to, as the model itself has seen its prices.
    """

    config: PriceModelConfig
    learners: Learners
    mean: float
    weights: Floats
    intervals: Intervals
    catalogue: ReferencePrices | None = None

    def predict(self, embeddings: NDArray[np.float32], items: pd.DataFrame) -> ReferencePrices:
        """Prices of items.

        Args:
            embeddings: (n, d) unit rows of the items.
            items: Their table; the list price is not looked at.
        """
        if not len(items):
            empty = np.zeros(0)
            return ReferencePrices(empty, empty, empty)
        votes, nearness = self.learners.votes(embeddings, items, self.config)
        log_price = _combine(votes, self.mean, self.weights)
        return _prices(self.intervals, log_price, nearness, items)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is stored as arrays."""
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
        """What is stored as JSON."""
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
        """The model that :meth:`arrays` and :meth:`metadata` came from."""
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
    """Fit ``f`` on the items that have a list price.

    Args:
        embeddings: (n, d) unit rows of the items.
        items: Their table.
        config: Settings.
        product: (n,) product that each item is a listing of. Where what is to be priced is a product of which nothing
            was seen, its listings must leave the cross-fitting together too, or the residuals that set the interval
            are those of products half known. Each item is its own product when absent.

    Raises:
        DataError: Fewer than 20 items have a list price above 0.
    """
    config = config or PriceModelConfig()
    price = items[schema.LIST_PRICE].to_numpy(dtype=np.float64)
    priced = np.isfinite(price) & (price > 0)
    if priced.sum() < MIN_ITEMS:
        raise DataError(
            f"items: {int(priced.sum())} have a list price above 0; the price model needs {MIN_ITEMS}",
            table="items",
            column=schema.LIST_PRICE,
            rule=f"at least {MIN_ITEMS} prices",
            count=int(priced.sum()),
        )
    rows, table = np.asarray(embeddings)[priced], items[priced]
    log_price = np.log(price[priced])
    whole = np.arange(len(rows)) if product is None else np.asarray(product, dtype=np.str_)[priced]
    votes, nearness = _cross_fitted(rows, table, log_price, whole, config)
    mean = float(log_price.mean())
    weights = _weights(votes, log_price, mean)
    estimate = _combine(votes, mean, weights)
    features = _spread_features(estimate, nearness, table)
    intervals = fit_intervals(log_price - estimate, features, _groups(table), config.coverage, config.seed)
    learners = fit_learners(rows, table, log_price, config)
    catalogue = _spread_out(_prices(intervals, estimate, nearness, table), priced)
    return PriceModel(config, learners, mean, weights, intervals, catalogue)


def reference_price(
    f: Floats, list_price: Floats, competitor: Floats, weights: tuple[float, float, float] = (0.0, 1.0, 0.0)
) -> Floats:
    """``log r = w_f log f + w_l log list + w_c log competitor``.

    Where a price is absent (NaN) its weight goes to the others in proportion, and to the list price where they have
    none.

    Args:
        f: Model price (n,), money.
        list_price: (n,), money.
        competitor: (n,), money, NaN where there is none.
        weights: Of f, list and competitor; >= 0, sum 1.

    Raises:
        ConfigError: A weight is negative or they do not sum to 1.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (3,) or not (w >= 0).all() or abs(w.sum() - 1.0) > 1e-9:
        raise ConfigError(f"reference price: weights are {tuple(weights)}; they must be three, >= 0, and sum to 1")
    prices = np.stack(np.broadcast_arrays(f, list_price, competitor), axis=-1).astype(np.float64)
    known = np.isfinite(prices) & (prices > 0)
    shares = np.where(known, w, 0.0)
    shares[shares.sum(-1) == 0, 1] = 1.0
    shares /= shares.sum(-1, keepdims=True)
    logs = np.log(np.where(known, prices, 1.0))
    return np.asarray(np.where(known.any(-1), np.exp((shares * logs).sum(-1)), np.nan), dtype=np.float64)


def _cross_fitted(
    embeddings: NDArray[np.float32],
    items: pd.DataFrame,
    log_price: Floats,
    product: NDArray[Any],
    config: PriceModelConfig,
) -> tuple[Floats, Floats]:
    """Votes (n, 4) and nearness (n,) of each item by learners that had not seen its product."""
    votes, nearness = np.zeros((len(items), len(LEARNERS))), np.zeros(len(items))
    products, place = np.unique(product, return_inverse=True)
    folds = KFold(config.folds, shuffle=True, random_state=config.seed)
    for _, held in folds.split(products):
        out = np.isin(place, held)
        train, test = np.flatnonzero(~out), np.flatnonzero(out)
        learners = fit_learners(embeddings[train], items.iloc[train], log_price[train], config)
        votes[test], nearness[test] = learners.votes(embeddings[test], items.iloc[test], config)
    return votes, nearness


def _weights(votes: Floats, log_price: Floats, mean: float) -> Floats:
    """Non-negative least squares of the log price on the votes, without and with the market's."""
    texts = nnls(votes[:, :3] - mean, log_price - mean)[0]
    market = np.isfinite(votes[:, 3])
    if market.sum() < MIN_MARKET:
        return np.stack([np.append(texts, 0.0), np.append(texts, 0.0)])
    return np.stack([np.append(texts, 0.0), nnls(votes[market] - mean, log_price[market] - mean)[0]])


def _combine(votes: Floats, mean: float, weights: Floats) -> Floats:
    market = np.isfinite(votes[:, 3])
    centred = np.where(np.isfinite(votes), votes - mean, 0.0)
    return np.asarray(mean + (centred * weights[market.astype(np.int64)]).sum(1), dtype=np.float64)


def _spread_features(estimate: Floats, nearness: Floats, items: pd.DataFrame) -> Floats:
    """What the spread depends on: the price's height, how near the nearest item is, whether the market is known."""
    return np.stack([estimate, nearness, np.isfinite(log_competitor(items)).astype(np.float64)], axis=1)


def _groups(items: pd.DataFrame) -> list[str]:
    return [normalise(value) for value in items[schema.CATEGORY]] if schema.CATEGORY in items else [""] * len(items)


def _prices(intervals: Intervals, estimate: Floats, nearness: Floats, items: pd.DataFrame) -> ReferencePrices:
    low, high = intervals.ends(_spread_features(estimate, nearness, items), _groups(items))
    return ReferencePrices(np.exp(estimate), np.exp(estimate + low), np.exp(estimate + high))


def _spread_out(prices: ReferencePrices, priced: NDArray[np.bool_]) -> ReferencePrices:
    """The priced rows' values at their places, NaN elsewhere."""
    columns = []
    for values in (prices.price, prices.low, prices.high):
        full = np.full(len(priced), np.nan)
        full[priced] = values
        columns.append(full)
    return ReferencePrices(*columns)
