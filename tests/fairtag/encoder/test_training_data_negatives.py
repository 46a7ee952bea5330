"""Mined negatives: what shares the query's words and nobody judged relevant; the contrastive loss alone reads it."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.encoder.batches import BatchPlan
from fairtag.encoder.training import train_encoder
from fairtag.encoder.training_data import encoder_data, mine_negatives

POOL = {10: "red drill", 11: "red drill bit set", 12: "blue lamp", 13: "drill", 14: "oak chair"}


def tokenise(texts):
    return [[2, *[4 + len(word) for word in text.split()], 3] for _, text in texts]


def test_the_best_items_by_words_that_are_not_relevant_are_mined_best_first():
    queries, items = mine_negatives({1: "red drill"}, POOL, {1: {10}}, most=2)
    assert queries.tolist() == [1, 1]
    assert set(items.tolist()) == {11, 13}
    without, ranked = mine_negatives({1: "red drill"}, POOL, {}, most=3)
    assert ranked[0] == 10
    assert len(without) == 3


def test_only_items_that_share_a_word_are_mined_and_a_query_may_have_none():
    queries, items = mine_negatives({1: "blue", 2: "kettle", 3: ""}, POOL, {}, most=5)
    assert (queries.tolist(), items.tolist()) == ([1], [12])
    none = mine_negatives({}, {}, {}, most=5)
    assert [part.shape for part in none] == [(0,), (0,)]


@pytest.fixture
def judged():
    names = [schema.QUERY, schema.ITEM_ID, schema.TITLE, schema.RELEVANCE]
    rows = [
        ("red drill", "1", "red drill tool", 1.0),
        ("red drill", "2", "drill red basic", 0.5),
        ("red drill", "3", "red drill bit", 0.0),
        ("blue lamp", "4", "blue drill", 0.0),
        ("blue lamp", "5", "blue lamp", 1.0),
    ]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture
def shop():
    rows = [("1", "red drill the judged one", "shop", 9.0), ("9", "red drill nobody judged", "shop", 9.0)]
    return pd.DataFrame(rows, columns=[schema.ITEM_ID, schema.TITLE, schema.CATEGORY, schema.LIST_PRICE])


def test_an_item_graded_above_irrelevant_is_never_mined_nor_is_its_catalogue_text(config, judged, shop):
    texts = []

    def remember(given):
        texts.extend(text for _, text in given)
        return tokenise(given)

    data = encoder_data(
        judged, shop, None, config(batch={"mined_negatives": 9}, validation={"holdout_share": 0.0}), remember
    )
    pairs = {(texts[q], texts[v]) for q, v in zip(data.hard_negatives.query, data.hard_negatives.item, strict=True)}
    mined = {item for query, item in pairs if query == "red drill"}
    assert {"red drill bit", "blue drill"} <= mined
    assert not mined & {"red drill tool", "drill red basic"}
    assert [item for item in mined if "nobody judged" in item]
    assert not [item for item in mined if "the judged one" in item]
    assert data.counts["mined_negatives"] == len(data.hard_negatives) == len(pairs)


def test_nothing_is_mined_unless_asked_for(config, judged, shop):
    data = encoder_data(judged, shop, None, config(validation={"holdout_share": 0.0}), tokenise)
    assert len(data.hard_negatives) == 0
    assert "mined_negatives" not in data.counts


def test_a_mined_item_joins_its_querys_batch_as_a_negative_without_a_grade(config, judgements, items, impressions):
    settings = config(batch={"mined_negatives": 3})
    data = encoder_data(judgements, items, impressions, settings, tokenise)
    plain = encoder_data(judgements, items, impressions, config(), tokenise)
    assert not set(data.hard_negatives.query) & set(data.held_out.query)
    for step in range(4):
        batch, before = BatchPlan(data, settings, 1).batch(step, 0), BatchPlan(plain, config(), 1).batch(step, 0)
        for name in ("relevance", "log_price", "outcome"):
            np.testing.assert_array_equal(getattr(batch, name), getattr(before, name))
        np.testing.assert_array_equal(batch.items[batch.click_item], before.items[before.click_item])
        np.testing.assert_array_equal(batch.items[batch.price_item], before.items[before.price_item])
        places = {int(item): column for column, item in enumerate(batch.items)}
        for row in np.unique(batch.pair_query):
            own = data.hard_negatives.item[data.hard_negatives.query == batch.queries[row]]
            assert len(own)
            assert all(batch.negative[row, places[int(item)]] for item in own)
        assert batch.negative.sum() > before.negative.sum()


def test_an_encoder_learns_from_mined_negatives_too(config, judgements, items, tmp_path):
    plain = train_encoder(config(), judgements, items, tmp_path / "a")
    mined = train_encoder(config(batch={"mined_negatives": 2}), judgements, items, tmp_path / "b")
    assert mined.data["mined_negatives"] > 0
    assert mined.tokens > plain.tokens
    assert mined.losses[0]["contrastive"] > plain.losses[0]["contrastive"]  # more against the same positives
    assert mined.losses[0]["graded"] == pytest.approx(plain.losses[0]["graded"], rel=0.1)  # dropout alone differs
