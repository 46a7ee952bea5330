"""The fairness job through its command line: promises, gaps, groups that are too small, what may leave it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import Shocks
from fairtag.base import schema
from fairtag.base.files import read_json
from fairtag.base.pseudonym import user_key
from fairtag.base.types import Status
from monitoring.__main__ import main
from monitoring.job_report import read_report


@pytest.mark.parametrize(("gap", "codes"), [(0.0, {0}), (0.04, {2})])
@pytest.mark.slow
def test_a_group_that_pays_more_is_found(shop, tmp_path, gap, codes):
    quotes, _ = shop.log(Shocks(group_gap=gap), pages=6_000)
    assert main(shop.fairness(quotes, tmp_path / "out")) in codes
    found = next(c for c in read_report(tmp_path / "out" / "fairness.json").checks if c.component == "lower")
    if gap:
        assert found.low < gap < found.high


@pytest.mark.slow
def test_one_price_above_list_is_urgent(shop, tmp_path):
    quotes, _ = shop.stream.draw(shop.day, 24, 2_000)
    quotes.loc[17, schema.PRICE_MINOR] = quotes.loc[17, schema.LIST_PRICE_MINOR] + 1
    assert main(shop.fairness(shop.write(quotes, "above"), tmp_path / "out")) == 2
    broken = shop.checks(tmp_path / "out", "fairness")["promise_list"]
    assert broken.status is Status.URGENT
    assert quotes.loc[17, schema.QUOTE_ID] in broken.examples[0]


@pytest.mark.slow
def test_no_protected_value_of_a_customer_leaves_the_fairness_job(shop, tmp_path):
    quotes, _ = shop.log(pages=4_000)
    main(shop.fairness(quotes, tmp_path / "out"))
    written = "".join(f.read_text(errors="ignore") for f in (tmp_path / "out").rglob("*") if f.is_file())
    frame = pd.read_parquet(quotes / "day.parquet")
    assert not any(key in written for key in frame[schema.USER_KEY].unique())
    assert not any(f'"{user}"' in written for user in shop.stream.audit_groups()[schema.USER_ID])


def test_a_group_that_is_missing_from_the_quotes_is_never_a_pass(shop, tmp_path):
    frame, _ = shop.stream.draw(shop.day, 24, 4_000)
    groups = pd.read_parquet(shop.audit)
    absent = set(groups.loc[groups[schema.GROUP] == "lower", schema.USER_ID])
    keys = {user_key(user, shop.stream.secret) for user in absent}
    quotes = shop.write(frame[~frame[schema.USER_KEY].isin(keys)], "onesided")
    assert main(shop.fairness(quotes, tmp_path / "out")) == 3


@pytest.mark.slow
def test_private_means_state_their_budget_and_the_same_window_spends_it_once(shop, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("privacy_epsilon: 2.0\nprivacy_rows: 10\n")
    quotes, _ = shop.log(pages=4_000)
    found = []
    for out in ("a", "b"):
        main(shop.fairness(quotes, tmp_path / out, "--settings", str(settings)))
        found.append(read_json(tmp_path / out / "fairness-private.json"))
    assert found[0] == found[1]
    assert found[0]["budget"] == {"epsilon": 2.0, "rows": 10, "bound": 0.5, "attributes": 1, "unit": "customer"}
    frame = pd.read_parquet(quotes / "day.parquet")
    exact = np.log(frame[schema.PRICE_MINOR] / frame[schema.LIST_PRICE_MINOR]).mean()
    for mean in found[0]["means"]:
        assert mean["mean"] != pytest.approx(exact, abs=1e-9)
        assert abs(mean["mean"] - exact) < 5 * mean["error"] + 0.02
    shifted = shop.fairness(quotes, tmp_path / "c", "--settings", str(settings), "--window", "23h")
    main(shifted)
    assert read_json(tmp_path / "c" / "fairness-private.json")["means"] != found[0]["means"]


def test_without_a_budget_no_private_figures_are_written(shop, tmp_path):
    main(shop.fairness(shop.log()[0], tmp_path / "out"))
    assert not (tmp_path / "out" / "fairness-private.json").exists()


@pytest.mark.slow
def test_a_group_that_is_too_small_shows_no_figure(shop, tmp_path):
    groups = pd.read_parquet(shop.audit)
    groups.loc[:20, schema.GROUP] = "tiny"
    groups.to_parquet(tmp_path / "audit.parquet")
    quotes, _ = shop.log(pages=3_000)
    options = shop.fairness(quotes, tmp_path / "out")
    options[options.index("--audit") + 1] = str(tmp_path / "audit.parquet")
    assert main(options) == 3
    tiny = next(c for c in read_report(tmp_path / "out" / "fairness.json").checks if c.component == "tiny")
    assert tiny.status is Status.UNKNOWN
    assert (tiny.value, tiny.low, tiny.n, tiny.detail) == (None, None, 0, {})


def crossed_audit(shop, tmp_path):
    """The audit table with a second attribute of two groups, one of them a tenth of the customers."""
    groups = pd.read_parquet(shop.audit)
    rare = np.where(np.arange(len(groups)) % 10 == 0, "rural", "urban")
    place = groups.assign(**{schema.ATTRIBUTE: "place", schema.GROUP: rare})
    pd.concat([groups, place]).to_parquet(tmp_path / "audit.parquet")
    return tmp_path / "audit.parquet"


def fairness_of(shop, tmp_path, quotes, *more):
    options = shop.fairness(quotes, tmp_path / "out", *more)
    options[options.index("--audit") + 1] = str(crossed_audit(shop, tmp_path))
    code = main(options)
    return code, read_report(tmp_path / "out" / "fairness.json")


@pytest.mark.slow
def test_a_crossing_that_is_too_small_is_listed_and_does_not_decide(shop, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("group_min_impressions: 2000\n")  # of the crossings of "rural" alone too few
    quotes, _ = shop.log(pages=4_000)
    code, found = fairness_of(shop, tmp_path, quotes, "--settings", str(settings))
    left = {check.component for check in found.not_judged}
    assert left == {"lower x rural"}
    assert code == 0, found.failing
    assert found.detail["not_judged"]["groups"] == 1
    assert found.detail["not_judged"]["of"] == 8


@pytest.mark.slow
def test_a_crossing_that_clearly_pays_more_is_urgent_however_few_they_are(shop, tmp_path):
    quotes, _ = shop.stream.draw(shop.day, 24, 6_000)
    table = pd.read_parquet(crossed_audit(shop, tmp_path)).pivot(
        index=schema.USER_ID, columns=schema.ATTRIBUTE, values=schema.GROUP
    )
    members = table.index[(table["income"] == "lower") & (table["place"] == "rural")]
    keys = {user_key(user, shop.stream.secret) for user in members}
    dearer = quotes[schema.PRICE_MINOR] * np.where(quotes[schema.USER_KEY].isin(keys), 1.08, 1.0)
    changed = np.minimum(dearer.round(), quotes[schema.LIST_PRICE_MINOR]).astype("int64")
    log = shop.write(quotes.assign(**{schema.PRICE_MINOR: changed}), "crossed")
    code, found = fairness_of(shop, tmp_path, log)
    assert code == 2
    urgent = {check.component for check in found.checks if check.status is Status.URGENT}
    assert "lower x rural" in urgent
