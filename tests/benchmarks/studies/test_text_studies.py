"""The parts of the text studies that could flatter a result: folds, groups, features, gains."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.studies import home_depot, home_depot_student, price_regression
from benchmarks.studies.home_depot_baselines import overlap
from benchmarks.studies.home_depot_command import command
from benchmarks.studies.home_depot_encoders import FOLDS, SCORED, TAUGHT
from fairtag.base import schema
from fairtag.base.errors import MissingDataError


@pytest.mark.parametrize("study", [home_depot, home_depot_student, price_regression])
def test_a_study_without_data_says_what_it_needs(study, tmp_path):
    with pytest.raises(MissingDataError):
        study.run(None)
    with pytest.raises(MissingDataError):
        study.run(tmp_path)


def test_overlap_features_count_words_and_trigrams():
    row = overlap(["18", "volt", "drills"], ["acme", "18", "volt", "drill", "kit"])
    assert row[:5] == [3.0, 5.0, 2.0, pytest.approx(2 / 3), pytest.approx(2 / 6)]
    assert row[6] == 0.0  # the last word is not in the title as it stands
    assert overlap([], ["drill"])[3] == 0.0


def test_a_fold_is_scored_by_an_encoder_that_saw_neither_it_nor_its_rerankers_folds():
    for fold, encoder in SCORED.items():
        assert fold not in TAUGHT[encoder]
        assert len(set(range(FOLDS)) - set(TAUGHT[encoder]) - {fold}) == 2
    assert set(SCORED) == set(range(FOLDS))


def scored(seed=0, terms=300):
    rng = np.random.default_rng(seed)
    query = np.repeat([f"q{number:03d}" for number in range(terms)], 6)
    grade = rng.integers(0, 7, len(query)) / 6.0
    frame = pd.DataFrame({schema.QUERY: query, schema.RELEVANCE: grade})
    for name, noise in {"mean": 9.0, "bm25": 0.5, "minilm": 0.4, "overlap": 0.3, "tuned": 0.2, "ours": 0.1}.items():
        guess = grade + noise * rng.normal(size=len(query))
        frame[f"{name}_grade"] = np.full(len(query), 0.5) if name == "mean" else guess
        frame[f"{name}_order"] = frame[f"{name}_grade"]
    return frame


def test_rows_hold_every_measure_with_intervals_and_paired_gains():
    rows = {row.metric: row for row in home_depot.rows_of(scored(), draws=200)}
    assert {"rmse", "ndcg10", "mrr", "ndcg10_bm25", "rmse_gain_over_overlap"} <= set(rows)
    assert rows["rmse"].value == pytest.approx(0.2, abs=0.02)  # twice the noise of 0.1: the raters' scale is 1 to 3
    for name in ("rmse_gain_over_overlap", "ndcg10_gain_over_minilm", "mrr_gain_over_bm25"):
        assert 0 < rows[name].low < rows[name].value < rows[name].high


def test_a_method_no_better_than_another_has_no_gain():
    frame = scored()
    frame["ours_grade"], frame["ours_order"] = frame["overlap_grade"], frame["overlap_order"]
    rows = {row.metric: row for row in home_depot.rows_of(frame, draws=50)}
    assert rows["rmse_gain_over_overlap"].value == rows["ndcg10_gain_over_overlap"].value == 0.0


def test_one_export_is_paired_with_the_other_where_both_were_scored():
    frame = scored()
    for name, of in {"fp32": "ours", "int8": "tuned"}.items():
        for kind in ("grade", "order"):
            frame[f"ours_{name}_{kind}"] = frame[f"{of}_{kind}"]
    rows = {row.metric: row for row in home_depot.rows_of(frame, draws=100)}
    for measure in ("rmse", "ndcg10", "mrr"):
        lost, gain = rows[f"{measure}_ours_lost_by_int8"], rows[f"{measure}_gain_over_tuned"]
        assert (lost.value, lost.low, lost.high) == (gain.value, gain.low, gain.high)
        assert lost.value > 0
        assert f"{measure}_tuned_lost_by_int8" not in rows


def test_a_command_names_what_differs_from_having_no_option():
    assert command("m", "fp32", None, steps=4) == "python -m m --data DIR --steps 4"
    said = command("m", "bf16", 20, steps=4, student_steps=2)
    assert said == "python -m m --data DIR --steps 4 --student-steps 2 --precision bf16 --terms 20"


def test_listings_of_one_product_are_one_group_across_shops_and_chains():
    pairs = pd.DataFrame(
        {
            "left_title": ["a", "a", "b", "c"],
            "left_price": ["1", "1", None, "3"],
            "right_title": ["x", "y", "y", "z"],
            "right_price": [2.0, 2.5, 2.5, 4.0],
            "label": [1, 1, 1, 0],
        }
    )
    items, group = price_regression._catalogue(pairs, {"title": "title"})
    product = dict(zip(items[schema.TITLE], group, strict=True))
    assert set(product) == {"a", "c", "x", "y", "z"}  # b has no price
    assert product["a"] == product["x"] == product["y"]
    assert len({product["a"], product["c"], product["z"]}) == 3


def test_what_a_student_loses_is_paired_with_its_teacher_and_above_zero_where_it_is_worse():
    frame = scored()
    grade, rng = frame[schema.RELEVANCE].to_numpy(), np.random.default_rng(3)
    scores = {
        "teacher": grade + 0.1 * rng.normal(size=len(grade)),
        "student": grade + 0.5 * rng.normal(size=len(grade)),
    }
    rows = {row.metric: row for row in home_depot_student._quality(frame, {**scores, "twin": scores["teacher"]})}
    for measure in ("rmse", "ndcg10", "mrr"):
        lost = rows[f"{measure}_lost_by_student"]
        assert 0 < lost.low < lost.value < lost.high
        assert rows[f"{measure}_lost_by_twin"].value == rows[f"{measure}_lost_by_twin"].high == 0.0
    assert rows["ndcg10_teacher"].value > rows["ndcg10_student"].value


def test_speed_is_the_teachers_median_over_the_students():
    times = {"teacher": np.array([4.0, 4.0, 9.0]), "student": np.array([2.0, 2.0, 1.0])}
    rows = {row.metric: row.value for row in home_depot_student._speed(times)}
    assert rows == {"teacher_12tokens_p50": 4.0, "student_12tokens_p50": 2.0, "speedup_student": 2.0}
