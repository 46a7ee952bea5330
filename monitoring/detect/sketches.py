"""Mergeable sketches of all quotes of a window: quantiles, frequent values, distinct customers.

They are Apache DataSketches: KLL for quantiles (rank error 1.3 % at k = 200), frequent items, and HyperLogLog. The
sketch of a day is the merge of its hours; the size does not grow with the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasketches
import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.base.files import directory_atomic, read_json, write_json
from fairtag.profile.measures import MARGIN, PRICE_TO_LIST, derived

NUMERIC = (
    schema.PRICE_MINOR,
    schema.LIST_PRICE_MINOR,
    schema.SIMILARITY,
    schema.PURCHASE_PROBABILITY,
    schema.FEATURE_AGE_SECONDS,
    PRICE_TO_LIST,
    MARGIN,
)
FREQUENT = (schema.QUERY, schema.ITEM_ID, schema.CATEGORY, schema.JURISDICTION, schema.DEGRADED)
DISTINCT = (schema.USER_KEY, schema.QUOTE_ID)
KLL_K = 200
FREQUENT_LG = 12  # 4,096 counters: any value above 0.1 % of the rows is found
HLL_LG = 12  # 1.6 % error of the number of distinct values in 2.5 kB
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def _kll() -> dict[str, Any]:
    return {name: datasketches.kll_doubles_sketch(KLL_K) for name in NUMERIC}


def _frequent() -> dict[str, Any]:
    return {name: datasketches.frequent_strings_sketch(FREQUENT_LG) for name in FREQUENT}


def _distinct() -> dict[str, Any]:
    return {name: datasketches.hll_sketch(HLL_LG) for name in DISTINCT}


@dataclass
class Sketches:
    """One sketch for each column, and the number of rows added."""

    quantiles: dict[str, Any] = field(default_factory=_kll)
    frequent: dict[str, Any] = field(default_factory=_frequent)
    distinct: dict[str, Any] = field(default_factory=_distinct)
    rows: int = 0

    def add(self, frame: pd.DataFrame) -> None:
        """Add rows of schema.QUOTES."""
        self.rows += len(frame)
        for name, sketch in self.quantiles.items():
            values = derived(frame, name)
            sketch.update(values[np.isfinite(values)])
        for name, sketch in self.frequent.items():
            for value, count in frame[name].value_counts(sort=False).items():
                sketch.update(str(value), int(count))
        for name, sketch in self.distinct.items():
            for value in frame[name].dropna().unique():
                sketch.update(str(value))

    def merge(self, other: Sketches) -> Sketches:
        """The sketches of both streams together, as a new object."""
        merged = Sketches(rows=self.rows + other.rows)
        for source in (self, other):
            for name, sketch in merged.quantiles.items():
                sketch.merge(source.quantiles[name])
            for name, sketch in merged.frequent.items():
                sketch.merge(source.frequent[name])
        for name in merged.distinct:
            union = datasketches.hll_union(HLL_LG)
            union.update(self.distinct[name])
            union.update(other.distinct[name])
            merged.distinct[name] = union.get_result()
        return merged

    @property
    def size(self) -> int:
        """Size in bytes of all sketches on disk."""
        return sum(len(blob) for blob in self._blobs().values())

    def summary(self, top: int = 10) -> dict[str, Any]:
        """Quantiles, the most frequent values and the distinct counts, as JSON values."""
        kind = datasketches.frequent_items_error_type.NO_FALSE_POSITIVES
        return {
            "rows": self.rows,
            "quantiles": {
                name: dict(zip(map(str, QUANTILES), map(float, sketch.get_quantiles(list(QUANTILES))), strict=True))
                for name, sketch in self.quantiles.items()
                if not sketch.is_empty()
            },
            "frequent": {
                name: sorted(
                    ([value, int(count)] for value, count, *_ in sketch.get_frequent_items(kind)),
                    key=lambda pair: (-pair[1], pair[0]),
                )[:top]
                for name, sketch in self.frequent.items()
            },
            "distinct": {name: round(sketch.get_estimate()) for name, sketch in self.distinct.items()},
        }

    def save(self, path: Path) -> Path:
        """Write each sketch in the portable format of DataSketches; the folder is replaced atomically."""
        with directory_atomic(path) as folder:
            write_json(folder / "sketches.json", {"schema": "fairtag.sketches/1", "rows": self.rows})
            for name, blob in self._blobs().items():
                (folder / name).write_bytes(blob)
        return path

    @classmethod
    def load(cls, path: Path) -> Sketches:
        """Read a folder written by :meth:`save`.

        Raises:
            MissingDataError: The folder holds no sketches.
        """
        if not (path / "sketches.json").is_file():
            raise MissingDataError(f"{path}: no sketches here; the drift job writes them")
        loaded = cls(rows=int(read_json(path / "sketches.json")["rows"]))
        for name in NUMERIC:
            loaded.quantiles[name] = datasketches.kll_doubles_sketch.deserialize((path / f"{name}.kll").read_bytes())
        for name in FREQUENT:
            blob = (path / f"{name}.frequent").read_bytes()
            loaded.frequent[name] = datasketches.frequent_strings_sketch.deserialize(blob)
        for name in DISTINCT:
            loaded.distinct[name] = datasketches.hll_sketch.deserialize((path / f"{name}.hll").read_bytes())
        return loaded

    def _blobs(self) -> dict[str, bytes]:
        return {
            **{f"{name}.kll": sketch.serialize() for name, sketch in self.quantiles.items()},
            **{f"{name}.frequent": sketch.serialize() for name, sketch in self.frequent.items()},
            **{f"{name}.hll": sketch.serialize_compact() for name, sketch in self.distinct.items()},
        }
