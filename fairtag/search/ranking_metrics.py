"""How well scores order judged items within each query: nDCG, reciprocal rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def ndcg_by_query(query: ArrayLike, relevance: ArrayLike, score: ArrayLike, k: int = 10, seed: int = 0) -> Floats:
    """nDCG@k of each query, gain = relevance, discount 1 / log2(rank + 1) (Järvelin and Kekäläinen 2002).

    A query whose items are all of one relevance says nothing about an order and is left out; equal scores are put
    in a seeded random order, so that a constant score is worth what chance is worth.

    Args:
        query: (n,) key of the query of each judged item.
        relevance: (n,) graded, >= 0.
        score: (n,) greater is better.
        k: Ranks counted.
        seed: Of the order among ties.

    Returns:
        (m,) in [0, 1], one a query that is kept, in the order of the sorted keys.
    """
    codes, rel = _codes(query), np.asarray(relevance, dtype=np.float64)
    gain = _discounted(codes, rel, np.asarray(score, dtype=np.float64), k, seed)
    ideal = _discounted(codes, rel, rel, k, seed)
    keep = informative(query, relevance)
    return np.asarray(gain[keep] / ideal[keep], dtype=np.float64)


def reciprocal_rank_by_query(query: ArrayLike, relevant: ArrayLike, score: ArrayLike, seed: int = 0) -> Floats:
    """1 / rank of the first relevant item of each query that has both relevant and irrelevant items."""
    codes, hit = _codes(query), np.asarray(relevant, dtype=bool)
    rank = _ranks(codes, np.asarray(score, dtype=np.float64), seed)
    first = np.full(codes.max(initial=-1) + 1, np.inf)
    np.minimum.at(first, codes[hit], rank[hit])
    return np.asarray(1.0 / first[informative(query, hit)], dtype=np.float64)


def informative(query: ArrayLike, relevance: ArrayLike) -> NDArray[np.bool_]:
    """(queries,) whether a query, in the order of the sorted keys, has items of more than one relevance."""
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
