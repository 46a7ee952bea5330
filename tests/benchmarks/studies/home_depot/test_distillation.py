"""The student study: losses are paired with the teacher, and speed is a ratio of medians."""

import numpy as np
import pytest

from benchmarks.studies.home_depot import distillation
from fairtag.base import schema
from fairtag.base.errors import MissingDataError


def test_a_folder_without_judgements_is_refused(tmp_path):
    with pytest.raises(MissingDataError):
        distillation.run(tmp_path)


def test_what_a_student_loses_is_paired_with_its_teacher_and_above_zero_where_it_is_worse(scored):
    frame = scored
    grade, rng = frame[schema.RELEVANCE].to_numpy(), np.random.default_rng(3)
    scores = {
        "teacher": grade + 0.1 * rng.normal(size=len(grade)),
        "student": grade + 0.5 * rng.normal(size=len(grade)),
    }
    rows = {row.metric: row for row in distillation._quality(frame, {**scores, "twin": scores["teacher"]})}
    for measure in ("rmse", "ndcg10", "mrr"):
        lost = rows[f"{measure}_lost_by_student"]
        assert 0 < lost.low < lost.value < lost.high
        assert rows[f"{measure}_lost_by_twin"].value == rows[f"{measure}_lost_by_twin"].high == 0.0
    assert rows["ndcg10_teacher"].value > rows["ndcg10_student"].value


def test_speed_is_the_teachers_median_over_the_students():
    times = {"teacher": np.array([4.0, 4.0, 9.0]), "student": np.array([2.0, 2.0, 1.0])}
    rows = {row.metric: row.value for row in distillation._speed(times)}
    assert rows == {"teacher_12tokens_p50": 4.0, "student_12tokens_p50": 2.0, "speedup_student": 2.0}
