"""The reference profile, in memory and as a folder of JSON, parquet and npz."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import ModelFolderError, ModelFolderMissing
from fairtag.base.files import directory_atomic, read_json, write_json
from fairtag.profile.measures import Float, Lookup, Measure

SCHEMA = "fairtag.profile/1"
FOLDER = "profile"  # name in a model folder
# Columns whose mean log is stored for each item, in minor units.
LEVELS = (schema.PRICE_MINOR, schema.LIST_PRICE_MINOR, schema.REFERENCE_PRICE_MINOR, schema.UNIT_COST_MINOR)


@dataclass(frozen=True)
class Reference:
    """Training value of a measure.

    Args:
        measure: The measure.
        value: (J,) training value.
        se: (J,) its standard error.
        day_sd: (J,) standard deviation between days (or weeks) beyond sampling.
        hour_sd: (J,) the same between hours of the day.
        weight: (J,) rows or words behind the value.
    """

    measure: Measure
    value: Float
    se: Float
    day_sd: Float
    hour_sd: Float
    weight: Float


@dataclass(frozen=True)
class QuerySpace:
    """Subspace of the training queries: ``mean`` (d,), ``directions`` (k, d) unit rows, ``scale`` (k,), ``n`` queries.

    :meth:`project` gives coordinates with mean 0 and standard deviation 1 on the training queries.
    """

    mean: Float
    directions: Float
    scale: Float
    n: int

    def project(self, embeddings: Float) -> Float:
        """Standardised coordinates (m, k) of embeddings (m, d)."""
        projected: Float = (np.asarray(embeddings, dtype=np.float64) - self.mean) @ self.directions.T / self.scale
        return projected


@dataclass(frozen=True)
class Profile:
    """The reference profile of a model.

    Args:
        references: Training value of each measure.
        items: One row for each item: item_id, category, n and the mean log of each price column (minor units).
        vocabulary: Words of the queries and their counts, most frequent first.
        sample: Seeded sample of training rows, stratified by category (``SAMPLE_COLUMNS``).
        features: Deciles, mean, standard deviation and share of missing values of each training feature.
        queries: Subspace of the query embeddings; None if there are none.
        metadata: Rows, pages, first and last time, currencies.
    """

    references: tuple[Reference, ...]
    items: pd.DataFrame
    vocabulary: pd.DataFrame
    sample: pd.DataFrame
    features: dict[str, dict[str, Any]] = field(default_factory=dict)
    queries: QuerySpace | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def lookup(self) -> Lookup:
        """Items and words of training, as the measures need them."""
        return Lookup(
            pd.Index(self.items[schema.ITEM_ID]),
            self.items[list(LEVELS)],
            pd.Index(self.vocabulary["word"], dtype=object),
            self.items["n"].to_numpy(np.int64),
        )

    def save(self, path: Path) -> Path:
        """Write the profile as a folder, replacing an older one atomically."""
        with directory_atomic(path) as folder:
            write_json(folder / "profile.json", self._document())
            for name in ("items", "vocabulary", "sample"):
                frame: pd.DataFrame = getattr(self, name)
                frame.to_parquet(folder / f"{name}.parquet", index=False, coerce_timestamps="us", compression="zstd")
            if self.queries is not None:
                space = self.queries
                np.savez(folder / "queries.npz", mean=space.mean, directions=space.directions, scale=space.scale)
        return path

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read a folder written by :meth:`save`.

        Raises:
            ModelFolderMissing: There is no profile at the path.
            ModelFolderError: It has another schema, or one of its files cannot be read.
        """
        if not (path / "profile.json").is_file():
            raise ModelFolderMissing(f"{path}: no reference profile; train again with this version")
        document = read_json(path / "profile.json")
        if document.get("schema") != SCHEMA:
            raise ModelFolderError(
                f"{path}: profile schema {document.get('schema')!r}, this version reads {SCHEMA!r}; train again"
            )
        try:
            frames = {name: pd.read_parquet(path / f"{name}.parquet") for name in ("items", "vocabulary", "sample")}
            queries = _load_queries(path, document["queries"])
        except (OSError, ValueError, KeyError) as error:
            raise ModelFolderError(f"{path}: the reference profile is damaged: {error}") from error
        references = tuple(_reference(entry) for entry in document["measures"])
        return cls(references, **frames, features=document["features"], queries=queries, metadata=document["metadata"])

    def _document(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "metadata": self.metadata,
            "features": self.features,
            "queries": self.queries.n if self.queries is not None else None,
            "measures": [_entry(reference) for reference in self.references],
        }


def _entry(reference: Reference) -> dict[str, Any]:
    measure = reference.measure
    names = ("value", "se", "day_sd", "hour_sd", "weight")
    # JSON has no NaN: a component without data (a category none of whose items was priced) is null
    arrays = {name: [float(v) if np.isfinite(v) else None for v in getattr(reference, name)] for name in names}
    return {
        "name": measure.name,
        "kind": measure.kind,
        "column": measure.column,
        "components": list(measure.components),
        "edges": list(measure.edges),
        "unit": measure.unit,
        **arrays,
    }


def _reference(entry: dict[str, Any]) -> Reference:
    measure = Measure(
        entry["name"],
        entry["kind"],
        entry["column"],
        tuple(entry["components"]),
        tuple(entry["edges"]),
        entry["unit"],
    )
    names = ("value", "se", "day_sd", "hour_sd", "weight")
    return Reference(measure, *(np.array(entry[name], dtype=np.float64) for name in names))


def _load_queries(path: Path, n: int | None) -> QuerySpace | None:
    if n is None:
        return None
    with np.load(path / "queries.npz", allow_pickle=False) as arrays:
        return QuerySpace(arrays["mean"], arrays["directions"], arrays["scale"], n)
