"""The ranking study: the folds, features and gains that could flatter its result."""

import pytest

from benchmarks.studies.home_depot import ranking
from benchmarks.studies.home_depot.baselines import overlap
from benchmarks.studies.home_depot.fold_encoders import FOLDS, SCORED_BY, TRAINED_ON
from fairtag.base.errors import MissingDataError


def test_a_folder_without_judgements_is_refused(tmp_path):
    with pytest.raises(MissingDataError):
        ranking.run(tmp_path)


def test_overlap_features_count_words_and_trigrams():
    row = overlap(["18", "volt", "drills"], ["acme", "18", "volt", "drill", "kit"])
    assert row[:5] == [3.0, 5.0, 2.0, pytest.approx(2 / 3), pytest.approx(2 / 6)]
    assert row[6] == 0.0  # the last word is not in the title as it stands
    assert overlap([], ["drill"])[3] == 0.0


def test_a_fold_is_scored_by_an_encoder_that_saw_neither_it_nor_its_rerankers_folds():
    for fold, encoder in SCORED_BY.items():
        assert fold not in TRAINED_ON[encoder]
        assert len(set(range(FOLDS)) - set(TRAINED_ON[encoder]) - {fold}) == 2
    assert set(SCORED_BY) == set(range(FOLDS))


def test_rows_hold_every_measure_with_intervals_and_paired_gains(scored):
    rows = {row.metric: row for row in ranking.rows_of(scored, draws=200)}
    assert {"rmse", "ndcg10", "mrr", "ndcg10_bm25", "rmse_gain_over_overlap"} <= set(rows)
    assert rows["rmse"].value == pytest.approx(0.2, abs=0.02)  # twice the noise of 0.1: the raters' scale is 1 to 3
    for name in ("rmse_gain_over_overlap", "ndcg10_gain_over_minilm", "mrr_gain_over_bm25"):
        assert 0 < rows[name].low < rows[name].value < rows[name].high


def test_a_method_no_better_than_another_has_no_gain(scored):
    frame = scored
    frame["ours_grade"], frame["ours_order"] = frame["overlap_grade"], frame["overlap_order"]
    rows = {row.metric: row for row in ranking.rows_of(frame, draws=50)}
    assert rows["rmse_gain_over_overlap"].value == rows["ndcg10_gain_over_overlap"].value == 0.0


def test_one_export_is_paired_with_the_other_where_both_were_scored(scored):
    frame = scored
    for name, of in {"fp32": "ours", "int8": "tuned"}.items():
        for kind in ("grade", "order"):
            frame[f"ours_{name}_{kind}"] = frame[f"{of}_{kind}"]
    rows = {row.metric: row for row in ranking.rows_of(frame, draws=100)}
    for measure in ("rmse", "ndcg10", "mrr"):
        lost, gain = rows[f"{measure}_ours_lost_by_int8"], rows[f"{measure}_gain_over_tuned"]
        assert (lost.value, lost.low, lost.high) == (gain.value, gain.low, gain.high)
        assert lost.value > 0
        assert f"{measure}_tuned_lost_by_int8" not in rows
