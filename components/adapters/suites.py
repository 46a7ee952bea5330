"""A table's contract as the expectations of a suite, and the columns they look at.

Great Expectations checks columns; what the contract says of a value that cannot be read, or of another table's rows, is
made a column of its own beside the table's.
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
from great_expectations.expectations.core.expect_column_values_to_not_be_null import ExpectColumnValuesToNotBeNull
from great_expectations.expectations.core.expect_compound_columns_to_be_unique import ExpectCompoundColumnsToBeUnique
from great_expectations.expectations.core.expect_table_columns_to_match_set import ExpectTableColumnsToMatchSet
from great_expectations.expectations.core.expect_table_row_count_to_be_between import ExpectTableRowCountToBeBetween
from great_expectations.expectations.expectation import Expectation

from components.adapters.validation_report import KNOWN_COLUMN, NOT_EMPTY, REQUIRED_COLUMN
from fairtag.base import schema
from fairtag.base.money import Currency
from fairtag.base.values import read_values

UNIQUE_KEY = "unique key"
REFERENCE = "exists in "  # begins the rule of a reference
CHARGED = (schema.LIST_PRICE, schema.PRICE)  # what customers pay: at least one coin
ROW = "row of the table"  # Spark has no row numbers of its own: a finding names its rows by this column
LIST_KINDS = ("ids", "numbers")
ROUNDING = 1e-9  # relative error of a coin in binary
BOUNDED_KINDS = ("money", "number", "integer", "share")


@dataclass
class Prepared:
    """A raw table beside the columns its suite looks at."""

    raw: pd.DataFrame
    columns: dict[str, pd.Series[Any]] = field(default_factory=dict)
    expectations: list[Expectation] = field(default_factory=list)

    def expect(self, kind: type[Expectation], rule: str, columns: tuple[str, ...], **kwargs: Any) -> None:
        """Add an expectation that carries the contract's rule and the columns it speaks of."""
        self.expectations.append(kind(meta={"rule": rule, "columns": list(columns)}, **kwargs))

    @property
    def frame(self) -> pd.DataFrame:
        """What the suite is run on."""
        return pd.DataFrame(self.columns, index=self.raw.index)


def prepare(
    table: schema.Table,
    raw: pd.DataFrame,
    accepted: Mapping[str, pd.DataFrame],
    *,
    numbered: bool,
    coin: Currency | None = None,
) -> Prepared:
    """The suite of a table and the columns it looks at.

    Args:
        table: The contract.
        raw: The table as given.
        accepted: Tables checked before, with the rows that were accepted: a reference must point at one of them.
        numbered: Whether rows are numbered by the column :data:`ROW`.
        coin: Currency of the shop: what customers pay is at least its smallest coin. Not checked when None.
    """
    prepared = Prepared(raw)
    if numbered:
        prepared.columns[ROW] = pd.Series(np.arange(len(raw)), index=raw.index)
    prepared.expect(ExpectTableRowCountToBeBetween, NOT_EMPTY, (), min_value=1, severity="critical")
    for name in table.required_names:
        prepared.expect(ExpectColumnToExist, REQUIRED_COLUMN, (name,), column=name, severity="critical")
    for name in map(str, raw.columns):
        if name in table.names:
            _expect_column(prepared, table.column(name))
            if coin is not None and name in CHARGED:
                _expect_coin(prepared, name, coin)
        else:
            prepared.columns[name] = raw[name].map(str)
    _expect_across(prepared, table, accepted)
    _expect_known(prepared, table)
    return prepared


def _expect_known(prepared: Prepared, table: schema.Table) -> None:
    unknown = tuple(str(name) for name in prepared.raw.columns if name not in table.names)
    prepared.expect(
        ExpectTableColumnsToMatchSet,
        KNOWN_COLUMN,
        unknown,
        column_set=[name for name in prepared.columns if name not in unknown],
        exact_match=True,
        severity="critical",
    )


