"""A trained model as one folder: written whole, verified by digest, loaded without a network.

``encoder/`` texts to vectors; ``embeddings.npy`` the catalogue's rows, memory-mapped; ``catalogue.parquet``;
``demand.*`` and ``price_model.*``; ``reference.*`` what follows from them for each item; ``policy.json``;
``search/`` index of the embeddings, word index, hashed titles and re-ranker; ``profile/`` what monitoring holds the
live traffic against; ``manifest.json`` the digests.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import ModelFolderError
from fairtag.base.files import load_arrays, read_json
from fairtag.demand.demand_model import DemandModel
from fairtag.encoder.encoder import TextEncoder, load_encoder
from fairtag.model.manifest import read_manifest, verify_files
from fairtag.policy.context import MarketContext
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.price_model.price_model import PriceModel

if TYPE_CHECKING:
    from fairtag.search.retrieval import Retriever
    from fairtag.search.search_part import SearchPart

Floats = NDArray[np.float64]

ENCODER = "encoder"
EMBEDDINGS = "embeddings.npy"
CATALOGUE = "catalogue.parquet"
DEMAND = "demand"
PRICE_MODEL = "price_model"
REFERENCE = "reference"
POLICY = "policy.json"
PROFILE = "profile"
SEARCH = "search"


@dataclass(frozen=True)
class ItemReference:
    """What the model says of each catalogue item before any request, arrays (N,) in money unless stated.

    Args:
        f: Price predicted from text and structure.
        f_low: Lower end of its 90 % interval.
        f_high: Upper end.
        corridor_low: Lowest price any customer may see; the highest is ``policy.corridor_rho`` times it.
        shadow: Shadow price of stock, in money, 0 where stock is no constraint.
        sales_rate: Units that sell a day at prices set on the unit cost.
    """

    f: Floats
    f_low: Floats
    f_high: Floats
    corridor_low: Floats
    shadow: Floats
    sales_rate: Floats


@dataclass(frozen=True)
class PricingModel:
    """A loaded model folder; read-only and safe to share between threads.

    Args:
        path: The folder it was read from.
        manifest: Digest, version, data fingerprint, code version, currency.
        policy: How prices are chosen and bounded.
        encoder: Texts to unit vectors.
        catalogue: Items, row i is embedding row i.
        embeddings: (N, d) float32 unit rows, memory-mapped.
        demand: The demand model over the same rows.
        price_model: f(v) for items that are not in the catalogue.
        reference: f, corridor and shadow price of each row.
    """

    path: Path
    manifest: dict[str, Any]
    policy: PricingPolicy
    encoder: TextEncoder
    catalogue: pd.DataFrame
    embeddings: NDArray[np.float32]
    demand: DemandModel
    price_model: PriceModel
    reference: ItemReference

    @property
    def version(self) -> str:
        """The first twelve characters of the digest."""
        return str(self.manifest["version"])

    @cached_property
    def item_ids(self) -> tuple[str, ...]:
        """Item of each row."""
        return tuple(self.catalogue[schema.ITEM_ID])

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each item."""
        return {item: row for row, item in enumerate(self.item_ids)}

    @cached_property
    def categories(self) -> NDArray[np.object_]:
        """Category of each row."""
        return self.catalogue[schema.CATEGORY].to_numpy(dtype=object)

    @cached_property
    def market(self) -> MarketContext:
        """Money and stock of each row as the catalogue had them at training."""
        return MarketContext.of(self.catalogue)

    @cached_property
    def search(self) -> SearchPart:
        """What finds items and orders them; opened when first asked, as monitors never search."""
        from fairtag.search.search_part import SearchPart

        return SearchPart.load(self.path / SEARCH)

    @cached_property
    def retriever(self) -> Retriever:
        """Search over the catalogue."""
        from fairtag.search.retrieval import Retriever

        part, rows = self.search, self.embeddings
        return Retriever(part.dense.over(rows), part.words, part.reranker, rows, part.texts)

    @property
    def profile_path(self) -> Path:
        """Folder of the reference profile."""
        return self.path / PROFILE


def load_pricing_model(path: Path, *, verify: bool = True, threads: int = 1) -> PricingModel:
    """Load a model folder.

    Args:
        path: The model folder.
        verify: Check every file against its digest first; false only where the caller has just done so.
        threads: CPU threads of one call of the encoder.

    Raises:
        ModelFolderMissing: There is no model folder, or a file of it is absent.
        DigestMismatch: A file was altered.
        ModelFolderError: The parts do not fit each other.
    """
    manifest = read_manifest(path)
    if verify:
        verify_files(path, manifest)
    catalogue = pd.read_parquet(path / CATALOGUE)
    embeddings = np.asarray(np.load(path / EMBEDDINGS, mmap_mode="r", allow_pickle=False))  # a view, still mapped
    if len(embeddings) != len(catalogue):
        raise ModelFolderError(
            f"{path}: {len(catalogue)} items and {len(embeddings)} embeddings; build the model folder again"
        )
    arrays, _ = load_arrays(path, REFERENCE)
    encoder = load_encoder(path / ENCODER, threads=threads)
    if encoder.dimension != embeddings.shape[1]:
        raise ModelFolderError(
            f"{path}: the encoder has {encoder.dimension} dimensions, the items {embeddings.shape[1]}"
        )
    return PricingModel(
        path=path,
        manifest=manifest,
        policy=PricingPolicy.from_json(read_json(path / POLICY)),
        encoder=encoder,
        catalogue=catalogue,
        embeddings=embeddings,
        demand=DemandModel.from_arrays(*load_arrays(path, DEMAND)),
        price_model=PriceModel.from_arrays(*load_arrays(path, PRICE_MODEL)),
        reference=_reference(path, arrays),
    )


def _reference(path: Path, arrays: dict[str, Floats]) -> ItemReference:
    names = {entry.name for entry in fields(ItemReference)}
    if set(arrays) != names:
        raise ModelFolderError(
            f"{path}: {REFERENCE} holds {sorted(arrays)}, this version reads {sorted(names)}: train again"
        )
    return ItemReference(**arrays)
