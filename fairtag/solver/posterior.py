"""How sure the demand posterior is that chosen prices beat others.

docs/pricing-model.md, section 6: serve list unless ``Pr(U(p*) > U(list)) >= 0.8``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fairtag.solver.page_solver import page_value


def probability_better(
    a: ArrayLike,
    b: ArrayLike,
    chosen: ArrayLike,
    other: ArrayLike,
    cost: ArrayLike,
    anchor: ArrayLike = 0.0,
    *,
    shadow: ArrayLike = 0.0,
    margin_weight: ArrayLike = 1.0,
    anchor_weight: ArrayLike = 0.0,
    mask: ArrayLike | None = None,
) -> float:
    """Share of posterior draws under which the page is worth strictly more at ``chosen`` than at ``other``.

    Args:
        a: (D, n) draws of the utilities.
        b: (D, n) draws of the slopes.
        chosen: (n,) prices in units of r.
        other: (n,) prices in units of r.
        cost: (n,) unit costs in units of r.
        anchor: (n,) f in units of r.
        shadow: (n,) shadow prices in units of r.
        margin_weight: w.
        anchor_weight: lambda.
        mask: (n,) items that can be bought.

    Returns:
        In [0, 1]; a draw whose value is not a number counts as not better.
    """
    best, list_value = (
        page_value(
            y, a, b, cost, anchor, shadow=shadow, margin_weight=margin_weight, anchor_weight=anchor_weight, mask=mask
        )[0]
        for y in (chosen, other)
    )
    return float(np.mean(best > list_value))
