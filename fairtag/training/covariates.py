"""Which columns of the impressions demand may use beside the price, and why it may not use the others.

A column that follows from the price tells nothing that the price does not, and would take the price's effect away: a
``deal`` that is 1 wherever the price is below list. One that never varies tells nothing. Both are left out, and the
decision says so.

>>> pages = pd.DataFrame({"item_id": ["mug"] * 4, "price": [8.0, 9.0, 10.0, 10.0], "list_price": 10.0,
...                       "display": [1, 0, 0, 1], "ad": 0})
>>> [(found.name, found.reason) for found in judge_covariates(pages)]
[('display', ''), ('ad', 'it never varies: 0 throughout')]
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.demand.config import DemandConfig
from fairtag.demand.control_function import item_periods
from fairtag.demand.covariates import number_column
from fairtag.demand.demand_data import PERIOD_DAYS
from fairtag.demand.demand_model import DemandModel
from fairtag.fairness.forbidden import refuse_forbidden_features

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EXPLAINED = 0.99  # share of a column's variance that the price explains from which on it follows from the price
PRICES = 50  # groups of price ratios, where there are more
FREE = 10  # degrees of freedom below which it cannot be told


@dataclass(frozen=True)
class Covariate:
    """A column of the impressions that may shift demand.

    Args:
        name: The column.
        used: Whether the demand fit uses it.
        reason: Why it cannot be used, in words; empty where it can.
    """

    name: str
    used: bool
    reason: str = ""


def choose_covariates(impressions: pd.DataFrame, config: DemandConfig) -> tuple[DemandConfig, tuple[Covariate, ...]]:
    """The settings of the fit with the covariates that it uses, and what was found of each that was asked for.

    Args:
        impressions: Columns of IMPRESSIONS.
        config: Its covariates are names, or None for those of :data:`fairtag.base.schema.COVARIATES` that are there.

    Raises:
        DataError: A column is absent, or a value is missing or no number.
        ForbiddenAttribute: A name is that of a protected attribute.
    """
    names = config.covariates
    if names is None:
        names = tuple(name for name in schema.COVARIATES if name in impressions.columns)
    refuse_forbidden_features(names)
    for name in names:
        _require_numbers(impressions, name)
    found = judge_covariates(impressions, names)
    return replace(config, covariates=tuple(each.name for each in found if each.used)), found


def judge_covariates(impressions: pd.DataFrame, names: tuple[str, ...] | None = None) -> tuple[Covariate, ...]:
    """Whether demand can use each column, by its values.

    Args:
        impressions: Columns of IMPRESSIONS.
        names: Columns of numbers without a gap; all that may be named when None.
    """
    if names is None:
        names = tuple(name for name in impressions.columns if _may_be_named(name))
    if not names or impressions.empty:
        return ()
    reasons = {name: _why_not(impressions, number_column(impressions, name)) for name in names}
    return tuple(Covariate(name, not reason, reason) for name, reason in reasons.items())


def in_words(found: tuple[Covariate, ...]) -> tuple[str, ...]:
    """What becomes of the columns that demand may use, a line each, as ``fairtag check`` says it."""
    usual = [each.name for each in found if each.used and each.name in schema.COVARIATES]
    lines = []
    for each in found:
        if not each.used:
            lines.append(f"demand does not use {each.name}: {each.reason}")
        elif each.name in usual:
            lines.append(f"demand uses {each.name}")
        else:
            named = json.dumps({"covariates": [*usual, each.name]})
            lines.append(f"demand may use {each.name} where it is named: fairtag run --demand '{named}'")
    return tuple(lines)


def with_covariates(model: DemandModel, found: tuple[Covariate, ...]) -> DemandModel:
    """The demand model whose report says what became of each covariate."""
    return replace(model, report={**model.report, "covariates": [asdict(each) for each in found]})


def _may_be_named(name: str) -> bool:
    return name in schema.COVARIATES or name.startswith(schema.OWN_COVARIATE)


def _require_numbers(impressions: pd.DataFrame, name: str) -> None:
    if name not in impressions.columns:
        there = [column for column in impressions.columns if _may_be_named(column)]
        raise DataError(
            f"demand.covariates: impressions have no column {name}; name one of those they have: "
            f"{', '.join([*there, schema.RANK])}",
            table=schema.IMPRESSIONS.name,
            column=name,
            rule="a column of impressions",
        )
    unknown = ~np.isfinite(number_column(impressions, name))
    if unknown.any():
        examples = impressions.loc[unknown, name].head(3).tolist()
        raise DataError(
            f"impressions.{name}: {int(unknown.sum()):,} values are missing or no number, such as {examples}; write a "
            "number for every impression (0 where there was none), or leave the column out of demand.covariates",
            table=schema.IMPRESSIONS.name,
            column=name,
            rule="a number",
            count=int(unknown.sum()),
            examples=examples,
        )


def _why_not(impressions: pd.DataFrame, values: Floats) -> str:
    """Why a column cannot be told from the price, or from nothing; empty where it can."""
    if np.ptp(values) <= 1e-12:
        return f"it never varies: {values[0]:g} throughout"
    ratio = impressions[schema.PRICE].to_numpy(dtype=np.float64) / impressions[schema.LIST_PRICE].to_numpy(
        dtype=np.float64
    )
    item = pd.factorize(impressions[schema.ITEM_ID])[0].astype(np.int64)
    rows = _settings(item, _periods(impressions), ratio, values)
    item, ratio, values = item[rows], ratio[rows], values[rows]
    level = _levels(ratio)
    share = max(
        _explained(values, np.zeros_like(item), level),
        _explained(values, item, np.unique(np.column_stack([item, level]), axis=0, return_inverse=True)[1].ravel()),
    )
    if share >= EXPLAINED:
        return (
            f"it follows from the price, which explains {share:.0%} of it: what it does is part of the price's effect"
        )
    return ""


def _settings(item: Ints, period: Ints | None, ratio: Floats, values: Floats) -> Ints:
    """A row of each distinct price and value of an item in a period: what was set once counts once."""
    cells = np.column_stack([item_periods(item, period), np.round(ratio, 6), values])
    return np.unique(cells, axis=0, return_index=True)[1].astype(np.int64)


def _levels(ratio: Floats) -> Ints:
    """Number of each row's price ratio, or of its quantile where there are many."""
    found, code = np.unique(np.round(ratio, 4), return_inverse=True)
    if found.size <= PRICES:
        return code.astype(np.int64)
    edges = np.quantile(ratio, np.linspace(0.0, 1.0, PRICES + 1)[1:-1])
    return np.searchsorted(edges, ratio, side="right").astype(np.int64)


def _explained(values: Floats, base: Ints, group: Ints) -> float:
    """Share of the variance within ``base`` that the finer ``group`` explains; free of what chance would explain.

    0 where the values do not vary within ``base``, or too few rows are left to tell.
    """
    (within, free), (left, spare) = _spread(values, base), _spread(values, group)
    if spare < FREE or free <= 0 or within <= 1e-12 * values.size:
        return 0.0
    return 1.0 - (left / spare) / (within / free)


def _spread(values: Floats, group: Ints) -> tuple[float, int]:
    """Sum of squares within groups, and its degrees of freedom."""
    code = np.unique(group, return_inverse=True)[1].ravel()
    count = np.bincount(code)
    mean = np.bincount(code, weights=values) / count
    return float(((values - mean[code]) ** 2).sum()), int(values.size - count.size)


def _periods(impressions: pd.DataFrame) -> Ints | None:
    if schema.TS not in impressions.columns:
        return None
    ts = pd.to_datetime(impressions[schema.TS], utc=True)
    return np.asarray((ts - ts.min()) // pd.Timedelta(days=PERIOD_DAYS), dtype=np.int64)
