"""The index benchmark at a small size: every kind of index is timed, and its recall is that of the exact scan."""

import numpy as np
import pytest

from benchmarks.models import nearest_items


@pytest.fixture(scope="module")
def rows():
    return {row.metric: row.value for row in nearest_items.run(3_000).rows}


def test_every_index_has_its_time_and_recall(rows):
    kinds = ["scan", "flat", "hnsw", *(f"{kind}_{width}" for kind in ("codes", "lists") for width in (5, 10, 20))]
    assert all(rows[f"{kind}_p50"] > 0 for kind in kinds)
    assert all(0 < rows[f"{kind}_recall"] <= 1 for kind in kinds)
    assert rows["rows"] == 3_000


def test_exact_indexes_find_all_and_wider_codes_more(rows):
    assert rows["scan_recall"] == 1.0
    assert rows["flat_recall"] == pytest.approx(1.0, abs=0.001)  # sums in another order may swap equal neighbours
    assert rows["codes_5_recall"] <= rows["codes_10_recall"] <= rows["codes_20_recall"]


def test_items_of_one_kind_have_the_cosine_that_the_spread_says():
    items, queries = nearest_items._rows(2_000)
    assert np.allclose(np.linalg.norm(items, axis=1), 1.0, atol=1e-5)
    assert np.allclose(np.linalg.norm(queries, axis=1), 1.0, atol=1e-5)
    nearest = np.sort(items @ items.T, axis=1)[:, -2]
    assert 0.5 < nearest[nearest > 0.4].mean() < 0.75
