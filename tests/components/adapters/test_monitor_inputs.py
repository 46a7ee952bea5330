"""What the monitors read is published by itself: the stock's tables, the audit groups, the outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.adapters.monitor_inputs import (
    publish_audit_groups,
    publish_outcomes,
    publish_tables,
    read_outcomes,
)
from components.publish import publish
from fairtag.base import schema
from fairtag.base.errors import DataError, UnavailableError
from fairtag.base.tables import read_tables, write_tables

ROWS = "quote_id,item_id,ts,quantity,price_minor\nq2,i1,2026-02-09T10:00:00Z,1,1999\nq1,i1,2026-02-09T09:00:00Z,2,500\n"


def test_the_stock_job_gets_items_and_orders_and_nothing_else_of_anybody(market: Any, tmp_path: Path) -> None:
    shop = market.tables
    rows = publish_tables(shop, str(tmp_path / "tables"))
    held = read_tables(tmp_path / "tables")
    assert rows == len(shop.items) + len(shop.orders)
    assert (len(held.items), len(held.orders)) == (len(shop.items), len(shop.orders))
    assert held.users.empty
    assert held.impressions.empty
    assert (held.judgements, held.audit_groups) == (None, None)
    assert not list((tmp_path / "tables").glob("audit*"))


def test_the_groups_lie_at_an_address_of_their_own(market: Any, tmp_path: Path) -> None:
    rows = publish_audit_groups(market.tables, (tmp_path / "audit").as_uri())
    held = pd.read_parquet(tmp_path / "audit" / "audit_groups.parquet")
    assert rows == len(held) == len(market.tables.audit_groups)


def test_outcomes_are_there_once_however_often_they_are_sent(tmp_path: Path) -> None:
    (tmp_path / "outcomes.csv").write_text(ROWS)
    outcomes = read_outcomes(tmp_path)
    for frame in (outcomes, outcomes.iloc[::-1]):
        assert publish_outcomes(frame, str(tmp_path / "log")) == 2
    (file,) = (tmp_path / "log").iterdir()
    assert file.name.startswith("outcomes-20260209T090000-")
    assert pd.read_parquet(file)[schema.QUANTITY].tolist() == [2, 1]


def test_a_folder_without_outcomes_has_none(tmp_path: Path) -> None:
    assert read_outcomes(tmp_path).empty
    assert publish_outcomes(read_outcomes(tmp_path), str(tmp_path / "log")) == 0
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("1,1999", "-1,1999", r"outcomes.quantity: .*-1.* in 1 of 2 rows; it must be >= 0"),
        ("1,1999", "1,0", r"outcomes.price_minor: .*0.* in 1 of 2 rows; it must be > 0"),
        ("q2,", ",", r"outcomes.quote_id: .* in 1 of 2 rows; it must not be absent"),
        ("2026-02-09T10", "yesterday", "ts"),
    ],
)
def test_outcomes_that_break_the_contract_are_refused_whole(tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "outcomes.csv").write_text(ROWS.replace(old, new))
    with pytest.raises(DataError, match=said):
        read_outcomes(tmp_path / "outcomes.csv")


def test_a_store_that_nobody_knows_is_said(market: Any) -> None:
    with pytest.raises(UnavailableError, match="nosuch://bucket"):
        publish_tables(market.tables, "nosuch://bucket/tables")


def test_the_step_writes_where_it_is_told_and_nowhere_without(
    market: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from types import SimpleNamespace

    write_tables(market.tables, tmp_path / "shop")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "outcomes.csv").write_text(ROWS)
    tables = SimpleNamespace(path=tmp_path / "shop")
    publish.python_func(tables, data="", to_tables="", to_audit="", to_outcomes="")
    assert "nothing is published" in capsys.readouterr().out
    publish.python_func(
        tables,
        data=str(tmp_path / "own"),
        to_tables=str(tmp_path / "tables"),
        to_audit=str(tmp_path / "audit"),
        to_outcomes=str(tmp_path / "outcomes"),
    )
    assert {each.name for each in tmp_path.iterdir()} == {"shop", "own", "tables", "audit", "outcomes"}
    assert "2 outcomes to" in capsys.readouterr().out


def test_a_shop_publishes_its_own_files_by_command(
    market: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.cli import main

    own = tmp_path / "own"
    own.mkdir()
    for name, frame in market.tables.frames().items():
        frame.to_parquet(own / f"{name}.parquet", index=False, coerce_timestamps="us")
    (own / "outcomes.csv").write_text(ROWS)
    addresses = [f"--{name}={tmp_path / name}" for name in ("tables", "audit", "outcomes")]
    assert main(["publish", str(own), "--dataset", "parquet", *addresses]) == 0
    said = capsys.readouterr().out
    assert f"{len(market.tables.audit_groups):,} audit groups to" in said
    assert "2 outcomes to" in said
    assert len(read_tables(tmp_path / "tables").orders) == len(market.tables.orders)
    assert main(["publish", str(own / "outcomes.csv"), f"--outcomes={tmp_path / 'outcomes'}"]) == 0
    assert len(list((tmp_path / "outcomes").iterdir())) == 1, "the same outcomes are there once"
    assert main(["publish", str(own)]) == 2
