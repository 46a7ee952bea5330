"""Nests: groups of near-identical items, found by their texts.

What a nest does to demand is in :mod:`fairtag.solver.cells`; whether it does, in :mod:`fairtag.demand.dissimilarity`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NEAR_IDENTICAL = 0.95  # cosine around the catalogue's mean; in the simulated shop no two products reach 0.93
BLOCK = 1_024  # items compared with all leaders of their category at a time
ROUNDING = 1e-5  # of a cosine of float32 vectors: equal texts reach a similarity of 1
FAINTEST = 1e-300  # keeps the length of a vector of zeros above 0


def near_identical(embeddings: np.ndarray, category: Ints, similarity: float = NEAR_IDENTICAL) -> Ints:
    """Groups of items of one category whose texts are nearly the same.

    Cosines are taken around the catalogue's mean embedding: an encoder may give any two texts a cosine near 1
    (Ethayarajh 2019), and what then tells them apart is how they differ from the mean. A group is its first item, the
    leader, and the items near the leader, so that no chain of small differences joins what is far apart.

    Args:
        embeddings: (I, d) text embeddings.
        category: (I,) category of each item.
        similarity: Least cosine of an item and its leader around the mean, in (0, 1].

    Returns:
        (I,) row of each item's leader; its own where it has no twin.

    >>> texts = np.array([[1.0, 0.0], [0.0, 1.0], [0.999, 0.01], [1.0, 0.0], [0.0, -1.0]])
    >>> near_identical(texts, np.array([0, 0, 0, 1, 0])).tolist()
    [0, 1, 0, 3, 4]
    """
    away = np.asarray(embeddings, dtype=np.float64) - np.mean(embeddings, axis=0, dtype=np.float64)
    size = np.linalg.norm(away, axis=1, keepdims=True)
    unit = (away / np.maximum(size, FAINTEST)).astype(np.float32)
    leader, least = np.arange(len(unit), dtype=np.int64), similarity - ROUNDING
    for code in np.unique(category):
        rows = np.flatnonzero((category == code) & (size[:, 0] > ROUNDING * size.max()))
        leaders = rows[:0]
        for start in range(0, rows.size, BLOCK):
            block = rows[start : start + BLOCK]
            if leaders.size:
                near = unit[block] @ unit[leaders].T >= least
                joins = near.any(axis=1)
                leader[block[joins]] = leaders[near[joins].argmax(axis=1)]
                block = block[~joins]
            leaders = np.concatenate([leaders, _join_within(unit, block, leader, least)])
    return leader


def _join_within(unit: NDArray[np.float32], block: Ints, leader: Ints, least: float) -> Ints:
    """Give the twins inside a block of rows their leader; returns the rows that lead."""
    near = np.triu(unit[block] @ unit[block].T >= least, 1)
    leads = np.ones(block.size, dtype=bool)
    for first in np.flatnonzero(near.any(axis=1)):
        if leads[first]:
            twins = near[first] & leads
            leader[block[twins]] = block[first]
            leads &= ~twins
    return block[leads]
