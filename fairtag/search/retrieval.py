"""Candidates for a page: found by meaning and by words, fused, and the best of them re-ranked.

>>> import numpy as np
>>> from fairtag.search.dense_index import ExactIndex
>>> embeddings = np.eye(3, dtype=np.float32)
>>> retriever = Retriever(ExactIndex(embeddings), WordIndex.build(["oak chair", "desk lamp", "oak table"]))
>>> retriever.retrieve(embeddings[0], "oak", k=2).tolist()
[0, 2]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairtag.search.dense_index import DenseIndex, DensePart
from fairtag.search.reranker import GRAPH, Reranker
from fairtag.search.text_table import Rows, TextTable
from fairtag.search.word_index import WordIndex, fuse

DEPTH = 100  # rows that each search gives to the fusion: a page of 24 never needs more
RERANKED = 50  # of the fused rows: two pages, in about a millisecond
_DEEPER = 4  # how many times deeper to search where too few rows are in stock
WORDS, TEXTS = "words", "texts"


@dataclass(frozen=True)
class Retriever:
    """Hybrid search over one catalogue; safe to share between threads.

    Args:
        dense: Searches by embedding.
        words: Searches by BM25; None searches by embedding only.
        reranker: Reorders the best of the fused rows; None keeps the fused order.
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
            z: Unit intent vector (d,); None searches by words only.
            query: The customer's words; may be empty.
            k: Rows wanted; fewer are returned where fewer match.
            stock: Units in stock of every row (n,), NaN where unknown; rows with none are left out. None keeps all.
        """
        depth = max(k, DEPTH)
        while True:
            found = self._search(z, query, depth)
            rows = found if stock is None else found[~(stock[found] <= 0)]  # only of the rows found
            if len(rows) >= k or stock is None or depth >= len(stock):
                return self._rerank(z, query, rows, k)[:k]
            depth *= _DEEPER

    def _search(self, z: NDArray[np.floating] | None, query: str, depth: int) -> Rows:
        nothing = np.zeros(0, dtype=np.int64)
        by_meaning = self.dense.search(np.asarray(z, dtype=np.float32), depth) if z is not None else nothing
        by_words = self.words.search(query, depth) if self.words is not None and query else nothing
        if not len(by_words):
            return by_meaning
        return fuse([by_meaning, by_words], 2 * depth)

    def _rerank(self, z: NDArray[np.floating] | None, query: str, rows: Rows, k: int) -> Rows:
        if self.reranker is None or self.embeddings is None or self.texts is None or z is None or not query:
            return rows
        head = rows[: max(k, RERANKED)]
        order = np.sort(head)  # in catalogue order, so that the memory map is read front to back
        cosine = np.asarray(self.embeddings[order] @ np.asarray(z, dtype=np.float32), dtype=np.float64)
        relevance = self.reranker.relevance(query, self.texts, order, cosine)
        place = np.searchsorted(order, head)
        best = np.argsort(-relevance[place], kind="stable")  # equal relevance keeps the fused order
        return np.concatenate([head[best], rows[len(head) :]])


@dataclass(frozen=True)
class SearchPart:
    """The part of a model folder that search needs beside the embeddings.

    Args:
        dense: The index over the embeddings.
        words: BM25 over the texts of the items.
        texts: The titles of the items, hashed.
        reranker: Fitted on judgements that the encoder was not trained on; None where these are too few, or where it
            ranked held-out queries no better than the cosine.
    """

    dense: DensePart
    words: WordIndex
    texts: TextTable
    reranker: Reranker | None

    def save(self, folder: Path) -> None:
        """Write all parts into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.dense.save(folder)
        self.words.save(folder / WORDS)
        self.texts.save(folder / TEXTS)
        if self.reranker is not None:
            self.reranker.save(folder)

    @classmethod
    def load(cls, folder: Path) -> SearchPart:
        """Read what :meth:`save` wrote; words and titles are memory-mapped.

        Raises:
            ModelFolderMissing: A file is absent.
        """
        reranker = Reranker.load(folder) if (folder / GRAPH).is_file() else None
        return cls(DensePart.load(folder), WordIndex.load(folder / WORDS), TextTable.load(folder / TEXTS), reranker)
