"""Evidently's reports on small samples: methods by type and size, price parity, pages that work offline, snapshots."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import QuoteStream, Shocks
from fairtag.base import schema
from monitoring.report import evidently_report as report

START = pd.Timestamp("2026-02-09", tz="UTC")
pytestmark = [
    # Evidently's own classifier stops at its fixed number of steps; its score is what is read, not its optimum
    pytest.mark.filterwarnings("ignore:Maximum number of iteration reached"),
    # Evidently, and the web server it imports, still call what numpy and litestar have renamed
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def frames():
    stream = QuoteStream(items=60, users=400)
    training, _ = stream.draw(START - pd.Timedelta(days=30), 24 * 7, 500)
    same, _ = stream.draw(START, 24, 500)
    other, _ = stream.draw(START, 24, 500, Shocks(new_words=0.9))
    return training, same, other


def test_methods_are_tests_while_small_and_distances_when_large():
    assert report.method("numeric", 500)[0] == "ks"
    assert report.method("numeric", 50_000)[0] == "wasserstein"
    assert report.method("categorical", 500)[0] == "chisquare"
    assert report.method("categorical", 50_000)[0] == "jensenshannon"
    assert report.method("text", 100)[0] == "perc_text_content_drift"


@pytest.mark.slow
def test_a_moved_column_scores_above_a_still_one(frames):
    training, same, _ = frames
    moved = same.assign(**{schema.SIMILARITY: np.clip(same[schema.SIMILARITY] * 0.6, 0, 1)})
    still, shifted = (report.scores(report.drift_report(frame, training)) for frame in (same, moved))
    assert still[schema.SIMILARITY] < 0.1 < shifted[schema.SIMILARITY]


def test_a_column_without_values_is_left_out_and_the_rest_is_reported(frames):
    training, same, _ = frames
    scores = report.scores(report.drift_report(same.assign(**{schema.SIMILARITY: np.nan}), training))
    assert schema.SIMILARITY not in scores
    assert schema.CATEGORY in scores


@pytest.mark.slow
def test_new_queries_are_told_apart_by_the_text_classifier(frames):
    training, same, other = frames
    moved = report.scores(report.text_report(other, training, 400))[schema.QUERY]
    still = report.scores(report.text_report(same, training, 400))[schema.QUERY]
    assert moved > 0.8 > still
    assert report.text_report(same.head(20), training, 400) is None


def test_price_parity_is_the_gap_within_items(frames, tmp_path):
    _, same, _ = frames
    group = np.where(same[schema.USER_KEY].str[0] < "8", "a", "b")
    dearer = np.where(group == "a", np.round(same[schema.LIST_PRICE_MINOR] * 1.03), same[schema.LIST_PRICE_MINOR])
    frame = same.assign(kind=group, **{schema.PRICE_MINOR: dearer.astype(int)})
    snapshot = report.parity_report(frame, {"kind": ["a", "b"]})
    values = [float(metric["value"]) for metric in snapshot.dict()["metrics"]]
    assert values == pytest.approx([0.03, 1 / 1.03 - 1], abs=1e-3)
    assert {str(test["status"]).rsplit(".", 1)[-1] for test in snapshot.dict()["tests"]} == {"SUCCESS", "FAIL"}
    html = report.save_html(snapshot, tmp_path / "parity.html").read_text()
    assert not re.search(r"<(script|link)[^>]+(src|href)=\"https?://", html)


def test_each_run_adds_a_snapshot_to_one_project(frames, tmp_path):
    from evidently.ui.workspace import Workspace

    training, same, _ = frames
    snapshot = report.drift_report(same, training)
    for hour in range(2):
        report.add_to_workspace(snapshot, tmp_path / "ws", "drift", START + pd.Timedelta(hours=hour))
    store = Workspace(str(tmp_path / "ws"))
    projects = store.list_projects()
    assert [project.name for project in projects] == ["Fairtag drift"]
    assert len(store.list_runs(projects[0].id)) == 2
