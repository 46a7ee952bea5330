"""The losses against their naive forms."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fairtag.encoder.losses import _ORDER_SCALE, _drop, click_loss, contrastive_loss, order_loss


def batch(negative, pair_query, pair_item, relevance):
    return SimpleNamespace(
        negative=torch.tensor(negative),
        pair_query=torch.tensor(pair_query),
        pair_item=torch.tensor(pair_item),
        relevance=torch.tensor(relevance),
    )


def test_contrastive_loss_is_the_weighted_mean_of_minus_log_softmax_over_negatives():
    rng = np.random.default_rng(0)
    scores = torch.tensor(rng.normal(size=(2, 4)), dtype=torch.float64)
    negative = [[False, False, True, True], [True, True, False, False]]
    given = batch(negative, [0, 0, 0, 1], [0, 1, 2, 2], [1.0, 0.8, 0.1, 0.6])
    naive, weights = 0.0, 0.0
    for q, v, r in ((0, 0, 1.0), (0, 1, 0.8), (1, 2, 0.6)):
        own = np.exp(scores[q, v].item())
        others = sum(np.exp(scores[q, c].item()) for c in range(4) if negative[q][c])
        naive -= r * np.log(own / (own + others))
        weights += r
    assert contrastive_loss(scores, given, 0.5).item() == pytest.approx(naive / weights, rel=1e-6)


def test_a_query_without_negatives_costs_nothing_and_its_gradient_is_finite():
    scores = torch.zeros(1, 1, requires_grad=True)
    loss = contrastive_loss(scores, batch([[False]], [0], [0], [1.0]), 0.5)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(scores.grad).all()


def test_a_batch_without_a_positive_costs_nothing():
    scores = torch.randn(1, 2, requires_grad=True)
    loss = contrastive_loss(scores, batch([[True, True]], [0], [0], [0.1]), 0.5)
    loss.backward()
    assert loss.item() == 0.0


def test_order_loss_is_the_logistic_loss_of_each_two_items_of_a_query_weighted_by_their_gap():
    rng = np.random.default_rng(1)
    cosine = torch.tensor(rng.normal(size=5), dtype=torch.float64)
    query, grade = [0, 0, 0, 1, 1], [1.0, 0.5, 0.5, 0.0, 0.25]
    naive, weights = 0.0, 0.0
    for i in range(5):
        for k in range(5):
            if query[i] == query[k] and grade[i] > grade[k]:
                gap = grade[i] - grade[k]
                naive += gap * np.log1p(np.exp(-(cosine[i] - cosine[k]).item() / _ORDER_SCALE))
                weights += gap
    given = batch([[False]], query, [0] * 5, grade)
    assert order_loss(cosine, given).item() == pytest.approx(naive / weights, rel=1e-6)


def test_a_query_judged_alike_has_no_order_to_learn():
    cosine = torch.zeros(3, requires_grad=True)
    loss = order_loss(cosine, batch([[False]], [0, 0, 1], [0] * 3, [0.5, 0.5, 1.0]))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.isfinite(cosine.grad).all()


def test_balanced_clicks_weigh_both_answers_alike():
    outcome = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    logits = torch.zeros(4, 2)
    plain, balanced = click_loss(logits, outcome, False), click_loss(logits, outcome, True)
    assert plain.item() == pytest.approx(np.log(2))
    assert balanced.item() == pytest.approx(np.log(2))  # at even odds the weights cancel
    right = torch.tensor([[3.0, -3.0], [-3.0, -3.0], [-3.0, -3.0], [-3.0, -3.0]])  # misses the one purchase
    assert click_loss(right, outcome, True) > click_loss(right, outcome, False)


def test_dropped_words_leave_the_frame_and_a_word_and_repeat_with_the_seed():
    ids = np.arange(10)
    kept = _drop(ids, 0.5, np.random.default_rng(3))
    assert kept[0] == 0
    assert kept[-1] == 9
    assert 3 <= len(kept) < 10
    np.testing.assert_array_equal(kept, _drop(ids, 0.5, np.random.default_rng(3)))
    assert len(_drop(np.array([2, 7, 3]), 0.5, np.random.default_rng(0))) == 3
