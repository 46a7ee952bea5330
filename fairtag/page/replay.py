"""A priced page as a record that can be priced again, to the last bit, without the model folder.

The record holds what decided the prices and nothing else: the arguments of the solver, what stands in where nothing is
optimised, what was promised or drawn to learn, and how sure the posterior was. It names items, not customers. Numbers
are JSON numbers of full precision; NaN is null. Replaying needs the same solver on the same kind of machine; on another
one the last bit of an exponential may differ, and the menu of price endings absorbs that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import DataError
from fairtag.page.chosen_prices import ChosenPrices
from fairtag.page.problem import PageProblem, best_prices
from fairtag.policy.guardrails import to_minor
from fairtag.solver.page_solver import solve_pages

Floats = NDArray[np.float64]

SCHEMA: Final = "fairtag.priced-page/1"
ARGUMENTS: Final = (
    "a", "b", "cost", "anchor", "lo", "hi", "shadow", "margin_weight", "anchor_weight", "menu", "mask",
)  # fmt: skip


@dataclass(frozen=True)
class Replay:
    """What came out the second time.

    Args:
        price: Prices, money, shape (n,).
        price_minor: The same in integer minor units.
        changed: Items whose price is not bit for bit the recorded one.
    """

    price: Floats
    price_minor: NDArray[np.int64]
    changed: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether every price is the recorded one, to the last bit."""
        return not self.changed


def page_record(problem: PageProblem, chosen: ChosenPrices, *, epoch: int) -> dict[str, Any]:
    """The record of a page: a JSON object.

    Args:
        problem: The page.
        chosen: The prices it got.
        epoch: Its price epoch, which seeded the posterior draws.
    """
    model = problem.model
    return {
        "schema": SCHEMA,
        "model_version": model.version,
        "epoch": epoch,
        "minor_per_unit": model.policy.limits.minor_per_unit,
        "items": [model.item_ids[row] for row in problem.rows],
        "solver": {name: _listed(values) for name, values in problem.solver_inputs().items()},
        "r": _listed(problem.r),
        "fallback": _listed(problem.bounds.fallback),
        "fixed": _listed(problem.fixed),
        "listed": _listed(problem.listed),
        "confidence": {"needed": model.policy.confidence, "found": _number(chosen.confidence)},
        "explored": _listed(np.where(chosen.explored, chosen.price, np.nan)),
        "price": _listed(chosen.price),
    }


def replay(record: Mapping[str, Any]) -> Replay:
    """Price a recorded page again.

    Raises:
        DataError: The record is of another schema, lacks something, or its arrays do not fit each other.
    """
    if record.get("schema") != SCHEMA:
        raise DataError(f"record: schema {record.get('schema')!r}, this code reads {SCHEMA!r}")
    try:
        return _replay(record)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"record: it cannot be replayed ({type(error).__name__}: {error})") from error


def solver_inputs(record: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The arguments of :func:`fairtag.solver.page_solver.solve_pages` that a record holds."""
    numbers = {name: _array(record["solver"][name]) for name in ARGUMENTS if name != "mask"}
    return {**numbers, "mask": np.array(record["solver"]["mask"], dtype=bool)}


def _replay(record: Mapping[str, Any]) -> Replay:
    fixed, r = _array(record["fixed"]), _array(record["r"])
    fallback = np.where(np.isnan(fixed), _array(record["fallback"]), fixed)
    found = record["confidence"]["found"]
    unsure = found is not None and found < record["confidence"]["needed"]
    solution = solve_pages(**solver_inputs(record))
    listed, unit = np.array(record["listed"], dtype=bool), record["minor_per_unit"]
    best = best_prices(solution, r, listed, fallback, fixed, unit)
    explored = _array(record["explored"])
    price = np.where(np.isnan(explored), fallback if unsure else best, explored)
    recorded = _array(record["price"])
    if not len(record["items"]) == len(price) == len(recorded):
        raise DataError(f"record: {len(record['items'])} items, {len(recorded)} prices, {len(price)} priced again")
    same = price.view(np.int64) == recorded.view(np.int64)
    changed = tuple(str(item) for item, kept in zip(record["items"], same, strict=True) if not kept)
    return Replay(price, to_minor(price, unit), changed)


def _listed(values: NDArray[Any]) -> list[Any]:
    """Nested lists with None for NaN; an infinite bound is spelt out, since JSON has none."""
    if values.dtype == bool or not np.issubdtype(values.dtype, np.floating):
        return list(values.tolist())
    return [_listed(row) if values.ndim > 1 else _number(float(row)) for row in values]


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def _array(values: Sequence[Any]) -> Floats:
    return np.array(values, dtype=np.float64)  # None becomes NaN, "inf" infinity
