"""A trained model as one folder: written whole, verified by digest, loaded without a network.

    model = load_pricing_model(Path("model"))

| file | content |
|---|---|
| ``encoder/`` | the text encoder |
| ``catalogue.parquet``, ``embeddings.npy`` | items and their embeddings, row by row |
| ``demand.*``, ``price_model.*`` | the fitted models |
| ``estimates.*`` | f(v), corridor, shadow price and sales rate of each item |
| ``policy.json`` | the pricing policy |
| ``search/`` | dense index, word index, texts, re-ranker |
| ``profile/`` | the reference profile for monitoring |
| ``manifest.json`` | digests of all files |
| ``decision.json`` | the decision about the model, once it is accepted |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import ModelFolderError
from fairtag.base.files import load_arrays, read_json
from fairtag.base.money import currency
from fairtag.demand.demand_model import DemandModel
from fairtag.encoder.encoder import TextEncoder, load_encoder
from fairtag.model.capabilities import ALL, UNIFORM_PRICES
from fairtag.model.decision import accepted_capabilities, decision_of
from fairtag.model.manifest import read_manifest, verify_files
from fairtag.policy.context import MarketContext
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import ShopPolicy
from fairtag.price_model.price_model import PriceModel

if TYPE_CHECKING:
    from fairtag.search.query import QueryReader
    from fairtag.search.retrieval import Retriever, SearchPart

Floats = NDArray[np.float64]

ENCODER = "encoder"
EMBEDDINGS = "embeddings.npy"
CATALOGUE = "catalogue.parquet"
DEMAND = "demand"
PRICE_MODEL = "price_model"
ESTIMATES = "estimates"
POLICY = "policy.json"
PROFILE = "profile"
SEARCH = "search"


@dataclass(frozen=True)
class ItemEstimates:
    """Estimates for each catalogue item that no request changes; arrays (N,), money unless stated.

    Args:
        f: Price predicted from text and structure.
        f_low: Lower end of its 90 % interval.
        f_high: Upper end.
        corridor_low: Lowest price in the corridor; the highest is ``policy.limits.corridor_ratio`` times it.
        shadow: Shadow price of stock; 0 where stock does not limit sales.
        sales_rate: Units that sell a day at prices set on the unit cost.
        page_value: What the logged pages that show the item are worth a visit; its price reckons with it.
    """

    f: Floats
    f_low: Floats
    f_high: Floats
    corridor_low: Floats
    shadow: Floats
    sales_rate: Floats
    page_value: Floats


@dataclass(frozen=True)
class PricingModel:
    """A loaded model folder; read-only and safe to share between threads.

    Args:
        path: The folder it was read from.
        manifest: Digest, version, data fingerprint, code version, currency.
        policy: The pricing policy.
        encoder: The text encoder.
        catalogue: Items; row i belongs to row i of the embeddings.
        embeddings: (N, d) float32 unit rows, memory-mapped.
        demand: The demand model over the same rows.
        price_model: f(v) for items that are not in the catalogue.
        estimates: f, corridor, shadow price and sales rate of each row.
        capabilities: What the decision in the folder accepts; everything before there is one.
    """

    path: Path
    manifest: dict[str, Any]
    policy: PricingPolicy
    encoder: TextEncoder
    catalogue: pd.DataFrame
    embeddings: NDArray[np.float32]
    demand: DemandModel
    price_model: PriceModel
    estimates: ItemEstimates
    capabilities: frozenset[str] = ALL

    @property
    def version(self) -> str:
        """The first twelve characters of the digest."""
        return str(self.manifest["version"])

    @property
    def may_price(self) -> bool:
        """Whether a price may differ from list: demand was learned and the decision accepts uniform prices."""
        return self.demand.learned and UNIFORM_PRICES in self.capabilities

    @cached_property
    def item_ids(self) -> tuple[str, ...]:
        """Item id of each row."""
        return tuple(self.catalogue[schema.ITEM_ID])

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each item id."""
        return {item: row for row, item in enumerate(self.item_ids)}

    @cached_property
    def categories(self) -> NDArray[np.object_]:
        """Category of each row."""
        return self.catalogue[schema.CATEGORY].to_numpy(dtype=object)

    @cached_property
    def market(self) -> MarketContext:
        """Money and stock of each row at training time."""
        return MarketContext.of(self.catalogue)

    def under(self, policy: ShopPolicy | None) -> PricingModel:
        """The same model with the live policy on top of the policy that it was accepted with.

        Its corridors and the competition that its prices reckon with stay: a narrower policy moves only what it names.

        Args:
            policy: The live policy; None where nothing was changed.
        """
        if policy is None:
            return self
        if policy.digest not in self._under:
            pricing = replace(policy.over(self.policy), personalise=self.policy.personalise)  # whose reason is its own
            changed = replace(self, policy=pricing)
            self._under.clear()
            self._under[policy.digest] = changed
            kept = ("item_ids", "row_of", "categories", "market", "search", "retriever", "query_reader")
            for name in kept:
                vars(changed)[name] = getattr(self, name)
        return self._under[policy.digest]

    @cached_property
    def _under(self) -> dict[str, PricingModel]:
        return {}

    @cached_property
    def search(self) -> SearchPart:
        """The search indexes; loaded on first use, as monitors never search."""
        from fairtag.search.retrieval import SearchPart

        return SearchPart.load(self.path / SEARCH)

    @cached_property
    def retriever(self) -> Retriever:
        """Search over the catalogue."""
        from fairtag.search.facets import FacetTable
        from fairtag.search.retrieval import Retriever

        part, rows = self.search, self.embeddings
        facets = FacetTable.of(self.catalogue)
        return Retriever(part.dense.over(rows), part.words, part.reranker, rows, part.texts, facets)

    @cached_property
    def query_reader(self) -> QueryReader:
        """Reads queries as they are served by default."""
        return self.search.reader(currency(self.policy.currency))


