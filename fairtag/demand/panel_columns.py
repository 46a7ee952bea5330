"""The columns of a researcher's table: what they must hold, and what is said of a table that holds something else.

>>> numbers(pd.DataFrame({"price": ["$1.10", "$2.00"]}), ["price"])
Traceback (most recent call last):
    ...
fairtag.base.errors.DataError: panel: price: 2 values such as ['$1.10', '$2.00'] are no numbers; write digits ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base.errors import DataError
from fairtag.demand.choices import Floats, Ints

SAME = 1e-9  # relative difference of a ratio below which two columns are one
MOST_LEVELS = 300  # of an effect of a nested logit: a fit of 1,200 pages then takes 6 s


def require_columns(table: pd.DataFrame, roles: Mapping[str, Sequence[str]]) -> None:
    """Refuse a table that lacks a column or has it twice, and a column that would stand on both sides.

    Args:
        table: The table.
        roles: Names of columns by what they are used as: ``price``, ``covariates``, ...

    Raises:
        DataError: So.
    """
    named = [name for columns in roles.values() for name in columns]
    if absent := sorted(set(named) - set(table.columns)):
        raise DataError(
            f"panel: no column {', '.join(absent)}; the table has {', '.join(map(str, table.columns))}",
            column=absent[0],
        )
    if double := sorted({name for name in named if (table.columns == name).sum() > 1}):
        raise DataError(
            f"panel: {', '.join(double)}: the table has several columns of that name; rename all but one",
            column=double[0],
            rule="one column of a name",
        )
    of = {role: set(roles.get(role, ())) for role in ("price", "quantity", "covariates", "instruments")}
    for first, second in (
        ("price", "quantity"),
        ("price", "covariates"),
        ("price", "instruments"),
        ("quantity", "covariates"),
        ("quantity", "instruments"),
        ("covariates", "instruments"),
    ):
        if both := sorted(of[first] & of[second]):
            raise DataError(
                f"panel: {', '.join(both)} is named as {first} and as {second}; name it once: an instrument shifts the "
                "price and nothing else, a covariate shifts demand",
                column=both[0],
                rule="one role for each column",
            )


def require_labels(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse unknown values in columns that say what belongs together.

    Raises:
        DataError: So.
    """
    for name in dict.fromkeys(columns):
        if (unknown := table[name].isna()).any():
            raise DataError(
                f"panel: {name} is unknown in {int(unknown.sum()):,} rows; write one for each, its own where it shares "
                "none, or remove the pages",
                column=name,
                rule="known",
                count=int(unknown.sum()),
            )


