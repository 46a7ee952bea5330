"""Each way a table can be broken is planted once and must be caught by table, column, rule, count and examples."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.adapters.validation_report import Finding, ValidationReport
from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.money import Currency, currency

Frames = dict[str, pd.DataFrame]


def validate_tables(
    frames: Frames, out: Path, *, max_quarantined: float = 0.05, coin: Currency | None = None
) -> tuple[Frames, ValidationReport]:
    # The library warns while it is imported; in a test its exceptions hold, at collection they would not.
    from components.adapters import great_expectations

    return great_expectations.validate_tables(frames, out, max_quarantined=max_quarantined, coin=coin)


def _check(frames: Frames, out: Path) -> tuple[Frames, ValidationReport]:
    return validate_tables(frames, out / "validation")


def _quietly(frames: Frames, out: Path, **options: Any) -> tuple[Frames, ValidationReport]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a module fixture stands outside the tests' own exceptions
        return validate_tables(frames, out, **options)


Validated = tuple[Frames, Frames, ValidationReport, Path]  # given, accepted, report, folder


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory, make_shop: Callable[..., Frames]) -> Validated:
    """A shop that keeps every rule."""
    frames, out = make_shop(), tmp_path_factory.mktemp("valid") / "validation"
    given = {name: frame.copy(deep=True) for name, frame in frames.items()}
    return (given, *_quietly(frames, out), out)


def _finding(report: ValidationReport, table: str, column: str, rule: str) -> Finding:
    found = [f for f in report.table(table).findings if f.rule == rule and f.column == column]
    assert found, f"{table}.{column} '{rule}' not among {[(f.column, f.rule) for f in report.table(table).findings]}"
    return found[0]


def test_tables_that_keep_every_rule_pass_whole_and_unchanged(valid: Validated) -> None:
    frames, accepted, report, _ = valid
    assert [t.status for t in report.tables] == ["pass"] * 6
    report.require_accepted()
    for name, frame in frames.items():
        pd.testing.assert_frame_equal(accepted[name], frame)
    assert all(t.checks > 5 for t in report.tables)


def _set(frames: Frames, table: str, column: str, *values: Any, row: int = 0) -> None:
    frame = frames[table]
    if any(isinstance(v, str) for v in values) or frame[column].dtype.kind in "bi":
        frame[column] = frame[column].astype(object)
    for offset, value in enumerate(values):
        frame.at[row + offset, column] = value


BROKEN_ROWS = [
    ("items", "list_price", "not null", (np.nan,)),
    ("items", "title", "not null", (None,)),
    ("items", "unit_cost", "readable as money", ("abc", "12,50")),
    ("items", "list_price", "readable as money", (np.inf,)),
    ("items", "updated_at", "readable as time", ("yesterday-ish",)),
    ("items", "item_id", "readable as id", ("a\nb",)),
    ("items", "item_id", "not null", ("  ",)),
    ("items", "list_price", "> 0", (0.0, -4.0)),
    ("items", "stock", ">= 0", (-1,)),
    ("users", "promotion_response", ">= 0 and <= 1", (1.5,)),
    ("users", "history_items", "readable as ids", ("i0,i1",)),
    ("users", "history_age_days", "readable as numbers", (["two"],)),
    ("users", "history_items", "not null", (None,)),
    ("impressions", "quantity", "readable as integer", (1.5,)),
    ("impressions", "rank", ">= 1", (0,)),
    ("impressions", "purchased", "readable as flag", ("maybe",)),
    ("impressions", "propensity", "> 0 and <= 1", (0.0, 1.01)),
    ("impressions", "item_id", "exists in items", ("gone",)),
    ("orders", "quantity", "> 0", (0.0,)),
    ("judgements", "relevance", ">= 0 and <= 1", (3.0,)),
    ("audit_groups", "group", "not null", (None,)),
]
TOLD_ROWS = [
    ("items", "unit_cost, list_price", "unit_cost <= list_price", "unit_cost", 3),  # and the two list prices <= 0
    ("items", "map_price, list_price", "map_price <= list_price", "map_price", 1),
    ("items", "list_price, msrp", "list_price <= msrp", "list_price", 1),
    ("impressions", "price, list_price", "price <= list_price", "price", 1),
    ("orders", "user_id", "exists in users", "user_id", 1),
]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, make_shop: Callable[..., Frames]) -> Validated:
    """One shop with every defect planted, each in rows of its own that nothing else refers to."""
    frames, out = make_shop(items=120, users=120), tmp_path_factory.mktemp("broken") / "validation"
    for number, (table, column, _, values) in enumerate(BROKEN_ROWS):
        _set(frames, table, column, *values, row=60 + 2 * number if table in ("items", "users") else 2 * number)
    for number, (table, _, _, column, _) in enumerate(TOLD_ROWS):
        _set(
            frames,
            table,
            column,
            "stranger" if column == "user_id" else 999.0,
            row=110 + 2 * number - 75 * (table == "orders"),
        )
    return (frames, *_quietly(frames, out, max_quarantined=0.2), out)


@pytest.mark.parametrize(("table", "column", "rule", "values"), BROKEN_ROWS, ids=lambda v: str(v)[:24])
def test_rows_that_break_a_critical_rule_are_set_aside_counted_and_shown(
    broken: Validated, table: str, column: str, rule: str, values: tuple[Any, ...]
) -> None:
    _, accepted, report, out = broken
    finding = _finding(report, table, column, rule)
    assert (finding.severity, finding.count, len(finding.examples)) == ("critical", len(values), len(values))
    assert all(column in example for example in finding.examples)
    kept = pd.read_parquet(out / "quarantine" / f"{table}.parquet")
    assert kept["broken_rules"].str.contains(f"{column}: {rule}", regex=False).sum() == len(values)
    outcome = report.table(table)
    assert outcome.status == "quarantined"
    assert len(accepted[table]) + len(kept) == outcome.rows


@pytest.mark.parametrize(("table", "column", "rule", "_planted", "count"), TOLD_ROWS, ids=lambda v: str(v)[:24])
def test_a_warning_is_told_and_keeps_the_row(
    broken: Validated, table: str, column: str, rule: str, _planted: str, count: int
) -> None:
    _, _, report, _ = broken
    finding = _finding(report, table, column, rule)
    assert (finding.severity, finding.count) == ("warning", count)


def test_only_what_was_planted_is_found(broken: Validated) -> None:
    _, _, report, _ = broken
    found = {(f.table, f.column, f.rule) for t in report.tables for f in t.findings}
    follows = {("audit_groups", "user_id", "exists in users")}  # groups of the users that were set aside
    assert found == {row[:3] for row in (*BROKEN_ROWS, *TOLD_ROWS)} | follows


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, make_shop: Callable[..., Frames]) -> Validated:
    """A shop whose tables have one defect each; none reaches into another table's test."""
    frames, out = make_shop(), tmp_path_factory.mktemp("several") / "validation"
    _set(frames, "items", "unit_cost", "abc")
    frames["items"] = frames["items"].drop(columns=["map_price", "msrp"])
    contradicting = frames["users"].iloc[[1]].assign(spend_90d=1e6)
    frames["users"] = pd.concat([frames["users"], frames["users"].iloc[[0]], contradicting])
    del frames["judgements"], frames["orders"]
    return (frames, *_quietly(frames, out, max_quarantined=0.2), out)


