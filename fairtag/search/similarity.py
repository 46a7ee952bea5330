"""Similarity of a query and a customer to items (docs/pricing-model.md, section 2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairtag.base.errors import ConfigError

Kind = Literal["cosine", "euclidean", "jaccard"]
Floats = NDArray[np.float64]

HALF_LIFE_DAYS = 30.0  # a view a month ago counts half as much as one today
ALPHA = 0.7  # weight of the query in the intent: what is searched now outweighs what was liked
_BLOCK_ROWS = 65_536  # rows of a memory-mapped table scored at a time


def similarity(query: ArrayLike | Collection[str], items: ArrayLike | Sequence[Collection[str]], kind: Kind) -> Floats:
    """Similarity of one query to n items, in [0, 1]; 1 means the same.

    ``cosine``: s = (1 + cos(z, v)) / 2. ``euclidean``: s = 1 / (1 + ||z - v||).
    ``jaccard``: s = |A and B| / |A or B| over token sets; two empty sets have 0.

    >>> similarity({"oak", "chair"}, [{"oak", "table"}, {"lamp"}], "jaccard").round(2)
    array([0.33, 0.  ])
    >>> similarity([1.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], "cosine")
    array([1. , 0.5])

    Args:
        query: Vector (d,), or for ``jaccard`` the query's tokens.
        items: Matrix (n, d), or for ``jaccard`` one collection of tokens for each item.
        kind: Which similarity.

    Returns:
        (n,) float64. A zero vector has cosine 0 with everything, so s = 0.5.

    Raises:
        ConfigError: The kind is unknown.
    """
    if kind == "jaccard":
        words = frozenset(cast(Collection[str], query))
        return np.array([_jaccard(words, other) for other in cast(Sequence[Collection[str]], items)], dtype=np.float64)
    if kind not in ("cosine", "euclidean"):
        raise ConfigError(f"similarity: {kind!r} is unknown; it must be cosine, euclidean or jaccard")
    z = np.asarray(query, dtype=np.float64)
    v = np.atleast_2d(np.asarray(items))
    if kind == "cosine":
        return (1.0 + cosine(z, v)) / 2.0
    return np.asarray(1.0 / (1.0 + np.linalg.norm(v - z, axis=1)), dtype=np.float64)


def distance(query: ArrayLike | Collection[str], items: ArrayLike | Sequence[Collection[str]], kind: Kind) -> Floats:
    """``delta = 1 - s``: the penalty in the objective of section 5; a ranking minimises it."""
    return 1.0 - similarity(query, items, kind)


def cosine(z: ArrayLike, items: ArrayLike) -> Floats:
    """Cosine of the vector (d,) with each row of (n, d), in [-1, 1]; 0 where either is zero."""
    query = np.asarray(z, dtype=np.float64)
    rows = np.atleast_2d(np.asarray(items, dtype=np.float64))
    scale = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    dots = np.asarray(rows @ query, dtype=np.float64)
    angle: Floats = np.clip(np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0), -1.0, 1.0)
    return angle


def user_vector(embeddings: ArrayLike, age_days: ArrayLike, half_life_days: float = HALF_LIFE_DAYS) -> Floats | None:
    """``h_u``: the recency-weighted mean of the embeddings of what a customer viewed or bought, scaled to length 1.

    Args:
        embeddings: Rows of the history (k, d).
        age_days: Days since each (k,); an unknown age (NaN) counts as the oldest known one.
        half_life_days: Days after which a row counts half.

    Returns:
        Unit vector (d,); None for an empty history or one that cancels out.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.size == 0:
        return None
    return _unit(recency_weights(age_days, half_life_days) @ rows)


def recency_weights(age_days: ArrayLike, half_life_days: float = HALF_LIFE_DAYS) -> Floats:
    """Weights (k,) of a history by age, halved every half-life; the newest has weight 1.

    An unknown age (NaN) counts as the oldest known one.

    >>> recency_weights([0.0, 30.0, 60.0])
    array([1.  , 0.5 , 0.25])
    """
    ages = np.maximum(np.asarray(age_days, dtype=np.float64), 0.0)
    known = ages[np.isfinite(ages)]
    ages = np.where(np.isfinite(ages), ages, known.max() if known.size else 0.0)
    weight: Floats = np.exp2(-(ages - ages.min()) / half_life_days)  # relative to the newest, so that none underflows
    return weight


def intent(query: ArrayLike | None, history: ArrayLike | None, alpha: float = ALPHA) -> Floats | None:
    """``z = normalise(alpha E(query) + (1 - alpha) h_u)``; an absent part leaves its weight to the other.

    Returns:
        Unit vector (d,); None without query and history.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ConfigError(f"intent: alpha is {alpha}; it must be a share from 0 to 1")
    if query is None:
        return None if history is None else _unit(np.asarray(history, dtype=np.float64))
    vector = np.asarray(query, dtype=np.float64)
    if history is None:
        return _unit(vector)
    return _unit(alpha * vector + (1.0 - alpha) * np.asarray(history, dtype=np.float64))


def top_k(z: ArrayLike, embeddings: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k rows with the greatest inner product, exactly; of equal scores the lower row comes first.

    Args:
        z: Unit vector (d,).
        embeddings: Unit rows (n, d); a memory map is read in blocks.
        k: Rows wanted; a smaller table returns fewer.

    Returns:
        Rows (k,) best first, and their inner products (k,).
    """
    query = np.asarray(z, dtype=np.float32)
    starts = range(0, len(embeddings), _BLOCK_ROWS)
    blocks = [np.asarray(embeddings[start : start + _BLOCK_ROWS]) @ query for start in starts]
    scores = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
    rows = best_positions(scores, k)
    return rows, scores[rows]


def best_positions(scores: ArrayLike, k: int) -> NDArray[np.int64]:
    """Positions of the k greatest scores, best first; of equal scores the lower position comes first.

    >>> best_positions([0.2, 0.9, 0.9], 2)
    array([1, 2])
    """
    values = np.asarray(scores)
    count = min(max(k, 0), values.size)
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    threshold = np.partition(values, values.size - count)[values.size - count]
    candidates = np.flatnonzero(values >= threshold)
    return candidates[np.lexsort((candidates, -values[candidates]))][:count].astype(np.int64)


def _unit(vector: Floats) -> Floats | None:
    length = float(np.linalg.norm(vector))
    return vector / length if 1e-12 < length < np.inf else None


def _jaccard(words: frozenset[str], other: Collection[str]) -> float:
    theirs = frozenset(other)
    union = len(words | theirs)
    return len(words & theirs) / union if union else 0.0
