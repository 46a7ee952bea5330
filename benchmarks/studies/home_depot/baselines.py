"""Baselines of the Home Depot study: BM25, and boosting of seven overlaps of words."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.isotonic import IsotonicRegression

from fairtag.base import schema
from fairtag.base.text import tokens
from fairtag.search.word_index import WordIndex

Floats = NDArray[np.float64]
SEED = 0


def bm25(rows: pd.DataFrame) -> Floats:
    """BM25 score (n,) of each pair, over the distinct titles."""
    terms, of_term = np.unique(rows[schema.QUERY].to_numpy(dtype=str), return_inverse=True)
    titles, of_title = np.unique(rows[schema.TITLE].to_numpy(dtype=str), return_inverse=True)
    index = WordIndex.build(titles.tolist())
    scores = np.zeros(len(rows))
    order = np.argsort(of_term, kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(of_term[order])) + 1):
        scores[pairs] = index.scores(str(terms[of_term[pairs[0]]]))[of_title[pairs]]
    return scores


def overlap_features(rows: pd.DataFrame) -> Floats:
    """(n, 7) overlaps of term and title."""
    pairs = zip(rows[schema.QUERY], rows[schema.TITLE], strict=True)
    return np.array([overlap(tokens(term), tokens(title)) for term, title in pairs], dtype=np.float64)


def overlap(term: list[str], title: list[str]) -> list[float]:
    """Words of the term, of the title, of both; their share, Jaccard, share of trigrams, last word in both."""
    words, other = set(term), set(title)
    shared = words & other
    grams, others = _grams(" ".join(term), 3), _grams(" ".join(title), 3)
    return [
        float(len(term)),
        float(len(title)),
        float(len(shared)),
        _share(len(shared), len(words)),
        _share(len(shared), len(words | other)),
        _share(len(grams & others), len(grams)),
        float(bool(term) and term[-1] in other),
    ]


def predict_by_features(features: Floats, grade: Floats, test: NDArray[np.bool_]) -> Floats:
    """Relevance of the test rows predicted by boosting on all other rows."""
    model = HistGradientBoostingRegressor(
        max_iter=300,
        learning_rate=0.05,
        max_leaf_nodes=24,
        min_samples_leaf=40,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=SEED,
    ).fit(features[~test], grade[~test])
    return np.asarray(np.clip(model.predict(features[test]), 0.0, 1.0), dtype=np.float64)


def predict_by_score(score: Floats, grade: Floats, test: NDArray[np.bool_]) -> Floats:
    """Relevance of the test rows predicted from a score by isotonic regression on all other rows."""
    fit = IsotonicRegression(out_of_bounds="clip").fit(score[~test], grade[~test])
    return np.asarray(fit.predict(score[test]), dtype=np.float64)


def _grams(text: str, size: int) -> set[str]:
    return {text[start : start + size] for start in range(max(len(text) - size + 1, 1))}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
