"""Control function for endogenous prices: the part of a price that its instruments do not explain, cross-fitted.

A seller who knows more than the data show (a promotion at a busy hour) makes price and utility move together. The
first stage regresses the price on instruments that shift it but not the utility (unit cost, competitor's price). Its
residual ``nu`` carries the common part. With ``phi nu`` in the utility, the slope is that of the price alone (Petrin
and Train, 2010).

Each category has a first stage of its own, as a strong instrument elsewhere says nothing about it. Its F statistic
counts price-variation units (an item in a period) and not impressions: a cost that changed ten times is ten
observations, however often the item was shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fairtag.demand.choices import Flags, Floats, Ints, group_sums

WEAK = 10.0  # F statistic below which an instrument is called weak (Staiger and Stock, 1997)
DIGITS = 9  # of a price ratio: instruments that agree to here are the same


@dataclass(frozen=True)
class CategoryStage:
    """The first stage of one category.

    Args:
        category: Name.
        instruments: Names of the instruments that vary within its items.
        units: Price-variation units, the clusters of the F statistic.
        f_statistic: Wald statistic of all instruments together over their number, given the controls and item means,
            with errors clustered on the units; 0 where there is no instrument or there are too few units.
        used: Whether it is strong enough for the residual to enter the utility.
    """

    category: str
    instruments: tuple[str, ...]
    units: int
    f_statistic: float
    used: bool


@dataclass(frozen=True)
class FirstStage:
    """The first stage of a control function.

    Args:
        nu: (N,) cross-fitted residual of the price ratio; 0 in categories without a strong instrument.
        categories: The first stage of each category that has rows.
    """

    nu: Floats
    categories: tuple[CategoryStage, ...] = ()

    @classmethod
    def none(cls, n_rows: int) -> FirstStage:
        """No control function at all."""
        return cls(np.zeros(n_rows))

    @property
    def used(self) -> bool:
        """Whether some category's instruments are strong enough."""
        return any(stage.used for stage in self.categories)

    def rows(self, keep: Flags) -> FirstStage:
        """The same for some of the rows."""
        return replace(self, nu=self.nu[keep])

    def as_json(self) -> list[dict[str, Any]]:
        """The categories as JSON."""
        return [asdict(stage) | {"instruments": list(stage.instruments)} for stage in self.categories]


@dataclass(frozen=True)
class PriceVariation:
    """Prices and what may explain them.

    Args:
        y: (N,) price over reference price.
        instruments: Values (N,) by name; NaN where unknown, which counts as the item's mean.
        controls: (N, C) exogenous variables of the demand equation, finite.
        item: (N,) item of each row; item means are subtracted, as demand has item effects.
        category: (N,) category of each row.
        period: (N,) number of the period of each row; None where times are unknown.
        fold: (N,) fold of each row.
        weight: (N,) what each row counts; 1 when None.
    """

    y: Floats
    instruments: dict[str, Floats]
    controls: Floats
    item: Ints
    category: Ints
    period: Ints | None
    fold: Ints
    weight: Floats | None = None

    def of_category(self, code: int) -> PriceVariation:
        """The rows of one category, its items numbered from 0."""
        rows = self.category == code
        return PriceVariation(
            self.y[rows],
            {name: values[rows] for name, values in self.instruments.items()},
            self.controls[rows],
            np.unique(self.item[rows], return_inverse=True)[1].astype(np.int64),
            self.category[rows],
            None if self.period is None else self.period[rows],
            self.fold[rows],
            self.weights[rows],
        )

    @property
    def weights(self) -> Floats:
        """(N,) what each row counts."""
        return np.ones_like(self.y) if self.weight is None else self.weight


def first_stages(data: PriceVariation, names: tuple[str, ...], least_f: float = WEAK) -> FirstStage:
    """Residual of the price ratio on instruments and controls within items, category by category.

    Each fold is predicted from the others.

    Args:
        data: The prices.
        names: Names of the categories.
        least_f: F statistic that a category's instruments must reach.
    """
    nu, stages = np.zeros_like(data.y), []
    for code in np.unique(data.category):
        part = data.of_category(int(code))
        stage = _category_stage(part, names[code], least_f)
        stages.append(stage)
        if stage.used:
            nu[data.category == code] = _residual(part, stage.instruments)
    return FirstStage(nu, tuple(stages))


def price_units(item: Ints, period: Ints | None, instruments: Floats) -> Ints:
    """(N,) price-variation unit of each row: the periods of an item in which its instruments stay the same.

    A cost that is constant for three months is one observation of the price's cause, in however many weeks. Without
    periods the rows of an item with equal instruments are a unit.

    Args:
        item: (N,) item.
        period: (N,) period, or None.
        instruments: (N, Z) values, known.

    Example: a mug whose cost rose once in four weeks, shown twice a week.

        >>> cost = np.repeat([0.5, 0.5, 0.6, 0.6], 2)[:, None]
        >>> price_units(np.zeros(8, dtype=np.int64), np.repeat(np.arange(4), 2), cost).tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """
    cell = item_periods(item, period)
    n_cells = int(cell.max()) + 1
    means = np.round(_means(instruments, cell, n_cells), DIGITS)
    owner = np.zeros(n_cells)
    owner[cell] = item
    return _numbered(np.column_stack([owner, means]))[cell]


