"""The similarity of a whole log is, row by row, the similarity the endpoint computes for one page."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.demand.intents import impression_similarity
from fairtag.search.similarity import intent, similarity, user_vector


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    matrix = rng.normal(size=shape)
    return (matrix / np.linalg.norm(matrix, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def log() -> tuple[pd.DataFrame, dict[str, np.ndarray], np.ndarray, dict[str, int]]:
    rng = np.random.default_rng(1)
    embeddings = unit(rng, 6, 8)
    row_of = {f"i{row}": row for row in range(6)}
    pages = [
        ("p0", "lamp", ["i1", "i4"], [3.0, 40.0]),
        ("p1", None, ["i2"], [400.0]),
        ("p2", "chair", [], []),
        ("p3", None, [], []),
        ("p4", "lamp", ["gone", "i5"], [1.0, 9.0]),
        ("p5", "lamp", ["i1", "i2", "i4"], [np.nan, 20.0, -1.0]),
        ("p6", None, ["i1", "i2"], [np.nan, np.inf]),
    ]
    rows = [(page, item, query, history, ages) for page, query, history, ages in pages for item in ("i0", "i3", "i5")]
    names = [schema.PAGE_ID, schema.ITEM_ID, schema.QUERY, schema.HISTORY_ITEMS, schema.HISTORY_AGE_DAYS]
    queries = {"lamp": unit(rng, 8), "chair": unit(rng, 8)}
    return pd.DataFrame(rows, columns=names), queries, embeddings, row_of


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("with_history", [True, False])
def test_each_row_equals_the_one_page_computation(log, with_history: bool, alpha: float) -> None:
    frame, queries, embeddings, row_of = log
    found = impression_similarity(frame, queries, embeddings, row_of, with_history=with_history, alpha=alpha)
    for (_, row), s in zip(frame.iterrows(), found, strict=True):
        known = [
            (row_of[i], age) for i, age in zip(row.history_items, row.history_age_days, strict=True) if i in row_of
        ]
        history = user_vector(embeddings[[k for k, _ in known]], [a for _, a in known]) if with_history else None
        z = intent(queries.get(row.query), history, alpha)
        expected = 0.5 if z is None else similarity(z, embeddings[[row_of[row.item_id]]], "cosine")[0]
        assert s == pytest.approx(expected, abs=1e-6)


def test_row_order_does_not_matter(log) -> None:
    frame, queries, embeddings, row_of = log
    shuffled = frame.sample(frac=1.0, random_state=3)
    found = pd.Series(impression_similarity(shuffled, queries, embeddings, row_of), index=shuffled.index).sort_index()
    np.testing.assert_allclose(found.to_numpy(), impression_similarity(frame, queries, embeddings, row_of), atol=1e-12)
