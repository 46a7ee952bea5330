"""Price parity as an Evidently metric, which the library lacks.

A module of its own, because its classes need Evidently at import, and only a run with Evidently's reports loads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric


class PriceParity(SingleValueMetric):  # type: ignore[misc]  # Evidently ships no types
    """Relative difference between one group's mean price and everyone else's, for the same item.

    Args:
        group_column: Column with the group of each row.
        group: The group to compare.
        item_column: Column with the item and price day within which prices are compared.
        price_column: Column with the price, in any positive unit.
    """

    group_column: str
    group: str
    item_column: str
    price_column: str


class PriceParityCalculation(SingleValueCalculation[PriceParity]):  # type: ignore[misc]  # Evidently ships no types
    """Within-item difference of log prices; each item has the weight of its overlap, ``n1 n0 / (n1 + n0)``."""

    def calculate(self, context: Any, current_data: Any, reference_data: Any) -> tuple[SingleValue, None]:  # noqa: ARG002  # Evidently's signature
        """The parity of the current rows; the reference has no groups."""
        metric = self.metric
        columns = (metric.group_column, metric.item_column, metric.price_column)
        frame = pd.DataFrame({name: current_data.column(name).data.to_numpy() for name in columns})
        gap = within_item_gap(frame, metric.group_column, metric.group, metric.item_column, metric.price_column)
        return self.result(gap), None

    def display_name(self) -> str:
        """Title of the widget."""
        return f"Price for {self.metric.group} against all others, same item ({self.metric.group_column})"


def within_item_gap(frame: pd.DataFrame, group_column: str, group: str, item_column: str, price_column: str) -> float:
    """Relative difference of the group's mean log price within items, weighted by overlap; NaN without overlap."""
    member = (frame[group_column] == group).to_numpy()
    logs = np.log(frame[price_column].to_numpy(dtype=np.float64))
    codes, items = pd.factorize(frame[item_column])
    counts = [np.bincount(codes[mask], minlength=len(items)) for mask in (member, ~member)]
    sums = [np.bincount(codes[mask], weights=logs[mask], minlength=len(items)) for mask in (member, ~member)]
    shared = (counts[0] > 0) & (counts[1] > 0)
    if not shared.any():
        return float("nan")
    mine, others = (total[shared] / count[shared] for total, count in zip(sums, counts, strict=True))
    weight = counts[0][shared] * counts[1][shared] / (counts[0][shared] + counts[1][shared])
    return float(np.expm1(np.average(mine - others, weights=weight)))
