"""Candidates for a page: by meaning, by words, and both fused. Knows no price and no stock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pricing.search.dense_index import DenseIndex
from pricing.search.word_index import Rows, WordIndex, fuse

DEPTH = 100  # rows each search gives to the fusion: a page of 24 never reaches further down


@dataclass(frozen=True)
class Retriever:
    """Hybrid search over one catalogue.

    Args:
        dense: Finds by embedding.
        words: Finds by BM25; None searches by embedding alone.
        word_weight: Weight of the words' order against 1 for the embedding's.
    """

    dense: DenseIndex
    words: WordIndex | None = None
    word_weight: float = 1.0

    def retrieve(self, z: NDArray[np.float32] | None, query: str, k: int) -> Rows:
        """The k best rows for an intent vector and the words of a query, best first.

        Args:
            z: (d,) unit intent; None searches by words alone.
            query: The customer's words, possibly none.
            k: Rows wanted; fewer come back where fewer match.
        """
        depth = max(k, DEPTH)
        by_meaning = self.dense.search(z, depth) if z is not None else np.zeros(0, dtype=np.int64)
        if self.words is None or not query:
            return by_meaning[:k]
        return fuse([by_meaning, self.words.search(query, depth)], k, [1.0, self.word_weight])
