"""What each item's own purchases say of its price slope, without its category, its text and its siblings.

The posterior slope of an item leans on its siblings, and its floor keeps it above 0. Both can hide an item whose
purchases rise with its price: it would be priced on a response that its own data deny. Here every item is fitted by
itself, the rest of each page held as the model has it: given the rest, buying the item is a binary logit. An item whose
own slope has the wrong sign, and lies below what category and text predict by more than chance, contradicts them; it
stays at list (docs/pricing-model.md, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, ndtr

from fairtag.base.normal import Z95
from fairtag.demand.choices import Flags, Floats, Ints, group_sums
from fairtag.demand.demand_data import DemandData
from fairtag.solver.cells import Cells

WIDE = 10.0  # prior spread of an item around its prediction: no opinion, but finite where nothing was bought
STEPS, CLOSE = 30, 1e-5  # Newton steps, of which 5 to 10 are taken, and the last one's size
TINY = 1e-300  # an attraction below has no logarithm
LONGEST = 2.0  # of a step, in utility: keeps the first steps from items far away in bounds
CONTRADICTS = "its own purchases do not fall with its price, against its category"
TWIN = "a near-identical item's purchases do not fall with its price, and the two are priced alike"
AT_FLOOR = "its price slope rests on the floor, so its demand is not shown to fall with the price"


@dataclass(frozen=True)
class OwnSlopes:
    """Each item's price slope from its own purchases, arrays (I,).

    Args:
        slope: Estimate; the prediction where the item was never shown.
        error: Its standard error: the larger of the model's and the one clustered on price units.
        predicted: What category and text predict.
        at_floor: Whether the model's slope of the item rests on the floor.
        contradicts: Whether the item's own purchases contradict the prediction.
        refused: Whether those of any item in its nest do: such items stay at list together.
    """

    slope: Floats
    error: Floats
    predicted: Floats
    at_floor: Flags
    contradicts: Flags
    refused: Flags

    def as_json(self, item_ids: np.ndarray) -> list[dict[str, Any]]:
        """The items that stay at list, with the figures that say why."""
        return [
            {
                "item": str(item_ids[row]),
                "own_slope": float(self.slope[row]),
                "low": float(self.slope[row] - Z95 * self.error[row]),
                "high": float(self.slope[row] + Z95 * self.error[row]),
                "predicted": float(self.predicted[row]),
                "reason": self._reason(row),
            }
            for row in np.flatnonzero(self.refused | self.at_floor).tolist()
        ]

    def _reason(self, row: int) -> str:
        if self.contradicts[row]:
            return CONTRADICTS
        return TWIN if self.refused[row] else AT_FLOOR


def own_slopes(
    data: DemandData,
    utility: Floats,
    effects: Floats,
    predicted: Floats,
    modelled: Floats,
    *,
    cells: Cells,
    b_min: float,
    level: float,
) -> OwnSlopes:
    """Fit every item by itself and judge its sign.

    Args:
        data: The pages.
        utility: (N,) utility of each row as the model has it, with the item's effects.
        effects: (I, 2) item effects on utility and slope that are part of it.
        predicted: (I,) slope that category and text predict, at mean similarity and behaviour.
        modelled: (I,) slope of the model, before its floor.
        cells: Rows of one page and nest, as the model has them. Given the rest of its page, buying an item with a twin
            there is a binary logit to first order.
        b_min: The floor.
        level: Chance at which an item that follows its prediction is called contradicting.
    """
    item, n_items = data.item, predicted.size
    pull = np.exp(np.clip(cells.adjust(utility), -700.0, 700.0))
    own_effect = effects[item, 0] - effects[item, 1] * data.y
    alone, moved_rest = cells.move_one(pull, -own_effect)
    others = np.maximum(1.0 + np.add.reduceat(pull, data.starts)[data.page] - pull + moved_rest, TINY)
    plain = utility - own_effect
    plain[cells.row] = np.log(np.maximum(alone[cells.row], TINY))
    shown = np.bincount(item, minlength=n_items)
    middle = np.bincount(item, weights=data.y, minlength=n_items) / np.maximum(shown, 1)
    Z = np.column_stack([np.ones(data.n_rows), middle[item] - data.y])
    Z *= _sharpness(cells, pull, alone, moved_rest, others)[:, None]
    trials = (np.add.reduceat(data.bought, data.starts) + data.outside)[data.page]
    offset = plain - np.log(others)
    moved, curvature = _fit_each(item, Z, offset, data.bought, trials, n_items)
    inverse = np.asarray(np.linalg.inv(curvature), dtype=np.float64)
    residual = data.bought - trials * expit(offset + (Z * moved[item]).sum(axis=1))
    variance = np.maximum(inverse[:, 1, 1], _clustered(inverse, item, Z * residual[:, None], data.price_unit))
    slope, error = predicted + moved[:, 1], np.sqrt(variance)
    chance = ndtr((slope - predicted) / error)
    contradicts = (slope <= b_min) & (chance < level) & (predicted > b_min)
    refused = np.bincount(data.assortment.nest, weights=contradicts, minlength=n_items)[data.assortment.nest] > 0
    return OwnSlopes(slope, error, predicted, modelled <= b_min, contradicts, refused)


def _sharpness(cells: Cells, pull: Floats, alone: Floats, moved_rest: Floats, others: Floats) -> Floats:
    """(N,) how fast the log odds of a row change with its utility: 1, or faster beside a twin.

    Its own attraction E changes by ``(1 - (1 - zeta) s) / zeta`` with share s in its cell, and that of the rest falls
    by what E gains beyond 1.
    """
    sharpness, at = np.ones_like(alone), cells.row
    if at.size:
        mates = cells.sums(pull[at]) - pull[at] + moved_rest[at]
        zeta = cells.dissimilarity[cells.cell]
        own = (1.0 - (1.0 - zeta) * alone[at] / (alone[at] + mates)) / zeta
        sharpness[at] = own + alone[at] / others[at] * (own - 1.0)
    return sharpness


def _fit_each(
    item: Ints, Z: Floats, offset: Floats, bought: Floats, trials: Floats, n_items: int
) -> tuple[Floats, Floats]:
    """Binary logits of all items at once: level and slope moved (I, 2), and the curvature there (I, 2, 2)."""
    ridge = np.eye(2) / WIDE**2
    moved = np.zeros((n_items, 2))
    outer = Z[:, :, None] * Z[:, None, :]
    for _ in range(STEPS):
        chance = expit(offset + (Z * moved[item]).sum(axis=1))
        score = group_sums(item, Z * (bought - trials * chance)[:, None], n_items) - moved @ ridge
        weight = trials * chance * (1.0 - chance)
        curvature = group_sums(item, weight[:, None, None] * outer, n_items) + ridge
        step = np.linalg.solve(curvature, score[:, :, None])[:, :, 0]
        step *= np.minimum(1.0, LONGEST / np.maximum(np.abs(step).max(axis=1), 1e-12))[:, None]
        moved = moved + step
        if np.abs(step).max() < CLOSE:
            break
    return moved, curvature


def _clustered(inverse: Floats, item: Ints, scores: Floats, unit: Ints) -> Floats:
    """(I,) variance of the slopes with errors clustered on price units; 0 for an item with fewer than two."""
    n_items, code = len(inverse), np.unique(unit, return_inverse=True)[1]
    sums = group_sums(code, scores, int(code.max()) + 1)
    owner = np.zeros(len(sums), dtype=np.int64)
    owner[code] = item
    units = np.bincount(owner, minlength=n_items)
    meat = group_sums(owner, sums[:, :, None] * sums[:, None, :], n_items)
    factor = np.where(units > 1, units / np.maximum(units - 1, 1), 0.0)
    return factor * (inverse @ meat @ inverse)[:, 1, 1]