def item_periods(item: Ints, period: Ints | None) -> Ints:
    """(N,) number of each row's item and period; every row is alone where periods are unknown."""
    return np.arange(item.size) if period is None else _numbered(np.column_stack([item, period]))


def _numbered(columns: np.ndarray) -> Ints:
    """(N,) number of each row's values among the distinct rows of (N, C)."""
    order = np.lexsort(columns.T)
    moved = (np.diff(columns[order], axis=0) != 0).any(axis=1)
    number = np.empty(len(columns), dtype=np.int64)
    number[order] = np.concatenate([[0], np.cumsum(moved)])
    return number


def _category_stage(data: PriceVariation, name: str, least_f: float) -> CategoryStage:
    weight = data.weights
    filled = {key: _filled(values, data.item, weight) for key, values in data.instruments.items()}
    inside = {key: _within(values, data.item, weight) for key, values in filled.items()}
    names = tuple(key for key, values in inside.items() if float(values.std()) > 1e-9)
    if not names:
        return CategoryStage(name, (), 0, 0.0, used=False)
    Z = np.column_stack([inside[key] for key in names])
    unit = price_units(data.item, data.period, np.column_stack([filled[key] for key in names]))
    y, controls = (_within(values, data.item, weight) for values in (data.y, data.controls))
    f_statistic = _f_statistic(y, Z, controls, unit, int(data.item.max()) + 1, weight)
    return CategoryStage(name, names, int(unit.max()) + 1, f_statistic, used=f_statistic >= least_f)


def _residual(data: PriceVariation, names: tuple[str, ...]) -> Floats:
    weight = data.weights
    filled = [_filled(data.instruments[name], data.item, weight) for name in names]
    design = np.column_stack([*filled, data.controls])
    nu = np.empty_like(data.y)
    for k in np.unique(data.fold):
        rest, held = data.fold != k, data.fold == k
        nu[held] = _held_out_residual(data.y, design, data.item, rest, held, weight) if rest.any() else 0.0
    return nu


def _held_out_residual(y: Floats, design: Floats, item: Ints, rest: Flags, held: Flags, weight: Floats) -> Floats:
    """Within-item least squares on ``rest``; an item absent from ``rest`` is placed at the overall mean."""
    n_items = int(item.max()) + 1
    target_mean = _means(y[rest, None], item[rest], n_items, weight[rest])
    design_mean = _means(design[rest], item[rest], n_items, weight[rest])
    root = np.sqrt(weight[rest])
    target = root * (y[rest] - target_mean[item[rest], 0])
    coefficients, *_ = np.linalg.lstsq(root[:, None] * (design[rest] - design_mean[item[rest]]), target, rcond=None)
    predicted = target_mean[item[held], 0] + (design[held] - design_mean[item[held]]) @ coefficients
    residual: Floats = y[held] - predicted
    return residual


def _f_statistic(y: Floats, Z: Floats, controls: Floats, unit: Ints, n_items: int, weight: Floats) -> float:
    """F of the instruments by a Wald test with errors clustered on units (the usual small-sample factor)."""
    design = np.column_stack([Z, controls])
    n_units, freedom = int(unit.max()) + 1, y.size - n_items - design.shape[1]
    if n_units <= design.shape[1] + 1 or freedom <= 0:
        return 0.0
    root = np.sqrt(weight)
    design, y = root[:, None] * design, root * y
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    bread = np.linalg.pinv(design.T @ design, hermitian=True)
    scores = group_sums(unit, design * (y - design @ coefficients)[:, None], n_units)
    factor = n_units / (n_units - 1) * (y.size - 1) / freedom
    k = Z.shape[1]
    covariance = factor * (bread @ (scores.T @ scores) @ bread)[:k, :k]
    if not float(np.linalg.eigvalsh(covariance)[0]) > 0:
        return 0.0
    return float(coefficients[:k] @ np.linalg.solve(covariance, coefficients[:k]) / k)


def _means(values: Floats, group: Ints, n_groups: int, weight: Floats | None = None) -> Floats:
    """(n_groups, C) weighted group means; a group without rows has the overall mean."""
    if not values.shape[1]:
        return np.zeros((n_groups, 0))
    w = np.ones(len(values)) if weight is None else weight
    count = np.bincount(group, weights=w, minlength=n_groups)
    sums = np.stack([np.bincount(group, weights=w * column, minlength=n_groups) for column in values.T], axis=1)
    overall = np.average(values, axis=0, weights=w)
    return np.where(count[:, None] > 0, sums / np.where(count > 0, count, 1.0)[:, None], overall)


def _within(values: Floats, item: Ints, weight: Floats) -> Floats:
    matrix = values.reshape(values.shape[0], -1)
    inside: Floats = (matrix - _means(matrix, item, int(item.max()) + 1, weight)[item]).reshape(values.shape)
    return inside


def _filled(values: Floats, item: Ints, weight: Floats) -> Floats:
    """Unknown values replaced by the item's mean, else by the overall mean, else by 0."""
    known = np.isfinite(values)
    if not known.any():
        return np.zeros_like(values)
    means = _means(values[known, None], item[known], int(item.max()) + 1, weight[known])[:, 0]
    return np.where(known, values, means[item])
