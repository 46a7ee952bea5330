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

from fairtag.base.money import Currency
from fairtag.base.text import tokens
from fairtag.search.dense_index import DenseIndex, DensePart
from fairtag.search.facets import FacetCount, FacetTable
from fairtag.search.query import NOTHING_LIKE_IT, TOLD, QueryReader, SearchOptions, SearchQuery
from fairtag.search.relevance_floor import RelevanceFloor
from fairtag.search.reranker import GRAPH, Reranker
from fairtag.search.similarity import best_positions
from fairtag.search.spelling import Speller
from fairtag.search.text_table import Rows, TextTable
from fairtag.search.word_index import WordIndex, fuse

DEPTH = 100  # rows that each search gives to the fusion: a page of 24 never needs more
RERANKED = 50  # of the fused rows: two pages, in about a millisecond
SCANNED, SCANNED_SHARE = 2_000, 0.02  # rows inside a filter, and their share of all, that are scored one by one
_DEEPER = 4  # how many times deeper to search where too few rows are in stock
WORDS, TEXTS, SPELLING = "words", "texts", "spelling"
NOTHING_WITHIN = "no item meets all filters; widen the price range or take a filter away"
NOTHING_LIKE_WITHIN = "nothing like it meets all filters; widen the price range or take a filter away"
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        rows: (n,) catalogue rows, best first.
        notice: What the customer should know, such as why there is nothing; None where there is nothing to say.
        facets: Counts of the facets that were asked for.
    """

    rows: Rows
    notice: str | None = None
    facets: tuple[FacetCount, ...] = ()


@dataclass(frozen=True)
class Retriever:
    """Hybrid search over one catalogue; safe to share between threads.

    Args:
        dense: Searches by embedding.
        words: Searches by BM25; None searches by embedding only.
        reranker: Reorders the best of the fused rows; None keeps the fused order.
        embeddings: (n, d) unit rows; the re-ranker needs them.
        texts: The titles of all rows; the re-ranker needs them.
        facets: Category and brand of all rows; filters and facets need them.
    """

    dense: DenseIndex
    words: WordIndex | None = None
    reranker: Reranker | None = None
    embeddings: NDArray[np.float32] | None = None
    texts: TextTable | None = None
    facets: FacetTable | None = None

    def retrieve(
        self,
        z: NDArray[np.floating] | None,
        query: str,
        k: int,
        stock: NDArray[np.float64] | None = None,
        within: Mask | None = None,
    ) -> Rows:
        """The k best rows for an intent vector and the words of a query, best first.

        Args:
            z: Unit intent vector (d,); None searches by words only.
            query: The customer's words; may be empty.
            k: Rows wanted; fewer are returned where fewer match.
            stock: Units in stock of every row (n,), NaN where unknown; rows with none are left out. None keeps all.
            within: (n,) rows that may be found; None for all.
        """
        depth, few = max(k, DEPTH), None
        if within is not None and self.embeddings is not None:
            within = within if stock is None else within & ~(stock <= 0)
            if np.count_nonzero(within) <= max(SCANNED, SCANNED_SHARE * len(within)):
                few = np.flatnonzero(within)  # a search would have to go too deep to meet so few
        while True:
            found = self._search(z, query, depth) if few is None else self._scan(z, query, few, within, depth)
            rows = found if stock is None else found[~(stock[found] <= 0)]  # only of the rows found
            rows = rows if within is None else rows[within[rows]]
            size = max(0 if part is None else len(part) for part in (stock, within))
            if len(rows) >= k or depth >= size or few is not None:
                return self._rerank(z, query, rows, k)[:k]
            depth *= _DEEPER

    def search(
        self,
        asked: SearchQuery,
        embedding: NDArray[np.float32] | None,
        z: NDArray[np.floating] | None,
        k: int,
        stock: NDArray[np.float64] | None = None,
        list_minor: NDArray[np.int64] | None = None,
        minor_per_unit: int = 100,
    ) -> SearchResult:
        """The page of a query: its best rows inside its filters, none where nothing is like it, and its facets.

        Args:
            asked: What is searched for.
            embedding: (d,) of its text.
            z: Unit intent vector (d,): the text and the customer's history.
            k: Rows wanted.
            stock: (n,) units, NaN where unknown.
            list_minor: (n,) list prices, minor units; needed where there are filters or facets.
            minor_per_unit: Minor units in a currency unit.
        """
        nothing = np.zeros(0, dtype=np.int64)
        if asked.empty:
            return SearchResult(nothing, asked.notice or NOTHING_LIKE_IT)
        if not asked.filters and not asked.facets:
            rows = self.retrieve(z, asked.text, k, stock)
            if self._is_below_floor(asked, embedding, rows):
                return SearchResult(nothing, asked.notice or NOTHING_LIKE_IT)
            return SearchResult(rows, asked.notice)
        assert self.facets is not None, "a filter needs category and brand of all rows"
        assert list_minor is not None, "a filter needs the list prices"
        within = self.facets.within(asked.filters, list_minor) if asked.filters else None
        found = self.retrieve(z, asked.text, max(k, RERANKED) if asked.filters else k, stock, within)
        if self._is_below_floor(asked, embedding, found):
            return SearchResult(nothing, asked.notice or NOTHING_LIKE_IT)
        rows, notice = found, asked.notice
        if asked.filters:
            rows = self._like(asked, embedding, found)[:k]
            if not len(rows):
                none = NOTHING_LIKE_WITHIN if len(found) else NOTHING_WITHIN
                notice = self.facets.unknown(asked.filters) or none
        counts: tuple[FacetCount, ...] = ()
        if asked.facets:
            matches = self._matches(asked.text, z, stock, rows)
            counts = self.facets.count(matches, asked.facets, asked.filters, list_minor, minor_per_unit)
        return SearchResult(rows, notice, counts)

    def _is_below_floor(self, asked: SearchQuery, embedding: NDArray[np.float32] | None, found: Rows) -> bool:
        """Whether even the nearest item is further than the floor allows; a found row that is near tells at once.

        Args:
            asked: What is searched for.
            embedding: (d,) of its text.
            found: Rows that a search found.
        """
        if asked.floor <= -1.0 or embedding is None or self.embeddings is None:
            return False
        vector = np.asarray(embedding, dtype=np.float32)
        if (self.embeddings[found] @ vector >= asked.floor).any():
            return False
        nearest = self.dense.search(vector, 1)
        return not len(nearest) or float(self.embeddings[nearest[0]] @ vector) < asked.floor

    def _like(self, asked: SearchQuery, embedding: NDArray[np.float32] | None, rows: Rows) -> Rows:
        """Of the rows that filters left, those that are like the query: by meaning, or by what its words tell.

        Without filters the poor matches stand behind the good ones; filters may leave nothing else. How near is near
        depends on the query, so that an item is compared with the nearest of the whole catalogue.
        """
        if not asked.near_best or embedding is None or self.embeddings is None or not len(rows):
            return rows
        vector = np.asarray(embedding, dtype=np.float32)
        nearest = self.dense.search(vector, 1)
        best = float(self.embeddings[nearest[0]] @ vector) if len(nearest) else 0.0
        if best <= 0.0:
            return rows
        like = self.embeddings[rows] @ vector >= asked.near_best * best
        if self.words is not None:
            like |= self.words.told(tokens(asked.text), rows) >= TOLD
        return rows[like]

    def _matches(
        self, query: str, z: NDArray[np.floating] | None, stock: NDArray[np.float64] | None, page: Rows
    ) -> Rows:
        """The rows that facets count: texts with every word of the query, or the candidates where no text has all."""
        rows = self.words.rows_with(tokens(query)) if self.words is not None else page[:0]
        rows = rows if len(rows) else self._search(z, query, DEPTH)
        rows = rows if stock is None else rows[~(stock[rows] <= 0)]
        return np.union1d(rows, page)

    def _scan(self, z: NDArray[np.floating] | None, query: str, rows: Rows, within: Mask | None, depth: int) -> Rows:
        """The best of a few rows, each scored, by meaning and by words."""
        assert self.embeddings is not None, "rows are scored by their embeddings"
        by_meaning = rows
        if z is not None:
            cosine = self.embeddings[rows] @ np.asarray(z, dtype=np.float32)
            by_meaning = rows[best_positions(cosine, depth)]
        by_words = self.words.search(query, depth, within) if self.words is not None and query else rows[:0]
        return fuse([by_meaning, by_words], 2 * depth) if len(by_words) else by_meaning

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
        speller: Corrects the words of queries.
        floor: The relevance floor.
    """

    dense: DensePart
    words: WordIndex
    texts: TextTable
    reranker: Reranker | None
    speller: Speller
    floor: RelevanceFloor

    def reader(self, shop: Currency, options: SearchOptions | None = None) -> QueryReader:
        """Reads queries for this search.

        Args:
            shop: The shop's currency.
            options: What is done to a query; the defaults when None.
        """
        return QueryReader(self.words, self.speller, self.floor, shop, options)

    def save(self, folder: Path) -> None:
        """Write all parts into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.dense.save(folder)
        self.words.save(folder / WORDS)
        self.texts.save(folder / TEXTS)
        self.speller.save(folder / SPELLING)
        self.floor.save(folder)
        if self.reranker is not None:
            self.reranker.save(folder)

    @classmethod
    def load(cls, folder: Path) -> SearchPart:
        """Read what :meth:`save` wrote; words and titles are memory-mapped.

        Raises:
            ModelFolderMissing: A file is absent.
        """
        reranker = Reranker.load(folder) if (folder / GRAPH).is_file() else None
        return cls(
            DensePart.load(folder),
            WordIndex.load(folder / WORDS),
            TextTable.load(folder / TEXTS),
            reranker,
            Speller.load(folder / SPELLING),
            RelevanceFloor.load(folder),
        )
