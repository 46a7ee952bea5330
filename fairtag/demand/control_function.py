"""Control function for endogenous prices: the part of a price that its instruments do not explain, cross-fitted.

A seller who knows more than the data show (a promotion at a busy hour) makes price and utility move together. The
first stage regresses the price on instruments that shift it but not the utility (unit cost, competitor's price). Its
residual ``nu`` carries the common part. With ``phi nu`` in the utility, the slope is that of the price alone (Petrin
and Train, 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairtag.demand.choices import Floats, Ints

WEAK = 10.0  # F statistic below which an instrument is called weak (Staiger and Stock, 1997)


@dataclass(frozen=True)
class FirstStage:
    """The first stage of a control function.

    Args:
        nu: (N,) cross-fitted residual of the price ratio; all 0 when there is no usable instrument.
        f_statistic: F statistic of all instruments together, given the controls; 0 when there are none.
        instruments: Names of the instruments that vary within items.
    """

    nu: Floats
    f_statistic: float
    instruments: tuple[str, ...]

    @property
    def used(self) -> bool:
        """Whether the instruments are strong enough (F of at least 10) for the residual to be used."""
        return self.f_statistic >= WEAK


def price_residual(y: Floats, instruments: dict[str, Floats], controls: Floats, item: Ints, fold: Ints) -> FirstStage:
    """Residual of the price ratio on instruments and controls within items, each fold predicted from the others.

    Args:
        y: (N,) price over reference price.
        instruments: Values (N,) by name; NaN where unknown, which counts as the item's mean.
        controls: (N, C) exogenous variables of the demand equation, finite.
        item: (N,) item of each row; item means are subtracted, as demand has item effects.
        fold: (N,) fold of each row.
    """
    inside = {name: _within(_filled(values, item), item) for name, values in instruments.items()}
    names = tuple(name for name, values in inside.items() if float(values.std()) > 1e-9)
    none = FirstStage(np.zeros_like(y), 0.0, ())
    if not names:
        return none
    Z = np.column_stack([_filled(instruments[name], item) for name in names])
    f_statistic = _f_statistic(_within(y, item), _within(Z, item), _within(controls, item), np.unique(item).size)
    if f_statistic < WEAK:
        return FirstStage(none.nu, f_statistic, names)
    design = np.column_stack([Z, controls])
    nu = np.empty_like(y)
    for k in np.unique(fold):
        rest, held = fold != k, fold == k
        nu[held] = _held_out_residual(y, design, item, rest, held)
    return FirstStage(nu, f_statistic, names)


def _held_out_residual(y: Floats, design: Floats, item: Ints, rest: np.ndarray, held: np.ndarray) -> Floats:
    """Within-item least squares on ``rest``; an item absent from ``rest`` is placed at the overall mean."""
    n_items = int(item.max()) + 1
    target_mean = _means(y[rest, None], item[rest], n_items)
    design_mean = _means(design[rest], item[rest], n_items)
    target = y[rest] - target_mean[item[rest], 0]
    coefficients, *_ = np.linalg.lstsq(design[rest] - design_mean[item[rest]], target, rcond=None)
    predicted = target_mean[item[held], 0] + (design[held] - design_mean[item[held]]) @ coefficients
    residual: Floats = y[held] - predicted
    return residual


def _f_statistic(y: Floats, Z: Floats, controls: Floats, n_items: int) -> float:
    """F of the instruments, from residual sums of squares with and without them."""
    without = _residual_sum(y, controls)
    everything = _residual_sum(y, np.column_stack([Z, controls]))
    freedom = y.size - n_items - Z.shape[1] - controls.shape[1]
    if freedom <= 0 or everything <= 0:
        return 0.0
    return float((without - everything) / Z.shape[1] / (everything / freedom))


def _residual_sum(y: Floats, design: Floats) -> float:
    if design.shape[1] == 0:
        return float(y @ y)
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ coefficients
    return float(residual @ residual)


def _means(values: Floats, group: Ints, n_groups: int) -> Floats:
    """(n_groups, C) group means; a group without rows has the overall mean."""
    count = np.bincount(group, minlength=n_groups)
    sums = np.stack([np.bincount(group, weights=column, minlength=n_groups) for column in values.T], axis=1)
    overall = values.mean(axis=0)
    return np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], overall)


def _within(values: Floats, item: Ints) -> Floats:
    matrix = values.reshape(values.shape[0], -1)
    inside: Floats = (matrix - _means(matrix, item, int(item.max()) + 1)[item]).reshape(values.shape)
    return inside


def _filled(values: Floats, item: Ints) -> Floats:
    """Unknown values replaced by the item's mean, else by the overall mean, else by 0."""
    known = np.isfinite(values)
    if not known.any():
        return np.zeros_like(values)
    means = _means(values[known, None], item[known], int(item.max()) + 1)[:, 0]
    return np.where(known, values, means[item])