@pytest.mark.slow
def test_a_value_that_cannot_be_read_is_not_reported_as_absent_too(several: Validated) -> None:
    _, _, report, _ = several
    assert [(f.column, f.rule) for f in report.table("items").findings] == [("unit_cost", "readable as money")]
    assert report.table("items").findings[0].examples[0]["unit_cost"] == "abc"


@pytest.mark.slow
def test_an_absent_optional_column_is_no_finding(several: Validated) -> None:
    frames, _, report, _ = several
    assert not {"map_price", "msrp"} & set(frames["items"].columns)
    findings = report.table("items").findings
    assert not {"map_price", "msrp"} & {name for f in findings for name in f.column.split(", ")}
    assert not report.table("items").block


@pytest.mark.slow
def test_of_exact_copies_one_stays_and_of_rows_that_contradict_each_other_none(several: Validated) -> None:
    _, accepted, report, _ = several
    assert _finding(report, "users", "user_id, updated_at", "unique key").count == 4
    assert report.table("users").quarantined == 3
    left = accepted["users"]["user_id"].value_counts()
    assert (left["u0"], "u1" in left) == (1, False)


@pytest.mark.slow
def test_what_refers_to_a_row_that_was_set_aside_is_set_aside_too(several: Validated) -> None:
    _, accepted, report, _ = several
    assert "i0" not in set(accepted["items"]["item_id"])
    assert "i0" not in set(accepted["impressions"]["item_id"])
    assert (
        _finding(report, "impressions", "item_id", "exists in items").count == report.table("impressions").quarantined
    )


