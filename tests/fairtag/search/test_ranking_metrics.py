"""nDCG and reciprocal rank against their naive forms."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from fairtag.search.ranking_metrics import informative, ndcg_by_query, reciprocal_rank_by_query


def test_ndcg_equals_scikit_learns_query_by_query():
    rng = np.random.default_rng(0)
    query = np.repeat(np.arange(30), rng.integers(3, 20, 30))
    relevance, score = rng.integers(0, 4, len(query)) / 3.0, rng.normal(size=len(query))
    kept = [q for q in range(30) if np.ptp(relevance[query == q]) > 0]
    expected = [ndcg_score([relevance[query == q]], [score[query == q]], k=10) for q in kept]
    np.testing.assert_allclose(ndcg_by_query(query, relevance, score), expected, rtol=1e-9)


def test_the_order_of_rows_does_not_matter_and_a_perfect_order_scores_one():
    query, relevance = np.array(["b", "a", "b", "a"]), np.array([0.0, 1.0, 1.0, 0.5])
    np.testing.assert_allclose(ndcg_by_query(query, relevance, relevance), [1.0, 1.0])
    worst = ndcg_by_query(query, relevance, -relevance)
    np.testing.assert_allclose(worst, [(0.5 + 1 / np.log2(3)) / (1 + 0.5 / np.log2(3)), 1 / np.log2(3)])


def test_a_constant_score_is_worth_chance_not_the_order_of_the_file():
    query = np.repeat(np.arange(4000), 2)
    relevance = np.tile([1.0, 0.0], 4000)  # the relevant one first in the file
    chance = (1 + 1 / np.log2(3)) / 2
    assert ndcg_by_query(query, relevance, np.zeros(8000)).mean() == pytest.approx(chance, abs=0.01)


def test_reciprocal_rank_is_of_the_first_relevant_item_and_skips_queries_without_a_choice():
    query = np.array([1, 1, 1, 2, 2, 3, 3])
    relevant = np.array([False, True, True, True, True, False, False])
    score = np.array([3.0, 2.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    np.testing.assert_allclose(reciprocal_rank_by_query(query, relevant, score), [0.5])
    assert informative(query, relevant).tolist() == [True, False, False]


def test_nothing_judged_scores_nothing():
    assert ndcg_by_query([], [], []).shape == (0,)
    assert reciprocal_rank_by_query([], [], []).shape == (0,)
