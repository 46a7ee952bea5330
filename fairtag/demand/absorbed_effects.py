"""Fixed effects of a panel, taken out of everything before anything is estimated (Frisch, Waugh and Lovell).

>>> store = np.array([0, 0, 1, 1])
>>> within(np.array([1.0, 3.0, 10.0, 14.0]), [store], np.ones(4)).tolist()
[-1.0, 1.0, -2.0, 2.0]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_array, hstack
from scipy.sparse.linalg import lsmr

from fairtag.base.errors import NotConverged
from fairtag.demand.choices import Floats, Ints, group_sums

CLOSE, STEPS = 1e-12, 10_000  # of the least squares that take several effects out: tolerance, most steps


def within(values: Floats, effects: Sequence[Ints], weight: Floats) -> Floats:
    """Values (N,) or (N, C) without fixed effects and mean: residuals of weighted least squares on dummies.

    Args:
        values: The values.
        effects: (N,) codes of each effect.
        weight: (N,) weights.

    Raises:
        NotConverged: Several effects overlap so little that they cannot be told apart.
    """
    if not values.size:
        return values
    inside = values.reshape(len(values), -1).astype(np.float64)
    inside = inside - np.average(inside, axis=0, weights=weight)
    for code in effects:
        total = np.bincount(code, weights=weight)
        inside = inside - (group_sums(code, inside * weight[:, None], total.size) / total[:, None])[code]
    if len(effects) > 1:
        inside = _without_dummies(inside, effects, weight)
    return inside.reshape(values.shape)


def _without_dummies(inside: Floats, effects: Sequence[Ints], weight: Floats) -> Floats:
    """(N, C) residuals on the dummies of all effects together, by LSMR (Fong and Saunders, 2011)."""
    n, root = len(inside), np.sqrt(weight)
    blocks = []
    for code in effects:
        total = np.bincount(code, weights=weight)
        blocks.append(csr_array((root / np.sqrt(total)[code], (np.arange(n), code)), shape=(n, total.size)))
    dummies = hstack(blocks).tocsr()
    found = inside * root[:, None]
    for k in range(found.shape[1]):
        solution, stopped, *_ = lsmr(dummies, found[:, k], atol=CLOSE, btol=CLOSE, conlim=0.0, maxiter=STEPS)
        if stopped == 7:  # the most steps
            raise NotConverged(
                f"panel: after {STEPS:,} steps the fixed effects are not taken out; they overlap too little to be told "
                "apart: name fewer, or their pairs as one (a*b)"
            )
        found[:, k] -= dummies @ solution
    return np.asarray(found / root[:, None], dtype=np.float64)


def absorbed(effects: Sequence[Ints], cluster: Ints) -> int:
    """Coefficients of the fixed effects that count: those of an effect whose levels each lie in one cluster do not.

    Such effects are taken out by the clustering itself (Cameron and Miller, 2015, section III.B).
    """
    count = 1
    for code in effects:
        order = np.lexsort((cluster, code))
        pairs = 1 + int(((np.diff(code[order]) != 0) | (np.diff(cluster[order]) != 0)).sum())
        levels = int(code.max()) + 1
        count += levels - 1 if pairs > levels else 0
    return count


def codes_of(table: pd.DataFrame, columns: Sequence[str]) -> Ints:
    """(N,) number of the values that some columns have together; unknown is a value."""
    return np.asarray(table.groupby(list(columns), sort=True, observed=True, dropna=False).ngroup(), dtype=np.int64)
