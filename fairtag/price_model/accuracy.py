"""Accuracy of the price model on held-out products, beside plain baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV

from fairtag.base import schema
from fairtag.data import splits
from fairtag.price_model.design import fit_design
from fairtag.price_model.learners import PriceModelConfig
from fairtag.price_model.price_model import Floats, fit_price_model

PENALTIES = tuple(np.logspace(-2, 3, 11))  # of the embedding baseline, chosen by leave-one-out
WORD_PENALTIES = (0.1, 0.3, 1.0, 3.0)  # of the word baseline, which gets the best on the held-out products themselves
MIN_CATEGORY = 30  # held-out products of a category needed to report its coverage


@dataclass(frozen=True)
class PriceScore:
    """Errors of one predictor on held-out products.

    Args:
        name: Predictor.
        rmsle: Root mean squared error of ``log(1 + price)``.
        mae: Mean absolute error, money.
        r2: Coefficient of determination of the log price.
    """

    name: str
    rmsle: float
    mae: float
    r2: float


@dataclass(frozen=True)
class PriceReport:
    """Scores of ``f`` and of its baselines on held-out products.

    Args:
        train_items: Number of products in the fit.
        held_out_items: Number of products scored.
        scores: ``f`` first, then the baselines.
        coverage: Share of held-out prices inside the interval.
        coverage_by_category: The same for categories with at least 30 products.
        median_width: Median of upper over lower end.
        squared_errors: (held-out,) squared log errors by predictor, for paired intervals.
    """

    train_items: int
    held_out_items: int
    scores: tuple[PriceScore, ...]
    coverage: float
    coverage_by_category: dict[str, float]
    median_width: float
    squared_errors: dict[str, Floats]

    def score(self, name: str) -> PriceScore:
        """The scores of one predictor; KeyError if there is none of that name."""
        return {score.name: score for score in self.scores}[name]

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object, without the errors of single products."""
        return {name: value for name, value in asdict(self).items() if name != "squared_errors"}


def price_report(
    embeddings: NDArray[np.float32],
    items: pd.DataFrame,
    config: PriceModelConfig | None = None,
    *,
    frozen: NDArray[np.float32] | None = None,
    held_out: NDArray[np.bool_] | None = None,
    product: Sequence[str] | None = None,
) -> PriceReport:
    """Fit on some products, score the others.

    Args:
        embeddings: (n, d) unit embeddings by the fine-tuned encoder.
        items: Their rows, all with a list price.
        config: Settings of the price model.
        frozen: (n, e) embeddings by the encoder before fine-tuning, for its baseline; ``embeddings`` by default.
        held_out: Items to score; chosen by hash of the item id by default.
        product: (n,) product of each item, whose listings are held out together; see :func:`fit_price_model`.
    """
    config = config or PriceModelConfig()
    test = splits.held_out(items[schema.ITEM_ID].astype(str), splits.PRODUCT_SALT) if held_out is None else held_out
    truth = np.log(items[schema.LIST_PRICE].to_numpy(dtype=np.float64))
    known = None if product is None else [name for name, out in zip(product, test, strict=True) if not out]
    model = fit_price_model(embeddings[~test], items[~test], config, known)
    priced = model.predict(embeddings[test], items[test])
    predictions = {"f": np.log(priced.price)}
    predictions["category_median"] = _category_median(items, truth, test)
    predictions["tfidf_ridge"] = _words(items, truth, test)
    predictions["frozen_embedding_ridge"] = _embedding(embeddings if frozen is None else frozen, truth, test)
    inside = (truth[test] >= np.log(priced.low)) & (truth[test] <= np.log(priced.high))
    return PriceReport(
        train_items=int((~test).sum()),
        held_out_items=int(test.sum()),
        scores=tuple(_score(name, truth[test], predicted) for name, predicted in predictions.items()),
        coverage=float(inside.mean()),
        coverage_by_category=_by_category(items[schema.CATEGORY][test].tolist(), inside),
        median_width=float(np.median(priced.high / priced.low)),
        squared_errors={name: _log_errors(truth[test], predicted) ** 2 for name, predicted in predictions.items()},
    )


def _log_errors(truth: Floats, predicted: Floats) -> Floats:
    return np.asarray(np.log1p(np.exp(predicted)) - np.log1p(np.exp(truth)), dtype=np.float64)


def _score(name: str, truth: Floats, predicted: Floats) -> PriceScore:
    return PriceScore(
        name=name,
        rmsle=float(np.sqrt(np.mean(_log_errors(truth, predicted) ** 2))),
        mae=float(np.mean(np.abs(np.exp(predicted) - np.exp(truth)))),
        r2=float(1.0 - np.sum((truth - predicted) ** 2) / np.sum((truth - truth.mean()) ** 2)),
    )


def _category_median(items: pd.DataFrame, truth: Floats, test: NDArray[np.bool_]) -> Floats:
    known = pd.Series(truth[~test]).groupby(items[schema.CATEGORY][~test].to_numpy()).median()
    medians = items[schema.CATEGORY][test].map(known).fillna(float(np.median(truth[~test])))
    return np.asarray(medians, dtype=np.float64)


def _words(items: pd.DataFrame, truth: Floats, test: NDArray[np.bool_]) -> Floats:
    columns = fit_design(items[~test]).sparse(items)
    fits = [Ridge(alpha=penalty, solver="sparse_cg").fit(columns[~test], truth[~test]) for penalty in WORD_PENALTIES]
    predictions: list[Floats] = [fit.predict(columns[test]) for fit in fits]
    errors = [float(np.mean((predicted - truth[test]) ** 2)) for predicted in predictions]
    return np.asarray(predictions[int(np.argmin(errors))], dtype=np.float64)


def _embedding(embeddings: NDArray[np.float32], truth: Floats, test: NDArray[np.bool_]) -> Floats:
    rows = np.asarray(embeddings, dtype=np.float64)
    return np.asarray(RidgeCV(PENALTIES).fit(rows[~test], truth[~test]).predict(rows[test]), dtype=np.float64)


def _by_category(categories: Sequence[str], inside: NDArray[np.bool_]) -> dict[str, float]:
    grouped = pd.Series(inside, dtype=float).groupby(np.asarray(categories, dtype=object))
    return {str(name): float(part.mean()) for name, part in grouped if len(part) >= MIN_CATEGORY}