@pytest.mark.slow
def test_a_table_that_the_shop_does_not_have_is_not_checked(several: Validated) -> None:
    _, accepted, report, _ = several
    assert not report.blocked
    assert "orders" not in accepted


@pytest.mark.slow
def test_a_missing_column_refuses_the_table(frames: Frames, tmp_path: Path) -> None:
    frames["items"] = frames["items"].drop(columns="list_price")
    _, report = _check(frames, tmp_path)
    with pytest.raises(MissingDataError, match=r"items: column list_price is missing") as caught:
        report.require_accepted()
    assert (caught.value.table, caught.value.column, caught.value.rule) == ("items", "list_price", "required column")


@pytest.mark.slow
def test_a_column_outside_the_contract_refuses_the_table(frames: Frames, tmp_path: Path) -> None:
    frames["users"]["religion"] = "secret"
    with pytest.raises(DataError, match=r"users: column religion is not in the contract"):
        _check(frames, tmp_path)[1].require_accepted()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, make_shop: Callable[..., Frames]) -> ValidationReport:
    """The report about a shop whose catalogue holds no row, nor two other tables."""
    frames = make_shop()
    emptied = {name: frames[name].iloc[:0] for name in ("items", "users", "orders")}
    return _quietly({**frames, **emptied}, tmp_path_factory.mktemp("empty") / "validation")[1]


@pytest.mark.slow
def test_an_empty_catalogue_is_refused_and_any_other_empty_table_counts_as_absent(empty: ValidationReport) -> None:
    assert "the table is empty" in empty.table("items").block
    assert not {"users", "orders"} & {table.table for table in empty.tables}


@pytest.mark.slow
def test_a_catalogue_without_times_may_have_each_item_once(frames: Frames, tmp_path: Path) -> None:
    items = frames["items"].drop(columns="updated_at")
    items.loc[1, "item_id"] = items.loc[0, "item_id"]
    _, report = _check({"items": items}, tmp_path)
    assert _finding(report, "items", "item_id", "unique key").count == 2


@pytest.mark.slow
def test_customers_are_not_looked_for_where_the_shop_has_no_table_of_them(frames: Frames, tmp_path: Path) -> None:
    accepted, report = _check({name: frames[name] for name in ("items", "orders")}, tmp_path)
    assert not report.blocked
    assert len(accepted["orders"]) == len(frames["orders"])
    assert all("users" not in finding.rule for finding in report.table("orders").findings)


@pytest.mark.slow
def test_more_bad_rows_than_the_stated_share_refuse_the_table(frames: Frames, tmp_path: Path) -> None:
    _set(frames, "items", "unit_cost", -1.0, -2.0, -3.0)  # 3 of 40 rows, over 5 %
    accepted, report = _check(frames, tmp_path)
    with pytest.raises(DataError, match=r"3 of 40 rows .* '>= 0' of unit_cost") as caught:
        report.require_accepted()
    assert (caught.value.count, len(caught.value.examples)) == (3, 3)
    assert len(pd.read_parquet(tmp_path / "validation" / "quarantine" / "items.parquet")) == 3
    assert len(accepted["items"]) == 37


@pytest.mark.slow
def test_a_mistake_made_on_every_page_refuses_the_table_although_it_hits_few_rows(
    make_shop: Callable[..., Frames], tmp_path: Path
) -> None:
    frames = make_shop(pages=60)
    frames["impressions"]["rank"] -= 1  # counted from 0: the first item of every page
    _, report = validate_tables(frames, tmp_path / "v", max_quarantined=0.5)
    with pytest.raises(DataError, match=r"rank breaks '>= 1' in 60 of 60 values of page_id.*made throughout"):
        report.require_accepted()


def test_two_items_at_one_place_of_a_page_are_told_and_stay(make_shop: Callable[..., Frames], tmp_path: Path) -> None:
    frames = make_shop()
    frames["impressions"]["rank"] = 1
    _, report = _check(frames, tmp_path)
    finding = _finding(report, "impressions", "rank, page_id", "each value once in a page_id")
    assert (finding.severity, finding.count) == ("warning", len(frames["impressions"]))
    assert report.table("impressions").block == ""


@pytest.mark.parametrize("table", ["impressions", "orders"])
def test_prices_in_cents_beside_a_catalogue_in_euros_refuse_the_table(
    make_shop: Callable[..., Frames], tmp_path: Path, table: str
) -> None:
    frames = make_shop()
    for name in {"price", "list_price"} & set(frames[table]):
        frames[table][name] *= 100
    _, report = _check(frames, tmp_path)
    with pytest.raises(
        DataError,
        match=rf"{table}: .*price is .* times the list price in items, at the median: one of them is in cents",
    ):
        report.require_accepted()


