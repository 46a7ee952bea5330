"""Groups of customers whose prices are compared on replayed pages, under many policies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.normal import Z95
from fairtag.evaluation.held_out_demand import HeldOutPages
from fairtag.evaluation.policy_preview import GroupGap
from fairtag.fairness import fixed_effects

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AuditedGroup:
    """A group whose prices are compared with those of all others.

    Args:
        attribute: Such as ``age_band``.
        group: Such as ``18-34``.
        known: Which impressions are of customers whose attribute is known, (n,).
        shape: Customers and items of those.
        member: Whether each of the customers is in the group.
    """

    attribute: str
    group: str
    known: NDArray[np.bool_]
    shape: fixed_effects.PanelShape
    member: NDArray[np.bool_]

    def gap(self, log_price: Floats) -> fixed_effects.Gap:
        """How much more the group pays for the same item, from the log price of each impression, (n,)."""
        return fixed_effects.gap(self.shape.panel(log_price[self.known]), self.member)

    def compared(self, before: fixed_effects.Gap, after: fixed_effects.Gap) -> GroupGap:
        """The gap before and after, as shares, the latter with its interval."""
        half = Z95 * after.standard_error
        ends = (before.value, after.value, after.value - half, after.value + half)
        return GroupGap(self.attribute, self.group, *(float(np.expm1(each)) for each in ends))


def audited_groups(pages: HeldOutPages, groups: pd.DataFrame | None) -> tuple[AuditedGroup, ...]:
    """Each group of each attribute, where both sides have customers.

    Args:
        pages: The impressions.
        groups: Audit groups of customers; None, or empty, for none.
    """
    if groups is None or groups.empty:
        return ()
    users, stratum = pages.rows[schema.USER_ID], pd.factorize(pages.item)[0].astype(np.int64)
    found: list[AuditedGroup] = []
    for attribute, table in groups.groupby(schema.ATTRIBUTE, observed=True):
        own = users.map(table.set_index(schema.USER_ID)[schema.GROUP].astype(str))
        known = own.notna().to_numpy()
        if not known.any():
            continue
        user, keys = pd.factorize(users[known])
        group = own[known].groupby(user).first().to_numpy(object)
        shape = fixed_effects.PanelShape(user.astype(np.int64), stratum[known])
        found += [
            AuditedGroup(str(attribute), str(name), known, shape, group == name)
            for name in np.unique(group.astype(str))
            if 1 < int((group == name).sum()) < len(keys) - 1
        ]
    return tuple(found)
