"""The performance job through its command line: what moved in demand is found; too few purchases wait."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import Shocks
from fairtag.base import schema
from fairtag.base.files import read_json
from fairtag.base.types import Status
from monitoring.__main__ import main


@pytest.mark.slow
def test_a_change_of_elasticity_is_found(shop, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("maturity_hours: 2\n")
    quotes, outcomes = shop.log(Shocks(elasticity=3.0), pages=12_000)
    options = shop.options(quotes, tmp_path / "out", "--outcomes", str(outcomes), "--settings", str(settings))
    assert main(["performance", *options[1:]]) in (1, 2)
    found = shop.checks(tmp_path / "out", "performance")["elasticity"]
    assert found.status in (Status.WARN, Status.URGENT)
    assert found.change < 0


def test_missing_purchases_are_found(shop, tmp_path):
    quotes, outcomes = shop.log(pages=6_000)
    half = pd.read_parquet(outcomes / "day-outcomes.parquet").sample(frac=0.5, random_state=0)
    settings = tmp_path / "settings.yaml"
    settings.write_text("maturity_hours: 2\n")
    more = ("--outcomes", str(shop.write(half, "half")), "--settings", str(settings))
    assert main(["performance", *shop.options(quotes, tmp_path / "out", *more)[1:]]) == 2
    found = shop.checks(tmp_path / "out", "performance")["purchases"]
    assert found.value == pytest.approx(np.log(0.5), abs=0.15)


def test_purchases_too_few_for_the_detectors_wait_and_are_not_lost(shop, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("maturity_hours: 0\n")
    quotes, outcomes = shop.log(hours=4, pages=800)
    bought = pd.read_parquet(outcomes / "day-outcomes.parquet")
    early = bought[bought[schema.TS] < shop.day + pd.Timedelta(hours=2)]
    few = pd.concat([early.head(15), bought[bought[schema.TS] >= shop.day + pd.Timedelta(hours=2)]])
    more = ("--outcomes", str(shop.write(few, "few")), "--settings", str(settings))
    cursors = []
    for k in (2, 4):
        shop.run_hour(tmp_path, k, quotes, *more, job="performance")
        cursors.append(read_json(tmp_path / "state" / "performance.json")["cursor"])
    assert cursors == [None, (shop.day + pd.Timedelta(hours=4)).isoformat()]
