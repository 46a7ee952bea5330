"""Turns a table's contract into the expectations of a suite and the columns that they check.

Great Expectations checks columns. What the contract says about unreadable values, or about rows of another table,
becomes a column of its own beside those of the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from great_expectations.expectations.core.expect_column_pair_values_a_to_be_greater_than_b import (
    ExpectColumnPairValuesAToBeGreaterThanB,
)
from great_expectations.expectations.core.expect_column_to_exist import ExpectColumnToExist
from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
from great_expectations.expectations.core.expect_column_values_to_be_in_set import ExpectColumnValuesToBeInSet
from great_expectations.expectations.core.expect_column_values_to_be_unique import ExpectColumnValuesToBeUnique
from great_expectations.expectations.core.expect_column_values_to_not_be_null import ExpectColumnValuesToNotBeNull
from great_expectations.expectations.core.expect_compound_columns_to_be_unique import ExpectCompoundColumnsToBeUnique
from great_expectations.expectations.core.expect_table_columns_to_match_set import ExpectTableColumnsToMatchSet
from great_expectations.expectations.core.expect_table_row_count_to_be_between import ExpectTableRowCountToBeBetween
from great_expectations.expectations.expectation import Expectation

from components.adapters.validation_report import KNOWN_COLUMN, NOT_EMPTY, REQUIRED_COLUMN
from fairtag.base import schema
from fairtag.base.money import Currency
from fairtag.base.values import EXACT_INTEGER, present, read_values
from fairtag.fairness.forbidden import forbidden_attribute

UNIQUE_KEY = "unique key"
REFERENCE = "exists in "  # begins the rule of a reference
CHARGED = (schema.LIST_PRICE, schema.PRICE)  # what customers pay: at least one coin
WHOLE_COINS = "whole coins: multiples of "  # begins the rule of a price that anyone is asked for
ASKED = (schema.LIST_PRICE, schema.MAP_PRICE, schema.MSRP)  # of items; a cost or a mean price of an order may be finer
NOT_BEFORE = "1980 or later"  # rule of a time
IN_ONE_UNIT = "in the unit of the catalogue's list prices"
ONE_VALUE = "one value for each "  # begins the rule of a column that is about a page and not a row
ONCE = "each value once in a "  # begins the rule of a place on a page
ROW = "row of the table"  # Spark has no row numbers; a finding names its rows by this column
LIST_KINDS = ("ids", "numbers")
ROUNDING = 1e-9  # relative error of a coin in binary
COIN_ERROR = 1e-6  # of a coin: what sums of binary fractions are off by
FLOAT_ERROR = 1e-12  # of the amount: a float64 holds about 15 digits
EARLIEST = pd.Timestamp("1980-01-01", tz="UTC")  # no shop's log is older: such a time is a number in another unit
BOUNDED_KINDS = ("money", "number", "integer", "share")


@dataclass
class Suite:
    """A raw table, the columns that its suite checks, and the expectations."""

    raw: pd.DataFrame
    columns: dict[str, pd.Series[Any]] = field(default_factory=dict)
    expectations: list[Expectation] = field(default_factory=list)

    def expect(self, kind: type[Expectation], rule: str, columns: tuple[str, ...], **kwargs: Any) -> None:
        """Add an expectation with the contract's rule and the columns that it is about."""
        self.expectations.append(kind(meta={"rule": rule, "columns": list(columns)}, **kwargs))

    def expect_each(
        self,
        flag: str,
        holds: pd.Series[bool],
        rule: str,
        columns: tuple[str, ...],
        severity: schema.Severity = "critical",
    ) -> None:
        """Expect what was worked out row by row, under the name of a column that the table does not have."""
        self.columns[flag] = holds
        self.expect(ExpectColumnValuesToBeInSet, rule, columns, column=flag, value_set=[True], severity=severity)

    @property
    def frame(self) -> pd.DataFrame:
        """The data frame that the suite runs on."""
        return pd.DataFrame(self.columns, index=self.raw.index)