def load_pricing_model(path: Path, *, verify: bool = True, threads: int = 1) -> PricingModel:
    """Load a model folder.

    Args:
        path: The model folder.
        verify: Check every file against its digest first; false only if the caller has just done so.
        threads: CPU threads of the encoder.

    Raises:
        ModelFolderMissing: There is no model folder, or one of its files is absent.
        DigestMismatch: A file was altered.
        ModelFolderError: The parts do not match.
        DecisionError: The decision in the folder does not accept exactly this model.
    """
    manifest = read_manifest(path)
    if verify:
        verify_files(path, manifest)
    decision = decision_of(path)
    catalogue = pd.read_parquet(path / CATALOGUE)
    embeddings = np.asarray(np.load(path / EMBEDDINGS, mmap_mode="r", allow_pickle=False))  # a view, still mapped
    if len(embeddings) != len(catalogue):
        raise ModelFolderError(f"{path}: {len(catalogue)} items but {len(embeddings)} embeddings; train again")
    arrays, _ = load_arrays(path, ESTIMATES)
    encoder = load_encoder(path / ENCODER, threads=threads)
    if encoder.dimension != embeddings.shape[1]:
        raise ModelFolderError(
            f"{path}: the encoder has {encoder.dimension} dimensions, the embeddings {embeddings.shape[1]}; train again"
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
        estimates=_estimates(path, arrays),
        capabilities=ALL if decision is None else accepted_capabilities(decision),
    )


def query_embedder(path: Path) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Embeds queries as an endpoint of the model folder does, without loading the rest of it.

    Args:
        path: The model folder.
    """
    from fairtag.search.retrieval import SearchPart

    encoder = load_encoder(path / ENCODER)  # first: it says what to install where it cannot be loaded
    policy = PricingPolicy.from_json(read_json(path / POLICY))
    reader = SearchPart.load(path / SEARCH).reader(currency(policy.currency))
    return lambda queries: encoder.encode([reader.text(query) for query in queries], "query")


def _estimates(path: Path, arrays: dict[str, Floats]) -> ItemEstimates:
    names = {entry.name for entry in fields(ItemEstimates)}
    if set(arrays) != names:
        raise ModelFolderError(
            f"{path}: {ESTIMATES} holds {sorted(arrays)}, this version reads {sorted(names)}: train again"
        )
    return ItemEstimates(**arrays)
