"""Features of the price model: an item's embedding, words, category, brand and further numbers.

A fitted design is plain arrays and lists, so that it can be stored without pickle.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from fairtag.base import schema
from fairtag.base.text import item_texts, tokens

Floats = NDArray[np.float64]

GROUP_SCALE = 0.3  # size of a category's or brand's indicator beside a unit embedding; chosen on product_matching
MOST_CATEGORIES, MOST_BRANDS, MOST_WORDS = 100, 200, 20_000  # only the most frequent get a column
MIN_WORD_ITEMS = 2  # a word that only one item has tells nothing about others


@dataclass(frozen=True)
class Design:
    """The columns of the price model.

    Args:
        categories: Categories with an indicator.
        brands: Brands with an indicator.
        words: Words and pairs of words, in column order.
        word_weights: Inverse document frequency of each.
        numeric: Names of further numeric columns, such as season or promotion.
        numeric_scale: (2, k) mean and deviation of each.
    """

    categories: tuple[str, ...]
    brands: tuple[str, ...]
    words: tuple[str, ...]
    word_weights: Floats
    numeric: tuple[str, ...]
    numeric_scale: Floats

    def dense(self, embeddings: NDArray[np.float32], items: pd.DataFrame) -> Floats:
        """(n, p) embedding, indicators, and standardised numeric columns, each with a flag for missing values."""
        return np.hstack([np.asarray(embeddings, dtype=np.float64), self._indicators(items), self._numbers(items)])

    def sparse(self, items: pd.DataFrame) -> sp.csr_matrix:
        """(n, q) TF-IDF of words and word pairs, and the indicators."""
        if not self.words:
            return sp.csr_matrix(self._indicators(items))
        return sp.csr_matrix(sp.hstack([self._vectoriser().transform(item_texts(items)), self._indicators(items)]))

    def _vectoriser(self) -> Any:
        vectoriser = TfidfVectorizer(analyzer=grams, vocabulary=list(self.words), sublinear_tf=True)
        vectoriser.idf_ = self.word_weights
        return vectoriser

    def _indicators(self, items: pd.DataFrame) -> Floats:
        category, brand = (_strings(items, name) for name in (schema.CATEGORY, schema.BRAND))
        return GROUP_SCALE * np.hstack([_one_hot(category, self.categories), _one_hot(brand, self.brands)])

    def _numbers(self, items: pd.DataFrame) -> Floats:
        values = _numeric(items, self.numeric)
        known = np.isfinite(values)
        mean, deviation = self.numeric_scale
        return np.hstack([np.where(known, (values - mean) / deviation, 0.0), (~known).astype(np.float64)])


def fit_design(items: pd.DataFrame, numeric: Sequence[str] = ()) -> Design:
    """Choose categories, brands and words by how many items have them."""
    words: tuple[str, ...] = ()
    weights = np.zeros(0)
    try:
        vectoriser = TfidfVectorizer(
            analyzer=grams, min_df=MIN_WORD_ITEMS, max_features=MOST_WORDS, sublinear_tf=True
        ).fit(item_texts(items))
        words, weights = tuple(vectoriser.get_feature_names_out().tolist()), vectoriser.idf_
    except ValueError:  # raised by scikit-learn if no word is left: no two texts share one
        pass
    values = _numeric(items, numeric)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(values)
        count = np.maximum(known.sum(0), 1)
        mean = np.where(known, values, 0.0).sum(0) / count
        deviation = np.sqrt(np.where(known, (values - mean) ** 2, 0.0).sum(0) / count)
    return Design(
        categories=_frequent(_strings(items, schema.CATEGORY), MOST_CATEGORIES),
        brands=_frequent(_strings(items, schema.BRAND), MOST_BRANDS),
        words=words,
        word_weights=np.asarray(weights, dtype=np.float64),
        numeric=tuple(numeric),
        numeric_scale=np.stack([mean, np.where(deviation > 0, deviation, 1.0)]),
    )


def grams(text: str) -> list[str]:
    """Words and pairs of neighbouring words."""
    words = tokens(text)
    return [*words, *(f"{left} {right}" for left, right in itertools.pairwise(words))]


def log_competitor(items: pd.DataFrame) -> Floats:
    """Log of the competitor's price; NaN where there is none."""
    if schema.COMPETITOR_PRICE not in items.columns:
        return np.full(len(items), np.nan)
    price = items[schema.COMPETITOR_PRICE].to_numpy(dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(price > 0, np.log(price), np.nan)


def _strings(items: pd.DataFrame, name: str) -> NDArray[np.object_]:
    if name not in items.columns:
        return np.full(len(items), "", dtype=object)
    return items[name].fillna("").astype(str).to_numpy(dtype=object)


def _numeric(items: pd.DataFrame, names: Sequence[str]) -> Floats:
    if not names:
        return np.zeros((len(items), 0))
    return items[list(names)].to_numpy(dtype=np.float64)


def _one_hot(values: NDArray[np.object_], known: Sequence[str]) -> Floats:
    place = {value: column for column, value in enumerate(known)}
    out = np.zeros((len(values), len(known)))
    for row, value in enumerate(values):
        if value in place:
            out[row, place[value]] = 1.0
    return out


def _frequent(values: NDArray[np.object_], most: int) -> tuple[str, ...]:
    counted = pd.Series(values[values != ""], dtype=object).value_counts()
    counted = counted[counted >= MIN_WORD_ITEMS]
    ordered = sorted(counted.items(), key=lambda pair: (-int(pair[1]), str(pair[0])))
    return tuple(str(name) for name, _ in ordered[:most])