def make_suite(
    table: schema.Table,
    raw: pd.DataFrame,
    accepted: Mapping[str, pd.DataFrame],
    *,
    numbered: bool,
    coin: Currency | None = None,
) -> Suite:
    """The suite of a table and the columns that it checks.

    Args:
        table: The contract.
        raw: The table as given.
        accepted: Accepted rows of the tables that were checked before; a reference must point to one of them.
        numbered: Whether the column :data:`ROW` numbers the rows.
        coin: Currency of the shop: what customers pay is at least its smallest coin. Not checked when None.
    """
    table = table.with_own(name for name in map(str, raw.columns) if forbidden_attribute(name) is None)
    suite = Suite(raw)
    if numbered:
        suite.columns[ROW] = pd.Series(np.arange(len(raw)), index=raw.index)
    suite.expect(ExpectTableRowCountToBeBetween, NOT_EMPTY, (), min_value=1, severity="critical")
    for name in table.required_names:
        suite.expect(ExpectColumnToExist, REQUIRED_COLUMN, (name,), column=name, severity="critical")
    for name in map(str, raw.columns):
        if name in table.names:
            _expect_column(suite, table.column(name))
            if coin is not None and name in CHARGED:
                _expect_coin(suite, name, coin)
                _expect_payable(suite, name, coin)
            if coin is not None and table is schema.ITEMS and name in ASKED:
                _expect_whole_coins(suite, name, coin)
        else:
            suite.columns[name] = raw[name].map(str)
    _expect_across(suite, table, accepted)
    _expect_known(suite, table)
    return suite


def _expect_known(suite: Suite, table: schema.Table) -> None:
    unknown = tuple(str(name) for name in suite.raw.columns if name not in table.names)
    suite.expect(
        ExpectTableColumnsToMatchSet,
        KNOWN_COLUMN,
        unknown,
        column_set=[name for name in suite.columns if name not in unknown],
        exact_match=True,
        severity="critical",
    )


def _expect_column(suite: Suite, column: schema.Column) -> None:
    name, given = column.name, suite.raw[column.name]
    typed, unreadable = read_values(given, column)
    # An unreadable value is reported as unreadable, and not as absent as well.
    presence = f"{name} (as given)" if bool(unreadable.any()) else name
    suite.columns[name] = typed.map(str, na_action="ignore") if column.kind in LIST_KINDS else typed
    if presence != name:
        suite.columns[presence] = given.where(present(given)).map(str, na_action="ignore")
    suite.expect_each(f"{name} is readable", ~unreadable, f"readable as {column.kind}", (name,))
    if column.kind == "time":
        suite.expect_each(f"{name} is of a shop", typed.isna() | (typed >= EARLIEST), NOT_BEFORE, (name,))
    if not column.nullable:
        suite.expect(ExpectColumnValuesToNotBeNull, "not null", (name,), column=presence, severity=column.severity)
    if column.kind in BOUNDED_KINDS and (rule := _range(column)):
        suite.expect(
            ExpectColumnValuesToBeBetween,
            rule,
            (name,),
            column=name,
            min_value=column.minimum if column.above is None else column.above,
            strict_min=column.above is not None,
            max_value=column.maximum,
            severity=column.severity,
        )


def _expect_coin(suite: Suite, name: str, coin: Currency) -> None:
    """What customers pay is at least one coin: less would be rounded to nothing and given away."""
    flag = f"{name} is at least a coin"
    amount = suite.columns[name]
    suite.expect_each(
        flag,
        ~_below_a_coin(amount, coin),
        f">= {coin.smallest:g} {coin.code}, the smallest coin",
        (name,),
    )


def _below_a_coin(amount: pd.Series[Any], coin: Currency) -> pd.Series[bool]:
    below: pd.Series[bool] = (amount > 0) & (amount < coin.smallest * (1 - ROUNDING))
    return below


def _expect_payable(suite: Suite, name: str, coin: Currency) -> None:
    """What customers pay fits the whole numbers in which it leaves, in JSON as elsewhere."""
    flag = f"{name} is payable"
    suite.expect_each(
        flag,
        ~(suite.columns[name] * coin.minor_per_unit > EXACT_INTEGER),
        f"at most 2^53 coins of {coin.smallest:g} {coin.code}",
        (name,),
    )


def _expect_whole_coins(suite: Suite, name: str, coin: Currency) -> None:
    """What anyone is asked for can be paid in coins: 10.5 yen can not."""
    flag, amount = f"{name} is of whole coins", suite.columns[name]
    suite.expect_each(
        flag,
        amount.isna() | _below_a_coin(amount, coin) | are_whole_coins(amount, coin.exponent),
        f"{WHOLE_COINS}{coin.smallest:g} {coin.code}",
        (name,),
        "warning",
    )


def are_whole_coins(amounts: pd.Series[Any], exponent: int) -> pd.Series[bool]:
    """Which amounts, in currency units, have no more decimal places than a currency has.

    >>> are_whole_coins(pd.Series([10.5, 12.0]), 0).tolist(), are_whole_coins(pd.Series([10.5, 0.1 + 0.2]), 2).tolist()
    ([False, True], [True, True])
    """
    coins = amounts * 10.0**exponent
    whole: pd.Series[bool] = (coins - coins.round()).abs() <= COIN_ERROR + FLOAT_ERROR * coins.abs()
    return whole


