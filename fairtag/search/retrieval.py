"""Candidates for a page: by meaning and by words, fused, the best of them re-ranked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtag.search.dense_index import DenseIndex
from fairtag.search.reranker import Reranker
from fairtag.search.text_table import Rows, TextTable
from fairtag.search.word_index import WordIndex, fuse

DEPTH = 100  # rows each search gives to the fusion: a page of 24 never reaches further down
RERANKED = 50  # of the fused rows: two pages, in about a millisecond
_DEEPER = 4  # times as deep where too few of the rows found may be shown


@dataclass(frozen=True)
class Retriever:
    """Hybrid search over one catalogue; safe to share between threads.

    Args:
        dense: Finds by embedding.
        words: Finds by BM25; None searches by embedding alone.
        reranker: Orders the best of the fused rows anew; None leaves them as they are.
        embeddings: (n, d) unit rows; the re-ranker needs them.
        texts: The titles of all rows; the re-ranker needs them.
    """

    dense: DenseIndex
    words: WordIndex | None = None
    reranker: Reranker | None = None
    embeddings: NDArray[np.float32] | None = None
    texts: TextTable | None = None

    def retrieve(
        self, z: NDArray[np.floating] | None, query: str, k: int, stock: NDArray[np.float64] | None = None
    ) -> Rows:
        """The k best rows for an intent vector and the words of a query, best first.

        Args:
            z: (d,) unit intent; None searches by words alone.
            query: The customer's words, possibly none.
            k: Rows wanted; fewer come back where fewer match.
            stock: (n,) units of every row, NaN where unknown; a row of none does not come back. None allows all.
        """
        depth = max(k, DEPTH)
        while True:
            found = self._found(z, query, depth)
            rows = found if stock is None else found[~(stock[found] <= 0)]  # asked of few, not of the whole shop
            if len(rows) >= k or stock is None or depth >= len(stock):
                return self._reranked(z, query, rows, k)[:k]
            depth *= _DEEPER

    def _found(self, z: NDArray[np.floating] | None, query: str, depth: int) -> Rows:
        nothing = np.zeros(0, dtype=np.int64)
        by_meaning = self.dense.search(np.asarray(z, dtype=np.float32), depth) if z is not None else nothing
        by_words = self.words.search(query, depth) if self.words is not None and query else nothing
        if not len(by_words):
            return by_meaning
        return fuse([by_meaning, by_words], 2 * depth)

    def _reranked(self, z: NDArray[np.floating] | None, query: str, rows: Rows, k: int) -> Rows:
        if self.reranker is None or self.embeddings is None or self.texts is None or z is None or not query:
            return rows
        head = rows[: max(k, RERANKED)]
        # In catalogue order: a memory map is read front to back.
        order = np.sort(head)
        cosine = np.asarray(self.embeddings[order] @ np.asarray(z, dtype=np.float32), dtype=np.float64)
        relevance = self.reranker.relevance(query, self.texts, order, cosine)
        place = np.searchsorted(order, head)
        best = np.argsort(-relevance[place], kind="stable")  # equal relevance keeps the fusion's order
        return np.concatenate([head[best], rows[len(head) :]])
