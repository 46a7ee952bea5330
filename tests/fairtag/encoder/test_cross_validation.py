"""Folds: every query and item is scored once by an encoder that has not seen it, and what ships has seen them all."""

import json

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.encoder.cross_validation import split_folds
from fairtag.encoder.encoder import REPORT
from fairtag.encoder.out_of_fold import COSINE, out_of_fold_cosine, read_out_of_fold
from fairtag.encoder.training import train_encoder
from fairtag.encoder.training_data import encoder_data


def tokenise(texts):
    return [[2, *[4 + len(word) for word in text.split()], 3] for _, text in texts]


@pytest.fixture
def data(config, judgements, items, impressions):
    return encoder_data(judgements, items, impressions, config(validation={"holdout_share": 0.0}), tokenise)


def test_each_query_and_item_is_held_out_once_and_never_learnt_meanwhile(data):
    parts = list(split_folds(data, 3, seed=0))
    held = np.concatenate([np.unique(part.held_out.query) for part in parts])
    assert sorted(held.tolist()) == np.unique(data.train.query).tolist()
    assert sorted(np.concatenate([part.held_out_prices.item for part in parts])) == sorted(data.prices.item)
    for part in parts:
        assert len(part.train) + len(part.held_out) == len(data.train)
        assert not set(part.train.query) & set(part.held_out.query)
        assert not set(part.prices.item) & set(part.held_out_prices.item)
    sizes = [len(np.unique(part.held_out.query)) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_the_folds_follow_the_seed(data):
    def held(seed):
        return [part.held_out.query.tolist() for part in split_folds(data, 3, seed)]

    assert held(0) == held(0) != held(1)


def test_impressions_of_a_held_out_query_are_not_learnt(config, items, impressions):
    data = encoder_data(
        None, items, impressions, config(validation={"holdout_share": 0.0}), tokenise
    )  # grades come from the log
    for part in split_folds(data, 4, seed=0):
        assert len(part.held_out)
        assert not set(part.clicks.query) & set(part.held_out.query)
    assert len(data.clicks)


def test_more_folds_than_queries_and_items_are_refused(data):
    with pytest.raises(DataError, match=r"folds is 999 .* use fewer folds"):
        next(split_folds(data, 999, seed=0))


@pytest.mark.slow
def test_the_report_has_each_folds_scores_their_mean_and_spread(config, judgements, items, tmp_path):
    settings = config(validation={"folds": 3}, schedule={"epochs": 4, "max_steps": 30})
    told = []
    report = train_encoder(settings, judgements, items, tmp_path / "e", progress=told.append)
    found = json.loads((tmp_path / "e" / REPORT).read_text())["cross_validation"]
    assert found == report.cross_validation
    scores = [row["ndcg10"] for row in found["scores"]]
    assert len(scores) == found["folds"] == 3
    assert found["mean"]["ndcg10"] == pytest.approx(np.mean(scores))
    assert found["deviation"]["ndcg10"] == pytest.approx(np.std(scores, ddof=1))
    assert len(set(scores)) > 1
    assert found["mean"]["relevance_rmse"] < found["untuned"]["relevance_rmse"]
    assert list(dict.fromkeys(now.stage for now in told)) == [
        "fold 1 of 3",
        "fold 2 of 3",
        "fold 3 of 3",
        "",
    ]


def test_what_ships_is_trained_on_all_rows_whatever_the_folds(config, judgements, items, tmp_path):
    report = train_encoder(
        config(validation={"folds": 2}, schedule={"max_steps": 3}), judgements, items, tmp_path / "folds"
    )
    assert set(report.evaluations[-1]) == {"step"}  # nothing is left to score it on
    train_encoder(
        config(validation={"holdout_share": 0.0}, schedule={"max_steps": 3}), judgements, items, tmp_path / "all"
    )
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("folds", "all"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_each_pair_keeps_the_cosine_of_an_encoder_that_did_not_learn_its_query(config, judgements, items, tmp_path):
    settings = config(validation={"folds": 2}, schedule={"max_steps": 4})
    train_encoder(settings, judgements, items, tmp_path / "a")
    first = read_out_of_fold(tmp_path / "a")
    assert len(first) == len(judgements[[schema.QUERY, schema.TITLE]].drop_duplicates())
    assert np.isfinite(out_of_fold_cosine(judgements, first)).all()
    # Other grades for the queries of one fold: what is said of them stays, what is said of the others does not.
    data = encoder_data(judgements, items, None, config(validation={"holdout_share": 0.0}), tokenise)
    part = next(split_folds(data, 2, settings.seed))
    held = judgements[schema.QUERY].isin([data.texts[row] for row in np.unique(part.held_out.query)])
    changed = judgements.assign(**{schema.RELEVANCE: judgements[schema.RELEVANCE].where(~held, 0.9)})
    train_encoder(settings, changed, items, tmp_path / "b")
    before, after = (
        out_of_fold_cosine(judgements, first),
        out_of_fold_cosine(judgements, read_out_of_fold(tmp_path / "b")),
    )
    np.testing.assert_array_equal(before[held], after[held])
    assert (before[~held] != after[~held]).all()


def test_a_pair_that_no_fold_scored_has_no_cosine_and_without_folds_there_is_nothing_to_read(tmp_path):
    known = pd.DataFrame({schema.QUERY: ["red lamp"], schema.TITLE: ["lamp & shade"], COSINE: [0.5]})
    asked = pd.DataFrame({schema.QUERY: [" red  lamp", "red lamp"], schema.TITLE: ["lamp &amp; shade", "rope"]})
    np.testing.assert_array_equal(out_of_fold_cosine(asked, known), [0.5, np.nan])
    assert read_out_of_fold(tmp_path) is None


@pytest.mark.slow
def test_a_run_killed_in_its_second_fold_goes_on_there_and_ends_the_same(config, judgements, items, tmp_path):
    settings = config(validation={"folds": 2}, schedule={"max_steps": 3, "checkpoint_every": 1})

    def stop(now):
        if now.stage.startswith("fold 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_encoder(settings, judgements, items, tmp_path / "e", progress=stop)
    told = []
    again = train_encoder(settings, judgements, items, tmp_path / "e", progress=told.append)
    assert [now.stage for now in told] == ["fold 2 of 2"] * 2 + [""] * 3
    whole = train_encoder(settings, judgements, items, tmp_path / "whole")
    assert again.cross_validation["scores"] == whole.cross_validation["scores"]
