"""The similarity of every impression of a log to the intent of its page.

The same numbers as :mod:`fairtag.search.similarity` gives page by page (docs/pricing-model.md, section 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from fairtag.base import schema
from fairtag.search.similarity import ALPHA, HALF_LIFE_DAYS, recency_weights

Floats = NDArray[np.float64]

_CHUNK_ROWS = 65_536  # impressions scored at a time: two (chunk, d) blocks stay under 0.5 GB at d = 1024


def impression_similarity(
    impressions: pd.DataFrame,
    query_vectors: Mapping[str, NDArray[np.float32]],
    embeddings: NDArray[np.float32],
    row_of: Mapping[str, int],
    *,
    alpha: float = ALPHA,
    half_life_days: float = HALF_LIFE_DAYS,
    with_history: bool = True,
) -> Floats:
    """``s = (1 + cos(z, E(v))) / 2`` of each impression, where z joins the page's query and the customer's history.

    Args:
        impressions: Rows with page_id, item_id, query, and history_items and history_age_days unless ``with_history``
            is false. All rows of a page carry the same query and history.
        query_vectors: Unit vector (d,) of each query that occurs.
        embeddings: (N, d) unit rows of the catalogue.
        row_of: Catalogue row of each item_id; history items that left the catalogue are ignored.
        alpha: Share of the query in the intent.
        half_life_days: Days after which an item of the history counts half.
        with_history: False gives the similarity to the query alone, as for a customer who opted out.

    Returns:
        (n,) in [0, 1]; 0.5 where a page has neither query nor history.
    """
    codes, first = _pages(impressions)
    pages = impressions.iloc[first]
    vectors = _query_matrix(pages[schema.QUERY].tolist(), query_vectors, embeddings.shape[1])
    if with_history:
        history = _history_matrix(pages, row_of, half_life_days, len(embeddings)) @ embeddings
        vectors = _mix(vectors, _unit_rows(np.asarray(history, dtype=np.float64)), alpha)
    rows = impressions[schema.ITEM_ID].map(row_of).to_numpy(dtype=np.int64)
    cosine = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        cosine[part] = np.einsum("nd,nd->n", vectors[codes[part]], embeddings[rows[part]])
    return np.asarray((1.0 + np.clip(cosine, -1.0, 1.0)) / 2.0, dtype=np.float64)


def _pages(impressions: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Page number of each row, and the first row of each page."""
    codes = pd.factorize(impressions[schema.PAGE_ID])[0].astype(np.int64)
    first = np.unique(codes, return_index=True)[1].astype(np.int64)
    return codes, first


def _query_matrix(
    queries: Sequence[str | None], query_vectors: Mapping[str, NDArray[np.float32]], dimension: int
) -> Floats:
    """(P, d) vectors; zero for a page without a query."""
    blank = np.zeros(dimension, dtype=np.float32)
    return np.stack([blank if not query else query_vectors[query] for query in queries]).astype(np.float64)


def _history_matrix(
    pages: pd.DataFrame, row_of: Mapping[str, int], half_life_days: float, n_items: int
) -> sparse.csr_matrix:
    """(P, N) recency weights of the items in each page's history."""
    rows: list[int] = []
    columns: list[int] = []
    weights: list[float] = []
    for page, (items, ages) in enumerate(zip(pages[schema.HISTORY_ITEMS], pages[schema.HISTORY_AGE_DAYS], strict=True)):
        known = [(row_of[item], age) for item, age in zip(items, ages, strict=True) if item in row_of]
        if not known:
            continue
        rows += [page] * len(known)
        columns += [row for row, _ in known]
        weights += recency_weights([age for _, age in known], half_life_days).tolist()
    return sparse.csr_matrix((weights, (rows, columns)), shape=(len(pages), n_items))


def _mix(query: Floats, history: Floats, alpha: float) -> Floats:
    """``normalise(alpha q + (1 - alpha) h)``; where one is absent the other counts alone."""
    asked, liked = (vectors.any(axis=1, keepdims=True) for vectors in (query, history))
    share = np.where(liked, np.where(asked, alpha, 0.0), 1.0)
    return _unit_rows(share * query + (1.0 - share) * history)


def _unit_rows(matrix: Floats) -> Floats:
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(np.divide(matrix, length, out=np.zeros_like(matrix), where=length > 1e-12), dtype=np.float64)
