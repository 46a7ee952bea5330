"""Similarity, the customer's vector, intent and exact search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairtag.base.errors import ConfigError
from fairtag.search import similarity as sim

RNG = np.random.default_rng(7)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_cosine_similarity_is_one_for_the_same_half_across_and_zero_opposite():
    s = sim.similarity([1.0, 0.0], [[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [0.0, 0.0]], "cosine")
    np.testing.assert_allclose(s, [1.0, 0.5, 0.0, 0.5], atol=1e-15)


def test_euclidean_similarity_is_the_formula():
    np.testing.assert_allclose(sim.similarity([0.0, 0.0], [[3.0, 4.0], [0.0, 0.0]], "euclidean"), [1 / 6, 1.0])


def test_jaccard_counts_shared_words():
    s = sim.similarity(["red", "drill"], [["drill"], ["red", "drill"], [], ["paint"]], "jaccard")
    np.testing.assert_allclose(s, [0.5, 1.0, 0.0, 0.0])
    assert sim.similarity([], [[]], "jaccard")[0] == 0.0


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_distance_is_one_minus_similarity_and_ranking_by_it_finds_the_same_item_first(kind):
    items = unit(RNG.normal(size=(50, 8)))
    delta = sim.distance(items[17], items, kind)
    np.testing.assert_allclose(delta, 1 - sim.similarity(items[17], items, kind))
    assert np.argmin(delta) == 17
    assert np.argmin(1 - delta) != 17  # minimising the similarity, as the source documents wrote it, ranks backwards


def test_an_unknown_similarity_is_refused():
    with pytest.raises(ConfigError, match="manhattan"):
        sim.similarity([1.0], [[1.0]], "manhattan")


def test_the_customer_vector_weighs_by_age():
    rows = np.eye(2)
    h = sim.user_vector(rows, [0.0, 30.0], half_life_days=30.0)
    np.testing.assert_allclose(h, np.array([1.0, 0.5]) / np.hypot(1.0, 0.5))


def test_ages_far_in_the_past_do_not_underflow_and_unknown_ones_count_as_oldest():
    rows = np.eye(2)
    np.testing.assert_allclose(sim.user_vector(rows, [1e6, 1e6]), unit(np.ones(2)))
    np.testing.assert_allclose(
        sim.user_vector(rows, [0.0, np.nan]), unit(np.ones(2))
    )  # nothing older is known than today
    np.testing.assert_allclose(sim.user_vector(rows, [np.nan, np.nan]), unit(np.ones(2)))


def test_no_history_has_no_vector():
    assert sim.user_vector(np.zeros((0, 4)), []) is None
    assert sim.user_vector([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0]) is None


def test_intent_gives_the_weight_of_the_absent_part_to_the_other():
    query, history = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    np.testing.assert_allclose(sim.intent(query, None), query)
    np.testing.assert_allclose(sim.intent(None, history), history)
    np.testing.assert_allclose(sim.intent(query, history, alpha=0.5), unit(np.ones(2)))
    np.testing.assert_allclose(sim.intent(query, history, alpha=1.0), query)
    assert sim.intent(None, None) is None
    with pytest.raises(ConfigError, match=r"1\.5"):
        sim.intent(query, history, alpha=1.5)


def test_top_k_equals_a_full_sort_also_across_blocks(monkeypatch, tmp_path):
    monkeypatch.setattr(sim, "_BLOCK_ROWS", 100)
    table = np.lib.format.open_memmap(tmp_path / "e.npy", mode="w+", dtype=np.float32, shape=(1050, 16))
    table[:] = unit(RNG.normal(size=(1050, 16))).astype(np.float32)
    rows, scores = sim.top_k(table[3], table, 10)
    expected = np.argsort(-(np.asarray(table) @ table[3]), kind="stable")[:10]
    np.testing.assert_array_equal(rows, expected)
    assert rows[0] == 3
    assert np.all(np.diff(scores) <= 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=30), st.integers(-2, 40))
def test_best_is_a_stable_sort_whatever_the_ties(values, k):
    expected = np.argsort(-np.array(values, dtype=float), kind="stable")[: max(k, 0)]
    np.testing.assert_array_equal(sim.best_positions(np.array(values, dtype=float), k), expected)