def test_a_time_from_before_there_were_shops_on_the_web_is_set_aside(
    make_shop: Callable[..., Frames], tmp_path: Path
) -> None:
    frames = make_shop()
    frames["orders"]["ts"] = pd.to_datetime(range(len(frames["orders"])), unit="s", utc=True)
    _, report = _check(frames, tmp_path)
    finding = _finding(report, "orders", "ts", "1980 or later")
    assert finding.count == len(frames["orders"])
    with pytest.raises(DataError, match="1980 or later"):
        report.require_accepted()


@pytest.mark.slow
def test_one_kind_of_mistake_in_many_rows_refuses_the_table(make_shop: Callable[..., Frames], tmp_path: Path) -> None:
    frames = make_shop(pages=400)
    _set(frames, "orders", "ts", *["05/07/2025"] * 12)
    _, report = validate_tables(frames, tmp_path / "v")  # 3 %, under the share that refuses a table
    with pytest.raises(DataError, match=r"ts breaks 'readable as time' in 12 of 400 rows.*made throughout"):
        report.require_accepted()


@pytest.mark.slow
def test_broken_rows_of_several_kinds_are_set_aside(make_shop: Callable[..., Frames], tmp_path: Path) -> None:
    frames = make_shop(pages=400)
    _set(frames, "orders", "ts", *["05/07/2025"] * 6)
    _set(frames, "orders", "quantity", *[-1.0] * 6, row=20)
    _, report = validate_tables(frames, tmp_path / "v")
    assert (report.table("orders").block, report.table("orders").quarantined) == ("", 12)


@pytest.mark.slow
def test_users_that_are_nearly_all_unknown_refuse_the_table(frames: Frames, tmp_path: Path) -> None:
    frames["impressions"]["user_id"] = "guest-" + frames["impressions"]["user_id"].astype(str)
    _, report = _check(frames, tmp_path)
    with pytest.raises(DataError, match=r"user_id breaks 'exists in users' in 200 of 200 rows"):
        report.require_accepted()


@pytest.mark.slow
def test_histories_whose_lists_differ_in_length_are_set_aside(frames: Frames, tmp_path: Path) -> None:
    frames["users"].at[3, "history_age_days"] = [1.0]
    accepted, report = _check(frames, tmp_path)
    finding = _finding(report, "users", "history_items, history_age_days", "same length as history_items")
    assert (finding.count, finding.severity) == (1, "critical")
    assert "u3" not in set(accepted["users"]["user_id"])


@pytest.mark.parametrize(("code", "price", "refused"), [("USD", 0.004, True), ("USD", 0.01, False), ("JPY", 0.5, True)])
@pytest.mark.slow
def test_a_price_below_the_smallest_coin_is_set_aside_by_name(
    frames: Frames, tmp_path: Path, code: str, price: float, refused: bool
) -> None:
    frames = {name: frames[name] for name in ("items", "users", "impressions", "orders")}
    _set(frames, "items", "list_price", price)
    _, report = validate_tables(frames, tmp_path / "v", max_quarantined=1.0, coin=currency(code))
    rules = {finding.rule: finding for finding in report.table("items").findings}
    rule = f">= {currency(code).smallest:g} {code}, the smallest coin"
    assert (rule in rules) is refused
    if refused:
        assert rules[rule].examples[0]["item_id"] == "i0"


def test_a_price_that_no_whole_number_of_coins_holds_is_set_aside(tmp_path: Path) -> None:
    _, report = validate_tables(_catalogue([1e300, 9e13, 9.1e13] + [5.0] * 60), tmp_path / "v", coin=currency("USD"))
    finding = _finding(report, "items", "list_price", "at most 2^53 coins of 0.01 USD")
    assert (finding.count, finding.severity, finding.rows) == (2, "critical", (1, 3))


def _catalogue(prices: list[float]) -> Frames:
    ids = [f"i{n}" for n in range(len(prices))]
    return {"items": pd.DataFrame({"item_id": ids, "title": ids, "list_price": prices})}


