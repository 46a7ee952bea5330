"""What is cleaned, merged and held out before an encoder learns."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.encoder.training_data import encoder_data


def tokenise(texts):
    return [[2, *[4 + len(word) for word in text.split()], 3] for _, text in texts]


def judged(*rows):
    names = [schema.QUERY, schema.ITEM_ID, schema.TITLE, schema.RELEVANCE]
    return pd.DataFrame([(q, str(n), t, r) for n, (q, t, r) in enumerate(rows)], columns=names)


def test_a_pair_judged_twice_counts_once_with_the_mean_and_a_contradiction_is_counted(config):
    table = judged(("drill", "red drill", 1.0), ("drill ", "red\tdrill", 0.0), ("drill", "lamp", 0.0))
    data = encoder_data(table, None, None, config(validation={"holdout_share": 0.0}), tokenise)
    assert sorted(data.train.relevance.tolist()) == [0.0, 0.5]
    assert data.counts["duplicates_merged"] == 1
    assert data.counts["contradictory_pairs"] == 1


def test_rows_without_a_text_or_with_a_grade_out_of_range_are_counted_not_learnt(config):
    table = judged(
        ("drill", "drill", 1.0), ("", "lamp", 1.0), ("x", "<b></b>", 1.0), ("y", "z", 3.0), ("y", "w", np.nan)
    )
    data = encoder_data(table, None, None, config(validation={"holdout_share": 0.0}), tokenise)
    assert (data.counts["judgements"], data.counts["unusable"], len(data.train)) == (5, 4, 1)


def test_texts_of_any_script_and_size_are_learnt_in_their_normal_form(config):
    table = judged(
        ("电钻", "电钻 18V \U0001f600", 1.0), ("אבג", "\u202eמקדחה", 0.5), ("<i>drill</i>", "w " * 10**6, 0.0)
    )
    data = encoder_data(table, None, None, config(validation={"holdout_share": 0.0}), tokenise)
    assert len(data.train) == 3
    assert max(len(ids) for ids in data.tokens) <= 1002  # 2,000 characters are kept


def test_labels_of_one_relevant_grade_still_teach_an_order(config):
    data = encoder_data(
        judged(("drill", "drill", 1.0), ("lamp", "lamp", 1.0)),
        None,
        None,
        config(validation={"holdout_share": 0.0}),
        tokenise,
    )
    assert data.counts["one_class"] == 1
    assert data.tasks == ("relevance",)


def test_labels_that_are_all_irrelevant_are_refused_with_the_fix(config):
    with pytest.raises(DataError, match="relevant pairs") as caught:
        encoder_data(judged(("drill", "lamp", 0.0), ("lamp", "rope", 0.0)), None, None, config(), tokenise)
    assert (caught.value.table, caught.value.count) == ("judgements", 2)


def test_nothing_to_learn_from_is_refused(config):
    with pytest.raises(DataError, match="nothing to learn"):
        encoder_data(None, None, None, config(), tokenise)


def test_without_judgements_clicks_and_purchases_stand_in(config, items, impressions):
    data = encoder_data(None, items, impressions, config(), tokenise)
    assert data.tasks == ("relevance", "price", "click")
    assert set(np.unique(np.concatenate([data.train.relevance, data.held_out.relevance]))) >= {0.0}
    assert data.train.relevance.max() > 0.5


def test_a_log_without_a_click_has_no_click_head(config, items, impressions):
    silent = impressions.assign(**{schema.CLICKED: False, schema.PURCHASED: False})
    data = encoder_data(
        judged(("drill", "drill", 1.0)), items, silent, config(validation={"holdout_share": 0.0}), tokenise
    )
    assert "click" not in data.tasks


def test_held_out_queries_and_items_are_not_learnt_and_the_split_is_by_hash(config, judgements, items):
    first = encoder_data(judgements, items, None, config(), tokenise)
    again = encoder_data(judgements.sample(frac=1, random_state=3), items, None, config(), tokenise)
    assert not set(first.train.query.tolist()) & set(first.held_out.query.tolist())
    assert len(first.held_out) > 0
    assert len(first.held_out_prices) > 0
    assert len(again.held_out) == len(first.held_out)


def test_tokens_are_cached_by_fingerprint_and_read_back_the_same(config, judgements, tmp_path):
    calls = []

    def counting(texts):
        calls.append(len(texts))
        return tokenise(texts)

    first = encoder_data(judgements, None, None, config(), counting, tokenizer_fingerprint="a", cache=tmp_path)
    second = encoder_data(judgements, None, None, config(), counting, tokenizer_fingerprint="a", cache=tmp_path)
    other = encoder_data(judgements, None, None, config(), counting, tokenizer_fingerprint="b", cache=tmp_path)
    assert len(calls) == 2
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert all(np.array_equal(a, b) for a, b in zip(first.tokens, second.tokens, strict=True))
