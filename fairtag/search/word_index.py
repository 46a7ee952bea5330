"""Search by words: BM25 over item texts, and rank fusion with other orders.

>>> index = WordIndex.build(["oak chair", "desk lamp", "oak table"])
>>> index.search("oak chair", k=2).tolist()
[0, 2]
>>> fuse([np.array([0, 2]), np.array([2, 1])], k=2).tolist()
[2, 0]
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import ModelFolderMissing
from fairtag.base.files import directory_atomic, read_json, write_json
from fairtag.base.text import tokens
from fairtag.search.similarity import best_positions

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

FUSION_K = 60.0  # Cormack, Clarke and Büttcher, SIGIR 2009; the greater, the less the first ranks stand out
_COUNT = "documents.json"
_SAMPLE = 4096  # rows whose scores give a bound of the k-th best


class WordIndex:
    """BM25 (Lucene's variant) over the words of n texts.

    Args:
        index: A bm25s index.
        size: Number of texts.
    """

    def __init__(self, index: bm25s.BM25, size: int) -> None:
        self._index, self.size = index, size

    @classmethod
    def build(cls, texts: Sequence[str]) -> WordIndex:
        """Index texts by their words, in any script."""
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # the library sets itself to DEBUG at import
        index = bm25s.BM25(method="lucene")
        words = [tokens(text) for text in texts]
        if not any(words):
            words = [["\x00"]] * max(len(words), 1)  # no word matches any query
        # Words are numbered here: the library numbers them from a set, in another order in every process.
        number = {word: place for place, word in enumerate(sorted(set(chain.from_iterable(words))))}
        index.index(([[number[word] for word in text] for text in words], number), show_progress=False)
        return cls(index, len(texts))

    def scores(self, query: str) -> Floats:
        """BM25 score of each text (n,); 0 where no word of the query occurs."""
        words = tokens(query)
        if not words or not self.size:
            return np.zeros(self.size)
        return np.asarray(self._index.get_scores(words), dtype=np.float64)[: self.size]

    def search(self, query: str, k: int, within: NDArray[np.bool_] | None = None) -> Rows:
        """The k texts with the greatest score, best first; only texts that share a word with the query.

        With a mask (n,), only of the texts that it marks. Only the posting lists of the query's words are read. Scoring
        every text took most of a page's time with a million items.
        """
        lists = self._lists(query)
        if not lists or k <= 0:
            return np.zeros(0, dtype=np.int64)
        scores = np.zeros(self.size, dtype=lists[0][1].dtype)  # in the library's precision, summed in its order
        for rows, shares in lists:
            np.add.at(scores, rows, shares)
        longer = (rows for rows, _ in lists if len(rows) >= k and within is None)
        least = self._kth(scores, min(longer, key=len, default=None), k)
        # In catalogue order and each row once, so that of equal scores the lower row comes first.
        found = np.sort(np.concatenate([rows[scores.take(rows) >= least] for rows, _ in lists])).astype(np.int64)
        hits = found[np.diff(found, prepend=-1) > 0]
        hits = hits if within is None else hits[within[hits]]
        return hits[best_positions(scores[hits], k)]

    def __contains__(self, word: str) -> bool:
        """Whether a text has the word."""
        return word in self._index.vocab_dict

    def counts(self) -> dict[str, int]:
        """The number of texts that have each word."""
        sizes = np.diff(self._index.scores["indptr"])
        return {word: int(sizes[place]) for word, place in self._index.vocab_dict.items() if place < len(sizes)}

    def count(self, word: str) -> int:
        """The number of texts that have a word."""
        start, end = self._ends(word)
        return end - start

    def rows_with(self, words: Sequence[str]) -> Rows:
        """Rows, ascending, of the texts that have all of the words; none for no words."""
        lists = sorted((self._rows(word) for word in set(words)), key=len)
        if not lists or not len(lists[0]):
            return np.zeros(0, dtype=np.int64)
        both, *others = lists
        for rows in others:
            near = np.minimum(np.searchsorted(rows, both), len(rows) - 1)
            both = both[rows[near] == both]
        return both.astype(np.int64)

    def rarity(self, word: str) -> float:
        """How much a word tells: its inverse document frequency, smoothed to stay above 0."""
        count = self.count(word)
        return math.log1p((self.size - count + 0.5) / (count + 0.5))

    def told(self, words: Sequence[str], rows: Rows) -> Floats:
        """Share of what some words tell that each of some texts has (m,), from 0 to 1.

        >>> index = WordIndex.build(["oak chair", "desk lamp", "oak table"])
        >>> index.told(["oak", "chair"], np.array([0, 1, 2])).round(2)
        array([1.  , 0.  , 0.32])
        """
        told, all_of_it = np.zeros(len(rows)), 0.0
        for word in set(words):
            rarity, held = self.rarity(word), self._rows(word)
            all_of_it += rarity
            if len(held):
                near = np.minimum(np.searchsorted(held, rows), len(held) - 1)
                told += rarity * (held[near] == rows)
        return told / all_of_it if all_of_it else told

    def shared(self, words: Sequence[str]) -> int:
        """How many texts have all of the words."""
        return len(self.rows_with(words))

    def _rows(self, word: str) -> NDArray[np.int32]:
        """Rows, ascending, of the texts that have a word."""
        start, end = self._ends(word)
        rows: NDArray[np.int32] = self._index.scores["indices"][start:end]
        return rows

    def _ends(self, word: str) -> tuple[int, int]:
        """Where the posting list of a word begins and ends; an empty one for a word that no text has."""
        starts = self._index.scores["indptr"]
        place = self._index.vocab_dict.get(word, len(starts))
        return (int(starts[place]), int(starts[place + 1])) if place + 1 < len(starts) else (0, 0)

    def _lists(self, query: str) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Posting list of each word of the query: the rows of its texts, ascending, and their scores for the word."""
        data, rows, starts = (self._index.scores[name] for name in ("data", "indices", "indptr"))
        places = self._index.get_tokens_ids(tokens(query))
        return [(rows[a:b], data[a:b]) for a, b in ((starts[place], starts[place + 1]) for place in places) if a < b]

    @staticmethod
    def _kth(scores: NDArray[np.float32], rows: NDArray[np.int32] | None, k: int) -> float:
        """A score that the k best reach: the k-th best of a few thousand rows is at most the k-th best of all."""
        if rows is None:
            return -np.inf
        few = scores.take(rows[:: max(1, len(rows) // max(_SAMPLE, k))])
        return float(np.partition(few, len(few) - k)[len(few) - k])

    def save(self, path: Path) -> Path:
        """Write the index as arrays and JSON, atomically."""
        with directory_atomic(path) as folder:
            self._index.save(str(folder), show_progress=False)
            write_json(folder / _COUNT, {"documents": self.size})
        return path

    @classmethod
    def load(cls, path: Path) -> WordIndex:
        """Memory-map an index that :meth:`save` wrote.

        Raises:
            ModelFolderMissing: There is none.
        """
        if not (path / _COUNT).is_file():
            raise ModelFolderMissing(f"{path}: no word index; build the model folder again")
        index = bm25s.BM25.load(str(path), mmap=True, show_progress=False)
        # Plain views of the maps: NumPy's memmap class costs a call into Python for every slice.
        index.scores = {k: np.asarray(v) if isinstance(v, np.ndarray) else v for k, v in index.scores.items()}
        return cls(index, int(read_json(path / _COUNT)["documents"]))


def fuse(orders: Sequence[Rows], k: int, weights: Sequence[float] | None = None) -> Rows:
    """Reciprocal-rank fusion: each order adds ``weight / (60 + rank)`` to its rows; returns the k best, best first.

    Cosine and BM25 need no common scale. An order adds nothing to rows it does not contain; of equal sums, the row that
    the first order ranks higher comes first.
    """
    shares = weights or [1.0] * len(orders)
    sums: dict[int, float] = {}
    for rows, weight in zip(orders, shares, strict=True):
        for rank, row in enumerate(rows.tolist(), start=1):
            sums[row] = sums.get(row, 0.0) + weight / (FUSION_K + rank)
    ordered = sorted(sums.items(), key=lambda pair: -pair[1])  # stable: ties keep the first order
    return np.array([row for row, _ in ordered[: max(k, 0)]], dtype=np.int64)


def fused_scores(cosine: Floats, bm25: Floats) -> Floats:
    """The sum that :func:`fuse` gives each row (n,) from its cosine and its BM25; BM25 of 0 adds nothing."""
    meaning, words = (best_positions(values, len(values)) for values in (cosine, bm25))
    out = np.zeros(len(cosine))
    for rows in (meaning, words[bm25[words] > 0]):
        out[rows] += 1.0 / (FUSION_K + np.arange(1, len(rows) + 1))
    return out
