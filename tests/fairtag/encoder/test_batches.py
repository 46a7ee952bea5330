"""The plan of batches depends on seed and step alone."""

import numpy as np
import pytest

from fairtag.encoder.batches import BatchPlan
from fairtag.encoder.training_data import encoder_data


def tokenise(texts):
    return [[2, *[4 + len(word) for word in text.split()], 3] for _, text in texts]


@pytest.fixture
def data(config, judgements, items, impressions):
    return encoder_data(judgements, items, impressions, config(), tokenise)


def as_tuple(batch):
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in vars(batch).values()]


def test_a_step_is_the_same_whichever_steps_were_asked_before(config, data):
    straight = BatchPlan(data, config(), 1)
    for step in range(9):
        straight.batch(step, 0)
    assert as_tuple(straight.batch(4, 0)) == as_tuple(BatchPlan(data, config(), 1).batch(4, 0))
    assert as_tuple(straight.batch(4, 0)) != as_tuple(BatchPlan(data, config(seed=1), 1).batch(4, 0))


def test_an_epoch_holds_every_judged_pair_once_and_the_next_is_in_another_order(config, data):
    plan = BatchPlan(data, config(schedule={"epochs": 2, "max_steps": None}), 1)
    seen = [row for batch in plan._epoch(0) for row in batch.tolist()]
    assert sorted(seen) == list(range(len(data.train)))
    assert [row for batch in plan._epoch(1) for row in batch.tolist()] != seen


def test_steps_follow_epochs_accumulation_and_the_cap(config, data):
    whole = BatchPlan(data, config(schedule={"epochs": 2, "max_steps": None}), 1)
    assert whole.steps == 2 * whole.per_epoch
    assert BatchPlan(data, config(schedule={"epochs": 2, "max_steps": None}), 3).steps == 2 * (
        len(whole._epoch(0)) // 3
    )
    assert BatchPlan(data, config(schedule={"epochs": 2, "max_steps": 5}), 1).steps == 5


def test_prices_go_round_all_items_before_one_comes_again(config, data):
    plan = BatchPlan(data, config(), 1)
    count, size = len(data.prices), config().batch.items
    seen = np.concatenate([plan._sample(count, size, number, 1) for number in range(-(-count // size))])
    assert set(seen.tolist()) == set(range(count))


def test_no_item_judged_better_than_irrelevant_is_a_negative_of_its_query(config, data):
    plan, limit = BatchPlan(data, config(), 1), config().objective.negative_relevance
    pairs = zip(data.train.query, data.train.item, data.train.relevance, strict=True)
    grade = {(int(q), int(v)): float(r) for q, v, r in pairs}
    for step in range(5):
        batch = plan.batch(step, 0)
        judged = set(batch.items[batch.pair_item].tolist())
        for row, query in enumerate(batch.queries.tolist()):
            for column, item in enumerate(batch.items.tolist()):
                expected = item in judged and grade.get((query, item), 0.0) <= limit
                assert batch.negative[row, column] == expected


def test_places_point_at_the_texts_they_came_from(config, data):
    batch = BatchPlan(data, config(), 1).batch(0, 0)
    known = {
        (int(q), int(v), float(r))
        for q, v, r in zip(data.train.query, data.train.item, data.train.relevance, strict=True)
    }
    met = zip(batch.queries[batch.pair_query], batch.items[batch.pair_item], batch.relevance, strict=True)
    assert {(int(q), int(v), float(r)) for q, v, r in met} <= known
    prices = dict(zip(data.prices.item.tolist(), data.prices.log_price.tolist(), strict=True))
    for place, log_price in zip(batch.price_item, batch.log_price, strict=True):
        assert prices[int(batch.items[place])] == pytest.approx(float(log_price))


def test_rare_grades_weigh_as_much_as_frequent_ones_when_balanced_and_one_grade_weighs_nothing(config, data):
    plan = BatchPlan(data, config(objective={"balance_classes": True}), 1)
    grades = np.round(data.train.relevance * 4)
    totals = [plan._weights[grades == grade].sum() for grade in np.unique(grades)]
    np.testing.assert_allclose(totals, totals[0], rtol=1e-5)
    one = encoder_data_of_one_grade(config)
    assert BatchPlan(one, config(), 1)._weights.sum() == 0


def encoder_data_of_one_grade(config):
    import pandas as pd

    from fairtag.base import schema

    names = [schema.QUERY, schema.ITEM_ID, schema.TITLE, schema.RELEVANCE]
    table = pd.DataFrame([("drill", "1", "drill", 1.0), ("lamp", "2", "lamp", 1.0)], columns=names)
    return encoder_data(table, None, None, config(validation={"holdout_share": 0.0}), tokenise)
