"""Ranking metrics: how well scores order the judged items of each query (nDCG, reciprocal rank)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def ndcg_by_query(query: ArrayLike, relevance: ArrayLike, score: ArrayLike, k: int = 10, seed: int = 0) -> Floats:
    """nDCG@k of each query, gain = relevance, discount 1 / log2(rank + 1) (Järvelin and Kekäläinen 2002).

    Queries whose items all have the same relevance are left out, as they cannot show an order. Equal scores are put in
    a random order from the seed, so a constant score is worth what chance is worth.

    >>> ndcg_by_query(["a", "a", "b", "b"], [1.0, 0.0, 0.0, 1.0], [0.9, 0.1, 0.8, 0.3]).round(3)
    array([1.   , 0.631])

    Args:
        query: Key of the query of each judged item (n,).
        relevance: Graded relevance, at least 0 (n,).
        score: Greater is better (n,).
        k: Ranks counted.
        seed: Seed of the order among ties.

    Returns:
        nDCG in [0, 1] of each of the m queries that are kept (m,), in the order of the sorted keys.
    """
    codes, rel = _codes(query), np.asarray(relevance, dtype=np.float64)
    gain = _discounted(codes, rel, np.asarray(score, dtype=np.float64), k, seed)
    ideal = _discounted(codes, rel, rel, k, seed)
    keep = informative(query, relevance)
    return np.asarray(gain[keep] / ideal[keep], dtype=np.float64)


def reciprocal_rank_by_query(query: ArrayLike, relevant: ArrayLike, score: ArrayLike, seed: int = 0) -> Floats:
    """1 / rank of the first relevant item of each query that has both relevant and irrelevant items.

    >>> reciprocal_rank_by_query(["a", "a", "a"], [False, True, False], [0.9, 0.5, 0.1])
    array([0.5])
    """
    codes, hit = _codes(query), np.asarray(relevant, dtype=bool)
    rank = _ranks(codes, np.asarray(score, dtype=np.float64), seed)
    first = np.full(codes.max(initial=-1) + 1, np.inf)
    np.minimum.at(first, codes[hit], rank[hit])
    return np.asarray(1.0 / first[informative(query, hit)], dtype=np.float64)


def informative(query: ArrayLike, relevance: ArrayLike) -> NDArray[np.bool_]:
    """Whether each query, in the order of the sorted keys, has items of more than one relevance (queries,)."""
    codes, rel = _codes(query), np.asarray(relevance, dtype=np.float64)
    count = codes.max(initial=-1) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, codes, rel)
    np.maximum.at(high, codes, rel)
    return np.asarray(high > low, dtype=np.bool_)


def _codes(query: ArrayLike) -> NDArray[np.int64]:
    return np.unique(np.asarray(query), return_inverse=True)[1].astype(np.int64)


def _ranks(codes: NDArray[np.int64], score: Floats, seed: int) -> NDArray[np.int64]:
    jitter = np.random.default_rng(seed).random(len(codes))
    order = np.lexsort((jitter, -score, codes))
    starts = np.searchsorted(codes[order], codes[order], side="left")
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes)) - starts + 1
    return rank


def _discounted(codes: NDArray[np.int64], relevance: Floats, score: Floats, k: int, seed: int) -> Floats:
    rank = _ranks(codes, score, seed)
    gain = np.where(rank <= k, relevance / np.log2(rank + 1.0), 0.0)
    return np.bincount(codes, weights=gain).astype(np.float64)