@pytest.mark.parametrize(
    ("code", "prices", "count"),
    [
        ("JPY", [10.5, 120, 80, 400], 1),
        ("USD", [10.505, 1.2, 0.1 + 0.2, 1_250_000.15], 1),
        ("KWD", [1.2345, 1.234, 2, 3], 1),
        ("JPY", [1_250_000_000.5, 2, 3, 4], 1),
        ("JPY", [890.909, 980.1818, 1200.55, 400], 3),  # net prices, finer than the coins of any currency
    ],
)
def test_a_price_with_decimals_that_its_currency_lacks_is_told_and_stays(
    code: str, prices: list[float], count: int, tmp_path: Path
) -> None:
    accepted, report = validate_tables(_catalogue(prices), tmp_path / "v", coin=currency(code))
    rule = f"whole coins: multiples of {currency(code).smallest:g} {code}"
    finding = _finding(report, "items", "list_price", rule)
    assert (finding.count, finding.severity, len(accepted["items"])) == (count, "warning", len(prices))
    assert finding.examples[0]["list_price"] == prices[0]
    assert not report.blocked


@pytest.mark.parametrize(("code", "prices", "places"), [("JPY", [9.99, 12.5, 120], 2), ("EUR", [1.234, 0.125, 2], 3)])
def test_list_prices_with_the_decimals_of_another_currency_refuse_the_catalogue(
    code: str, prices: list[float], places: int, tmp_path: Path
) -> None:
    _, report = validate_tables(_catalogue(prices), tmp_path / "v", coin=currency(code))
    with pytest.raises(DataError, match=rf"up to {places} decimal places.*{code} has.*metadata\.json"):
        report.require_accepted()


def test_the_page_reads_offline_and_the_tools_own_pages_are_kept(broken: Validated) -> None:
    _, _, report, out = broken
    page = (out / "report.html").read_text()
    assert "http" not in page
    assert "<td>title</td><td>not null</td>" in page
    assert (out / "docs" / "index.html").is_file()
    written = json.loads((out / "report.json").read_text())
    assert [t["status"] for t in written["tables"]] == [t.status for t in report.tables]


def test_a_weight_is_of_a_page_and_a_quantity_of_a_purchase(frames: Frames, tmp_path: Path) -> None:
    from components.adapters.remedies import remedy

    impressions = frames["impressions"]
    kept, apart, negative = (slice(4 * page, 4 * page + 4) for page in (0, 1, 2))
    impressions.loc[impressions.index[apart], "weight"] = [1.0, 1.0, 5.0, 1.0]
    impressions.loc[impressions.index[negative], "weight"] = -2.0
    impressions.loc[impressions.index[kept], "quantity"] = 1 - impressions["purchased"][kept].astype(int)
    accepted, report = _quietly({**frames, "impressions": impressions}, tmp_path / "validation", max_quarantined=0.2)
    found = {(each.column, each.rule): each for each in report.table("impressions").findings}
    assert found["weight", "one value for each page_id"].count == 4
    assert found["weight", ">= 0"].count == 4
    assert found["purchased, quantity", "purchased where quantity > 0"].count == 4
    assert {"p1", "p2"}.isdisjoint(accepted["impressions"]["page_id"])
    assert "p0" in set(accepted["impressions"]["page_id"])
    assert "on all rows of a page" in remedy(found["weight", "one value for each page_id"])
    assert "0 elsewhere" in remedy(found["purchased, quantity", "purchased where quantity > 0"])


def test_a_run_that_refuses_a_column_says_what_may_be_done_about_it(frames: Frames, tmp_path: Path) -> None:
    impressions = frames["impressions"]
    for column, said in (
        ("x_income", "drop the column: x_income names income, and a protected attribute may never reach a price"),
        ("colour", "drop the column, or give it one of the names page_id"),
    ):
        _, report = _check({**frames, "impressions": impressions.assign(**{column: 1.0})}, tmp_path / column)
        with pytest.raises(DataError, match=f"column {column} is not in the contract; {said}"):
            report.require_accepted()


def test_every_rule_of_the_contract_has_a_check(valid: Validated) -> None:
    _, _, report, _ = valid
    for table in schema.TABLES:
        bounded = sum(c.minimum is not None or c.above is not None or c.maximum is not None for c in table.columns)
        expected = (
            3  # rows, known columns, unique key
            + len(table.required_names)
            + len(table.columns)  # readable
            + sum(not c.nullable for c in table.columns)
            + bounded
            + len(table.orders)
            + len(table.references)
            + len(table.lengths)
            + len(table.together)
            + len(table.same)
            + len(table.once)
            + sum(c.kind == "time" for c in table.columns)  # not before there were shops
        )
        assert report.table(table.name).checks == expected