def numbers(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Columns as float64, NaN where unknown.

    Raises:
        DataError: A value is no number.
    """
    return pd.DataFrame({name: _number(table[name]) for name in dict.fromkeys(columns)}, index=table.index)


def _number(column: pd.Series[float]) -> Floats:
    read = column
    if not pd.api.types.is_numeric_dtype(column.dtype):
        dated = pd.api.types.is_datetime64_any_dtype(column.dtype)
        read = pd.Series(np.nan, column.index) if dated else pd.to_numeric(column.astype(object), errors="coerce")
        _require_none(
            column.map(str),
            read.isna() & column.notna(),
            "are no numbers; write digits with a decimal point and no currency sign, and give texts as effects or turn "
            "them into 0 and 1",
            "numbers",
        )
    return np.asarray(read.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan))


def _require_none(column: pd.Series[Any], wrong: pd.Series[bool], said: str, rule: str) -> None:
    """Refuse values of a column that break a rule, with examples of them."""
    if wrong.any():
        examples = column[wrong].drop_duplicates().head(3).tolist()
        raise DataError(
            f"panel: {column.name}: {int(wrong.sum()):,} values such as {examples} {said}",
            column=str(column.name),
            rule=rule,
            count=int(wrong.sum()),
            examples=examples,
        )


def require_other_than_price(values: pd.DataFrame, price: str, others: Sequence[str]) -> None:
    """Refuse a column that is the price under another name, or in other units.

    Raises:
        DataError: So.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in others:
            for said, ratio in (
                ("the price", values[name].to_numpy() / values[price].to_numpy()),
                ("the log price", values[name].to_numpy() - np.log(values[price].to_numpy())),
            ):
                known = ratio[np.isfinite(ratio)]
                if known.size > 1 and np.ptp(values[name]) > 0 and np.ptp(known) <= SAME * np.abs(known).max():
                    raise DataError(
                        f"panel: {name} is {said} under another name or in other units; it tells nothing beside the "
                        "price, so leave it out",
                        column=name,
                        rule="not the price",
                    )


def copies(table: pd.DataFrame) -> pd.Series[bool]:
    """Rows that equal an earlier one in every column but those that hold lists."""
    plain = [name for name in table if not table[name].map(np.ndim).any()]
    return table.duplicated(plain)


def left_out(
    values: pd.DataFrame, positive: Sequence[str], labels: pd.DataFrame | None = None
) -> tuple[pd.Series[bool], dict[str, int]]:
    """Which rows can be used, and how many cannot by the first reason that holds.

    Args:
        values: Numbers; each must be known and finite.
        positive: Columns that must be above 0.
        labels: Further columns that must be known.
    """
    keep, reasons = pd.Series(True, index=values.index), {}
    unknown = {name: ~np.isfinite(values[name]) for name in values}
    unknown |= {} if labels is None else {name: labels[name].isna() for name in labels}
    for name, absent in unknown.items():
        wrong = keep & absent
        if wrong.any():
            reasons[f"{name} unknown"] = int(wrong.sum())
        keep &= ~wrong
    for name in positive:
        wrong = keep & ~(values[name] > 0)
        if wrong.any():
            reasons[f"{name} not above 0"] = int(wrong.sum())
        keep &= ~wrong
    return keep, reasons


def require_counts(values: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse counts below 0, as of goods that came back."""
    for name in columns:
        _require_none(
            values[name],
            values[name] < 0,
            "are below 0; a choice is made 0 times or more, so take returns off the sales of their page",
            "0 or more",
        )


def require_once(table: pd.DataFrame, page: Sequence[str]) -> None:
    """Refuse rows that stand twice: a copy would compete with its original, as a twin does."""
    if (again := copies(table)).any():
        examples = table.loc[again.to_numpy(), list(page)].head(3).to_dict("records")
        raise DataError(
            f"panel: {int(again.sum()):,} rows are copies of another row of their page, such as of {examples}; each "
            "alternative stands once on a page: remove the copies, or name the column that tells their pages apart",
            column=page[0],
            rule="no row twice",
            count=int(again.sum()),
            examples=examples,
        )


def require_few_levels(table: pd.DataFrame, effects: Sequence[str]) -> None:
    """Refuse effects with more values than can each have a utility of their own in reasonable time."""
    for name in effects:
        if (levels := table[name].nunique()) > MOST_LEVELS:
            raise DataError(
                f"panel: {name} has {levels:,} values, and a nested logit fits a utility for each of at most "
                f"{MOST_LEVELS}; group them, or leave it out: what is the same on a whole page moves only the outside "
                "option",
                column=name,
                rule=f"at most {MOST_LEVELS} values",
            )


def require_one_value(values: pd.DataFrame, code: Ints) -> None:
    """Refuse a column that is about a page and differs between its rows.

    Args:
        values: Such columns.
        code: (N,) number of each row's page.
    """
    for name in map(str, values):
        _require_none(
            values[name],
            values[name].groupby(code).transform("nunique") > 1,
            f"differ between the rows of a page; write one {name} on all rows of a page: it is that of the page",
            "one value for each page",
        )


def require_identified(
    values: pd.DataFrame, levels: pd.DataFrame, price: str, quantity: str, outside: str, covariates: Sequence[str]
) -> None:
    """Refuse counts that no logit has an optimum for.

    Args:
        values: Numbers of the panel.
        levels: Indicators of the effects, or a constant.
        price: Column of the price.
        quantity: Column of the counts.
        outside: Column of how often nothing was bought.
        covariates: Columns of covariates.
    """
    for name in (quantity, outside):
        if not values[name].any():
            raise DataError(
                f"panel: {name} is 0 in every row; both what was bought and what was not are needed: count visits "
                f"without a purchase in {outside}",
                column=name,
                rule="above 0 somewhere",
            )
    never = [str(name) for name in levels if not (levels[name] * values[quantity]).any()]
    if never:
        raise DataError(
            f"panel: {', '.join(never[:3])} {'was' if len(never) == 1 else 'were'} never bought, so that no utility is "
            "low enough; take their rows out",
            column=never[0],
            rule="bought somewhere",
            count=len(never),
        )
    beside = np.column_stack([values[list(covariates)], levels])
    own = values[price].to_numpy()
    rest = own - beside @ np.linalg.lstsq(beside, own)[0]
    if float(rest @ rest) <= SAME * float(own @ own):
        raise DataError(
            f"panel: {price} follows from effects and covariates, so nothing tells its effect from theirs; name fewer",
            column=price,
            rule="the price varies beside effects and covariates",
        )
