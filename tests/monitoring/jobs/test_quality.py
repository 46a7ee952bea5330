"""The quality job: each way in which a quote log can be ill is found, named and counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.types import Status
from fairtag.policy.live_policy import STOPPED
from monitoring.__main__ import main
from monitoring.job_report import read_report

DAY = pd.Timestamp("2026-02-09", tz="UTC")


@pytest.fixture
def quotes(shop):
    return shop.stream.draw(DAY, 24, 2_000)[0]


def run_quality(shop, frame, tmp_path, *more, name="log"):
    folder = shop.write(frame, name)
    code = main(["quality", *shop.options(folder, tmp_path / "out", *more)[1:]])
    return code, {check.name: check for check in read_report(tmp_path / "out" / "quality.json").checks}


def test_a_whole_log_passes(shop, quotes, tmp_path):
    code, checks = run_quality(shop, quotes, tmp_path)
    assert code == 0, [check for check in checks.values() if check.status is not Status.PASS]


def on_pages(frame, share, **values):
    """The frame with values on a share of its pages."""
    pages = frame[schema.QUOTE_ID].unique()
    hit = frame[schema.QUOTE_ID].isin(pages[: round(share * len(pages))])
    return frame.assign(**{name: frame[name].mask(hit, value) for name, value in values.items()})


@pytest.mark.parametrize(
    ("values", "share", "name", "status"),
    [
        ({schema.DEGRADED: "FEATURES_LATE"}, 0.05, "degraded", Status.WARN),
        ({schema.DEGRADED: "FEATURES_LATE"}, 0.15, "degraded", Status.URGENT),
        ({schema.DEGRADED: STOPPED}, 0.50, "degraded", Status.PASS),
        ({schema.FEATURE_AGE_SECONDS: 31 * 3600.0}, 0.10, "stale_features", Status.WARN),
        ({schema.FEATURE_AGE_SECONDS: 31 * 3600.0}, 0.30, "stale_features", Status.URGENT),
        ({schema.USER_KEY: None}, 0.30, "no_customer", Status.WARN),
        ({schema.USER_KEY: None}, 0.90, "no_customer", Status.URGENT),
        ({schema.DISCLOSURE: None}, 0.001, "disclosure_missing", Status.URGENT),
        ({schema.PRICE_MINOR: 999}, 1.0, "constant_column", Status.URGENT),
        ({schema.PROPENSITY: 0.0}, 0.02, "broken_rows", Status.URGENT),
        ({schema.PROPENSITY: np.nan}, 0.0, "broken_rows", Status.PASS),
    ],
)
def test_what_is_ill_is_named(shop, quotes, tmp_path, values, share, name, status):
    code, checks = run_quality(shop, on_pages(quotes, share, **values), tmp_path)
    assert checks[name].status is status
    assert (code == 0) is (status is Status.PASS)


def test_many_repeated_rows_are_urgent(shop, quotes, tmp_path):
    _, checks = run_quality(shop, pd.concat([quotes, quotes.head(400)]), tmp_path)
    assert checks["duplicates"].status is Status.URGENT
    assert checks["duplicates"].value == pytest.approx(400 / 16_400)


def test_how_old_features_may_be_is_a_setting(shop, quotes, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("stale_feature_hours: 48\n")
    old = on_pages(quotes, 1.0, **{schema.FEATURE_AGE_SECONDS: 31 * 3600.0})
    assert run_quality(shop, old, tmp_path, "--settings", str(settings))[0] == 0


@pytest.mark.parametrize(
    ("hours", "name", "status"),
    [
        (8, "quotes", Status.URGENT),
        (1.5, "quotes", Status.WARN),
        # the endpoint's own file names say when they were opened: this log began within the window
        (8, "quotes-20260209T080000-a", Status.PASS),
    ],
)
def test_silence_counts_from_the_window_s_start_unless_the_log_began_later(shop, quotes, tmp_path, hours, name, status):
    late = quotes[quotes[schema.TS] >= DAY + pd.Timedelta(hours=hours)]
    assert run_quality(shop, late, tmp_path, name=name)[1]["silence"].status is status


def test_an_endpoint_that_fell_silent_is_urgent_however_young_its_log(shop, quotes, tmp_path):
    early = quotes[quotes[schema.TS] < DAY + pd.Timedelta(hours=12)]
    assert run_quality(shop, early, tmp_path, name="quotes-20260209T000001-a")[1]["silence"].status is Status.URGENT


def test_an_empty_window_is_never_a_pass(shop, quotes, tmp_path):
    assert run_quality(shop, quotes.assign(**{schema.TS: DAY - pd.Timedelta(days=30)}), tmp_path)[0] == 3


@pytest.mark.parametrize(
    ("drawn", "status"), [(0.08, Status.PASS), (0.0, Status.URGENT), (0.045, Status.WARN), (0.4, Status.URGENT)]
)
def test_prices_explored_less_or_more_than_the_log_says_are_found(shop, quotes, tmp_path, drawn, status):
    """A rate of a tenth on a menu of five: the chosen price has 0.92, each other one 0.02."""
    other = np.random.default_rng(0).random(len(quotes)) < drawn
    logged = quotes.assign(**{schema.PROPENSITY: np.where(other, 0.02, 0.92)})
    _, checks = run_quality(shop, logged, tmp_path)
    assert checks["propensity"].status is status


def test_a_shop_that_does_not_explore_passes_the_check_of_propensities(shop, quotes, tmp_path):
    _, checks = run_quality(shop, quotes, tmp_path)
    assert checks["propensity"].status is Status.PASS
    assert "too few prices are explored" in checks["propensity"].summary
    _, checks = run_quality(shop, quotes.assign(**{schema.PROPENSITY: 0.2}), tmp_path, name="randomised")
    assert checks["propensity"].status is Status.PASS
