"""The jobs through their command line: what is planted is found, what is quiet passes, hour by hour as well."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import Shocks
from fairtag.base import schema
from fairtag.base.types import Status
from monitoring.__main__ import main
from monitoring.job_report import Check, JobReport, read_verdict, worst


def test_a_quiet_day_passes_every_job(shop, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("maturity_hours: 2\n")
    quotes, outcomes = shop.log(pages=6_000)
    more = ("--outcomes", str(outcomes), "--settings", str(settings))
    out = tmp_path / "out"
    options = [*shop.fairness(quotes, out, *more)]
    assert main(["all", *options[1:]]) == 0, [c for j in ("drift", "performance", "fairness", "quality")
                                              for c in read_verdict(out / f"{j}.json").failing]  # fmt: skip
    assert "All quiet" in (out / "report.html").read_text()
    assert 'fairtag_monitoring_status{job="drift"} 0.0' in (out / "metrics.prom").read_text()


@pytest.mark.parametrize(
    ("shocks", "code", "name"),
    [
        (Shocks(price_shift=0.10), 2, "price_level"),
        (Shocks(price_shift=0.02), 1, "price_level"),
        (Shocks(new_words=0.7), 2, "new_words"),
        (Shocks(broken=schema.SIMILARITY), 2, "similarity"),
    ],
)
def test_planted_drift_is_found_and_named(shop, tmp_path, shocks, code, name):
    quotes, _ = shop.log(shocks, pages=5_000)
    assert main(shop.options(quotes, tmp_path / "out")) == code
    assert shop.checks(tmp_path / "out")[name].status is (Status.URGENT if code == 2 else Status.WARN)


def test_a_finding_names_its_items_and_what_moved_with_it(shop, tmp_path):
    quotes, _ = shop.stream.draw(shop.day, 24, 5_000, Shocks(price_shift=0.10, new_words=0.7))
    quotes.loc[quotes[schema.ITEM_ID] == "i6", schema.PRICE_MINOR] //= 2
    main(shop.options(shop.write(quotes, "named"), tmp_path / "out"))
    found = shop.checks(tmp_path / "out")
    price = found["price_level"]
    assert price.component == "category-0"
    assert price.examples[0].startswith("i6: -4")
    assert price.detail["moved_with"]["list_price_level"] == pytest.approx(np.log(1.10), abs=0.01)
    assert all("times in the sample" in example for example in found["new_words"].examples)
    assert found["similarity"].examples == ()


def test_a_season_that_training_saw_is_no_drift(shop, tmp_path):
    for day in range(4):
        start = shop.day + pd.Timedelta(days=day)
        quotes, _ = shop.log(Shocks(season=0.2), hours=24, start=start, name=f"day{day}")
        end = (start + pd.Timedelta(days=1)).isoformat()
        assert main(shop.options(quotes, tmp_path / "out", end=end)) == 0


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


def test_one_job_at_a_time_leaves_the_report_and_the_metrics_of_all(shop, tmp_path):
    quotes, _ = shop.log()
    main(shop.options(quotes, tmp_path / "out"))
    main(["quality", *shop.options(quotes, tmp_path / "out")[1:]])
    assert all(f'id="job-{job}"' in (tmp_path / "out" / "report.html").read_text() for job in ("drift", "quality"))
    metrics = (tmp_path / "out" / "metrics.prom").read_text()
    assert all(f'fairtag_monitoring_status{{job="{job}"}}' in metrics for job in ("drift", "quality"))


def test_the_fingerprint_is_of_the_finding_and_not_of_the_window():
    found = Check("price_level", Status.URGENT, "up", change=0.1)
    first = JobReport("drift", "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00", (found,), ("v1",))
    later = JobReport("drift", "2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00", (found,), ("v1",))
    other = JobReport("drift", "2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00", (found,), ("v2",))
    assert first.fingerprint == later.fingerprint != other.fingerprint
    assert worst([]) is Status.UNKNOWN
    assert JobReport("drift", "", "", ()).status is Status.UNKNOWN