def _expect_lengths(suite: Suite, table: schema.Table, pair: schema.SameLength) -> None:
    flag = f"{pair.second} is as long as {pair.first}"
    pairs = (suite.raw[pair.first], suite.raw[pair.second])
    absent = pairs[0].isna() | pairs[1].isna()  # a rule of its own
    first, second = (
        read_values(raw, table.column(name))[0] for raw, name in zip(pairs, (pair.first, pair.second), strict=True)
    )
    same = [one is None or other is None or len(one) == len(other) for one, other in zip(first, second, strict=True)]
    holds = absent | pd.Series(same, index=suite.raw.index, dtype=bool)
    suite.expect_each(flag, holds, f"same length as {pair.first}", (pair.first, pair.second))


def _expect_same(suite: Suite, same: schema.SameWithin) -> None:
    flag = f"{same.column} is that of its {same.group}"
    values, groups = suite.columns[same.column], suite.columns[same.group]
    distinct = values.groupby(groups).transform("nunique")
    suite.expect_each(flag, ~(distinct > 1), f"{ONE_VALUE}{same.group}", (same.column,))


def _expect_once(suite: Suite, once: schema.OnceWithin) -> None:
    values, groups = suite.columns[once.column], suite.columns[once.group]
    holds = ~pd.DataFrame({"value": values, "group": groups}).duplicated(keep=False) | values.isna()
    rule = f"{ONCE}{once.group}"
    suite.expect_each(f"{once.column} once in its {once.group}", holds, rule, (once.column, once.group), once.severity)


def _expect_together(suite: Suite, both: schema.Together) -> None:
    flag = f"{both.flag} agrees with {both.number}"
    holds, number = suite.columns[both.flag], suite.columns[both.number]
    unknown = holds.isna() | number.isna()  # a rule of its own
    agrees = holds.astype("boolean").fillna(value=False) == (number > 0)
    rule, columns = f"{both.flag} where {both.number} > 0", (both.flag, both.number)
    suite.expect_each(flag, (unknown | agrees).astype(bool), rule, columns, both.severity)


def _range(column: schema.Column) -> str:
    low = f"> {column.above:g}" if column.above is not None else ""
    low = low or (f">= {column.minimum:g}" if column.minimum is not None else "")
    high = f"<= {column.maximum:g}" if column.maximum is not None else ""
    return " and ".join(part for part in (low, high) if part)


def _expect_across(suite: Suite, table: schema.Table, accepted: Mapping[str, pd.DataFrame]) -> None:
    present = set(suite.raw.columns)
    key = tuple(name for name in table.key if name in present)  # items without times have one row each
    if present.issuperset(name for name in table.key if table.column(name).required):
        suite.expect(
            ExpectCompoundColumnsToBeUnique if len(key) > 1 else ExpectColumnValuesToBeUnique,
            UNIQUE_KEY,
            key,
            severity="critical",
            **(
                {"column_list": list(key), "ignore_row_if": "any_value_is_missing"}
                if len(key) > 1
                else {"column": key[0]}
            ),
        )
    for order in table.orders:
        if present.issuperset((order.smaller, order.larger)):
            suite.expect(
                ExpectColumnPairValuesAToBeGreaterThanB,
                f"{order.smaller} <= {order.larger}",
                (order.smaller, order.larger),
                column_A=order.larger,
                column_B=order.smaller,
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                severity=order.severity,
            )
    _expect_within(suite, table)
    for reference in table.references:
        target = accepted.get(reference.table)
        if reference.column in present and target is not None:  # customers are derived where the shop has no table
            _expect_reference(suite, reference, target)


def _expect_within(suite: Suite, table: schema.Table) -> None:
    """The rules for two columns of a row, and for the rows of a group, where the table has both columns."""
    present = set(suite.raw.columns)
    for same in table.same:
        if present.issuperset((same.column, same.group)):
            _expect_same(suite, same)
    for once in table.once:
        if present.issuperset((once.column, once.group)):
            _expect_once(suite, once)
    for both in table.together:
        if present.issuperset((both.flag, both.number)):
            _expect_together(suite, both)
    for pair in table.lengths:
        if present.issuperset((pair.first, pair.second)):
            _expect_lengths(suite, table, pair)


def _expect_reference(suite: Suite, reference: schema.Reference, target: pd.DataFrame) -> None:
    # The other table's keys stay out of the suite: thousands of them would make its page unreadable.
    flag = f"{reference.column} is in {reference.table}"
    key = schema.table(reference.table).key[0]
    known = target[key].map(str, na_action="ignore") if key in target else pd.Series(dtype=object)
    values = suite.columns[reference.column]
    suite.expect_each(
        flag,
        values.isin(known) | values.isna(),
        f"{REFERENCE}{reference.table}",
        (reference.column,),
        reference.severity,
    )
