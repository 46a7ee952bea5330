"""A shop in any currency, from its CSV file to the report: each price is whole coins of it at every station."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fairtag.base.money import currency
from fairtag.base.types import Status

# Decimal places: none, two, three; and amounts of nine digits. A list price of each size, and what it is in coins.
PRICES = {
    "JPY": {120: 120, 540: 540, 5_398: 5_398, 250_000: 250_000},
    "USD": {0.01: 1, 2.5: 250, 19.99: 1_999, 1_289.9: 128_990},
    "KWD": {0.125: 125, 1.234: 1_234, 45.49: 45_490, 990.005: 990_005},
    "IDR": {9_900: 990_000, 75_500: 7_550_000, 1_250_000: 125_000_000, 98_765_432.1: 9_876_543_210},
}
TITLES = ("oak bookcase white", "steel kettle", "cordless drill", "dog leash")


@pytest.fixture(params=PRICES)
def shop(request: pytest.FixtureRequest, tiny_encoder: Path, accepted: Any, tmp_path: Path) -> tuple[str, Path]:
    """The model folder of a shop that has a list of items in a currency, and nothing else."""
    from fairtag.base import schema
    from fairtag.data import load
    from fairtag.data.derived_tables import complete_tables
    from fairtag.data.point_in_time import training_set
    from fairtag.training.model import Lineage, fit_model_folder

    code, data = request.param, tmp_path / "data"
    data.mkdir()
    lines = [f"i{row},{TITLES[row]},{price}" for row, price in enumerate(PRICES[code])]
    (data / "items.csv").write_text("\n".join(["item_id,title,list_price", *lines]) + "\n")
    (data / "metadata.json").write_text(f'{{"currency": "{code}"}}')
    read = load("csv", data)
    tables = complete_tables({schema.ITEMS.name: read.items}, read.metadata)
    folder = tmp_path / "model_folder"
    lineage = Lineage(tables.fingerprint(), "test", "2026-01-01T00:00:00+00:00", "csv")
    fit_model_folder(tables, training_set(tables), tiny_encoder, folder, lineage=lineage)
    accepted(folder)
    return code, folder


@pytest.mark.slow
def test_a_price_is_whole_coins_of_its_currency_from_the_file_to_the_report(
    shop: tuple[str, Path], serve: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from monitoring.__main__ import main
    from monitoring.job_report import read_report
    from pipelines.results_page import render
    from serving.page.core import ModelCore
    from serving.protocol.client import RestClient

    (code, folder), coins = shop, list(PRICES[shop[0]].values())
    began = datetime.now(UTC)
    with serve(core=ModelCore.load(folder, 1), model_folder=folder) as running, RestClient(running.http) as client:
        (page,) = client.pages([{"task": "price", "item_ids": [f"i{row}" for row in range(4)], "jurisdiction": "DE"}])
        found = client.pages([{"query": TITLES[0]}] * 4)[0]
        for _ in range(24):  # a hundred pages, from which on the job can tell
            client.pages([{"query": title} for title in TITLES])
        for item, coin in zip(page["items"], coins, strict=True):
            checked = client.verify(page["quote"], item["item_id"], price_minor=coin)
            assert (checked["price_minor"], checked["currency"]) == (coin, code)
        run_dir = running.run_dir
    assert [item["list_price_minor"] for item in page["items"]] == coins
    assert [item["price_minor"] for item in page["items"]] == coins
    assert found["currency"] == page["currency"] == code
    shown = render({"task": "price", "item_ids": ["i0"]}, page)
    assert all(currency(code).text(coin) in shown for coin in coins)

    quotes = pd.concat(map(pd.read_parquet, (run_dir / "quotes").rglob("*.parquet")))
    logged = quotes[quotes["quote_id"] == page["quote_id"]].sort_values("rank")
    assert (logged["price_minor"].tolist(), set(logged["currency"])) == (coins, {code})
    line = ["quality", "--quotes", str(run_dir / "quotes"), "--model-folder", str(folder), "--out", str(tmp_path / "r")]
    end = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    window = f"{(datetime.now(UTC) - began).total_seconds() / 60 + 2:.1f}m"
    main([*line, "--end", end, "--window", window])
    report = read_report(tmp_path / "r" / "quality.json")
    assert report.status is Status.PASS, [check.summary for check in report.failing]
    assert "PASS" in capsys.readouterr().out
    assert (tmp_path / "r" / "report.html").is_file()