def _expect_column(prepared: Prepared, column: schema.Column) -> None:
    name, given = column.name, prepared.raw[column.name]
    typed, unreadable = read_values(given, column)
    # A value that cannot be read is reported as that, not as an absent one too.
    presence = f"{name} (as given)" if bool(unreadable.any()) else name
    prepared.columns[name] = typed.map(str, na_action="ignore") if column.kind in LIST_KINDS else typed
    if presence != name:
        prepared.columns[presence] = given.map(str, na_action="ignore")
    prepared.columns[f"{name} is readable"] = ~unreadable
    prepared.expect(
        ExpectColumnValuesToBeInSet,
        f"readable as {column.kind}",
        (name,),
        column=f"{name} is readable",
        value_set=[True],
        severity="critical",
    )
    if not column.nullable:
        prepared.expect(ExpectColumnValuesToNotBeNull, "not null", (name,), column=presence, severity=column.severity)
    if column.kind in BOUNDED_KINDS and (rule := _range(column)):
        prepared.expect(
            ExpectColumnValuesToBeBetween,
            rule,
            (name,),
            column=name,
            min_value=column.minimum if column.above is None else column.above,
            strict_min=column.above is not None,
            max_value=column.maximum,
            severity=column.severity,
        )


def _expect_coin(prepared: Prepared, name: str, coin: Currency) -> None:
    """What customers pay is at least one coin: less would be rounded to nothing and given away."""
    flag = f"{name} is at least a coin"
    amount = prepared.columns[name]
    prepared.columns[flag] = ~((amount > 0) & (amount < coin.smallest * (1 - ROUNDING)))
    prepared.expect(
        ExpectColumnValuesToBeInSet,
        f">= {coin.smallest:g} {coin.code}, the smallest coin",
        (name,),
        column=flag,
        value_set=[True],
        severity="critical",
    )


def _expect_lengths(prepared: Prepared, table: schema.Table, pair: schema.SameLength) -> None:
    flag = f"{pair.second} is as long as {pair.first}"
    pairs = (prepared.raw[pair.first], prepared.raw[pair.second])
    absent = pairs[0].isna() | pairs[1].isna()  # a rule of its own
    first, second = (
        read_values(raw, table.column(name))[0] for raw, name in zip(pairs, (pair.first, pair.second), strict=True)
    )
    same = [one is None or other is None or len(one) == len(other) for one, other in zip(first, second, strict=True)]
    prepared.columns[flag] = absent | pd.Series(same, index=prepared.raw.index, dtype=bool)
    prepared.expect(
        ExpectColumnValuesToBeInSet,
        f"same length as {pair.first}",
        (pair.first, pair.second),
        column=flag,
        value_set=[True],
        severity="critical",
    )


def _range(column: schema.Column) -> str:
    low = f"> {column.above:g}" if column.above is not None else ""
    low = low or (f">= {column.minimum:g}" if column.minimum is not None else "")
    high = f"<= {column.maximum:g}" if column.maximum is not None else ""
    return " and ".join(part for part in (low, high) if part)


def _expect_across(prepared: Prepared, table: schema.Table, accepted: Mapping[str, pd.DataFrame]) -> None:
    present = set(prepared.raw.columns)
    if present.issuperset(table.key):
        prepared.expect(
            ExpectCompoundColumnsToBeUnique,
            UNIQUE_KEY,
            table.key,
            column_list=list(table.key),
            severity="critical",
        )
    for order in table.orders:
        if present.issuperset((order.smaller, order.larger)):
            prepared.expect(
                ExpectColumnPairValuesAToBeGreaterThanB,
                f"{order.smaller} <= {order.larger}",
                (order.smaller, order.larger),
                column_A=order.larger,
                column_B=order.smaller,
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                severity=order.severity,
            )
    for pair in table.lengths:
        if present.issuperset((pair.first, pair.second)):
            _expect_lengths(prepared, table, pair)
    for reference in table.references:
        if reference.column in present:
            _expect_reference(prepared, reference, accepted.get(reference.table, pd.DataFrame()))


def _expect_reference(prepared: Prepared, reference: schema.Reference, target: pd.DataFrame) -> None:
    # The other table's keys stay out of the suite: thousands of them would make its page unreadable.
    flag = f"{reference.column} is in {reference.table}"
    key = schema.table(reference.table).key[0]
    known = target[key].map(str, na_action="ignore") if key in target else pd.Series(dtype=object)
    values = prepared.columns[reference.column]
    prepared.columns[flag] = values.isin(known) | values.isna()
    prepared.expect(
        ExpectColumnValuesToBeInSet,
        f"{REFERENCE}{reference.table}",
        (reference.column,),
        column=flag,
        value_set=[True],
        severity=reference.severity,
    )
