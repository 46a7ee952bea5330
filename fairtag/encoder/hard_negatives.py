"""Hard negatives by words: what BM25 would have shown for a query, and nobody judged relevant.

Karpukhin et al. 2020 (Dense Passage Retrieval) found one BM25 negative a question worth more than many random ones.
An item that nobody judged may still be relevant, which is why they are off unless asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

import numpy as np
from numpy.typing import NDArray

from fairtag.search.word_index import WordIndex

Ints = NDArray[np.int64]


def mined_negatives(
    queries: Mapping[int, str], pool: Mapping[int, str], relevant: Mapping[int, Set[int]], most: int
) -> tuple[Ints, Ints]:
    """For each query its best items by BM25 that are not relevant to it.

    Args:
        queries: Query texts by row.
        pool: Item texts by row.
        relevant: Rows of items by row of the query that they must not be a negative of.
        most: Items a query; fewer where fewer share a word with it.

    Returns:
        (n,) rows of queries and (n,) rows of items, query by query, best first.
    """
    rows = list(pool)
    index = WordIndex.build(list(pool.values()))
    found: list[tuple[int, int]] = []
    for query, text in queries.items():
        known = relevant.get(query, frozenset())
        ranked = [rows[place] for place in index.search(text, most + len(known)).tolist()]
        found.extend((query, item) for item in [item for item in ranked if item not in known][:most])
    both = np.array(found, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]
