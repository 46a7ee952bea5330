"""What the endpoint needs of a model: :class:`Core`, and a model folder as one."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from fairtag.base.money import currency
from fairtag.base.schema import ITEM_TEXTS
from fairtag.model.manifest import FolderSeal, read_manifest
from fairtag.model.policy_change import AcceptedModel
from fairtag.page.day_corridor import DayCorridor, own_corridor, terms_of
from fairtag.page.priced_page import PageInputs, PricedPage
from fairtag.policy.context import MarketContext, UserContext
from fairtag.policy.shop_policy import ShopPolicy
from fairtag.search.facets import Facet, Filters
from fairtag.search.query import SearchOptions, SearchQuery
from fairtag.search.retrieval import SearchResult

if TYPE_CHECKING:
    from fairtag.model.pricing_model import PricingModel

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Vector = NDArray[np.float32]

YOUNG_OBJECTS = 20_000  # allocated and not freed: from this number on the collector looks for cycles among them
WARM_QUERIES = ("a", "a wireless vacuum cleaner for pet hair", "steel " * 60)  # short, usual and cut off


class Core(Protocol):
    """A model that finds and prices items. Calls block; all but ``encode`` may run in several threads at once."""

    @property
    def version(self) -> str:
        """The model's version."""
        ...

    @property
    def capabilities(self) -> frozenset[str]:
        """What the decision about it accepts."""
        ...

    @property
    def currency(self) -> str:
        """ISO 4217 code."""
        ...

    @property
    def minor_per_unit(self) -> int:
        """Minor units in a currency unit."""
        ...

    @property
    def item_ids(self) -> Sequence[str]:
        """Item of each row."""
        ...

    @property
    def market(self) -> MarketContext:
        """Money and stock of every row as the catalogue had them."""
        ...

    @property
    def epoch_seconds(self) -> int:
        """Length of a price day."""
        ...

    def epoch_of(self, seconds: float) -> int:
        """The price day of a Unix time."""
        ...

    def altered(self) -> str:
        """Name of a file of the model that was edited since it was loaded; empty if there is none."""
        ...

    @property
    def accepted(self) -> AcceptedModel | None:
        """What the decision about the model accepted; None where it has no policy of its own."""
        ...

    def corridor(self, rows: Rows, epoch: int, policy: ShopPolicy | None) -> DayCorridor:
        """The corridor of these rows that the model fixes where it is the first to price them in a price day.

        Args:
            rows: (n,) catalogue rows.
            epoch: The price day.
            policy: The live policy; None where nothing was changed.
        """
        ...

    def encode(self, queries: Sequence[str]) -> Vector:
        """Unit rows (n, d) of queries."""
        ...

    def rows_of(self, item_ids: Sequence[str]) -> tuple[Rows, list[str]]:
        """Rows of the items in their order, and the ids that are not in the catalogue."""
        ...

    def read_query(self, query: str, filters: Filters, facets: tuple[Facet, ...], *, as_typed: bool) -> SearchQuery:
        """What a query searches for: its price taken out, its words corrected. Takes microseconds.

        Args:
            query: What the customer typed.
            filters: What the items must meet.
            facets: Facets to count.
            as_typed: Take the words as they are.
        """
        ...

    def search(
        self, asked: SearchQuery, embedding: Vector, user: UserContext, k: int, stock: Floats, list_price: Floats
    ) -> SearchResult:
        """Rows of the k items in stock that fit best, best first, with what there is to say about them.

        Args:
            asked: What is searched for.
            embedding: (d,) of its text.
            user: The customer.
            k: Rows wanted.
            stock: (N,) units of every catalogue row now, NaN where unknown.
            list_price: (N,) list price of every catalogue row now, money.
        """
        ...

    def texts(self, item_ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, str | None]]:
        """Some texts of some items of the catalogue; None where the catalogue has none."""
        ...

    def price(self, inputs: PageInputs) -> PricedPage:
        """The priced page of some rows."""
        ...

    def explain(self, inputs: PageInputs) -> list[dict[str, Any]]:
        """Why each price of :meth:`price` with the same inputs is what it is, in the order of its ranks."""
        ...


class ModelCore(Core):
    """A model folder as a :class:`Core`.

    Args:
        model: The loaded model folder.
        seal: Of its files; None looks at none.
        options: What is done to a query before it is searched for.
    """

    def __init__(
        self, model: PricingModel, seal: FolderSeal | None = None, options: SearchOptions | None = None
    ) -> None:
        self.model = model
        self._seal = seal
        self._reader = model.search.reader(currency(model.policy.currency), options)
        self._texts = {
            name: [text if isinstance(text, str) and text else None for text in model.catalogue[name]]
            for name in ITEM_TEXTS
            if name in model.catalogue.columns
        }

    @classmethod
    def load(
        cls,
        path: Path,
        threads: int,
        capabilities: frozenset[str] | None = None,
        options: SearchOptions | None = None,
    ) -> ModelCore:
        """Load and verify a model folder.

        Args:
            path: The model folder.
            threads: CPU threads of one encode.
            capabilities: What the model may do; by default what the decision in the folder accepts.
            options: What is done to a query before it is searched for.

        Raises:
            ModelFolderError: It is absent, altered, or does not fit together.
        """
        from fairtag.model.pricing_model import load_pricing_model

        seal = FolderSeal(path, read_manifest(path))  # before its files are verified: nothing in between is missed
        model = load_pricing_model(path, threads=threads)
        if capabilities is not None:
            model = replace(model, capabilities=capabilities)
        _ = model.retriever  # opened now: the first search must not wait for it
        return cls(model, seal, options)

    @property
    @override
    def version(self) -> str:
        return self.model.version

    @property
    @override
    def capabilities(self) -> frozenset[str]:
        return self.model.capabilities

    @property
    @override
    def currency(self) -> str:
        return self.model.policy.currency

    @property
    @override
    def minor_per_unit(self) -> int:
        return self.model.policy.limits.minor_per_unit

    @property
    @override
    def item_ids(self) -> Sequence[str]:
        return self.model.item_ids

    @property
    @override
    def market(self) -> MarketContext:
        return self.model.market

    @property
    @override
    def epoch_seconds(self) -> int:
        return self.model.policy.epoch_hours * 3600

    @override
    def epoch_of(self, seconds: float) -> int:
        return self.model.policy.epoch_of(seconds)

    @override
    def altered(self) -> str:
        return "" if self._seal is None else self._seal.altered()

    @property
    @override
    def accepted(self) -> AcceptedModel:
        return AcceptedModel(self.model.version, str(self.model.manifest["digest"]), self.model.policy)

    @override
    def corridor(self, rows: Rows, epoch: int, policy: ShopPolicy | None) -> DayCorridor:
        model = self.model.under(policy)
        return own_corridor(model, rows, terms_of(model, rows, epoch, policy))

    @override
    def encode(self, queries: Sequence[str]) -> Vector:
        return np.asarray(self.model.encoder.encode(list(queries), "query"), dtype=np.float32)

    @override
    def rows_of(self, item_ids: Sequence[str]) -> tuple[Rows, list[str]]:
        row_of = self.model.row_of
        known = [row_of[item_id] for item_id in item_ids if item_id in row_of]
        return np.array(known, dtype=np.int64), [item_id for item_id in item_ids if item_id not in row_of]

    @override
    def read_query(self, query: str, filters: Filters, facets: tuple[Facet, ...], *, as_typed: bool) -> SearchQuery:
        return self._reader.read(query, filters, facets, as_typed=as_typed)

    @override
    def search(
        self, asked: SearchQuery, embedding: Vector, user: UserContext, k: int, stock: Floats, list_price: Floats
    ) -> SearchResult:
        from fairtag.page.pricing import search

        return search(self.model, asked, embedding, user, k, stock=stock, list_price=list_price)

    @override
    def texts(self, item_ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, str | None]]:
        row_of, columns = self.model.row_of, [(name, self._texts.get(name)) for name in fields]
        rows = [row_of[item_id] for item_id in item_ids]
        return [{name: None if column is None else column[row] for name, column in columns} for row in rows]

    @override
    def price(self, inputs: PageInputs) -> PricedPage:
        from fairtag.page.pricing import price_page

        return price_page(self.model, inputs)

    @override
    def explain(self, inputs: PageInputs) -> list[dict[str, Any]]:
        from fairtag.page.pricing import explain_page

        return explain_page(self.model, inputs)


def tune_garbage_collection() -> None:
    """Take what is loaded by now out of the garbage collector's sight, and let it look seldom at what is new.

    A full collection would walk half a million objects and stop all requests for a tenth of a second. The objects of a
    page go with its answer; to look for cycles among them every 700 allocations took some percent of a page's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def warm_up(core: Core) -> None:
    """Encode, find and price a few pages for nobody, so that the first customer waits for no import or cold memory."""
    nobody, epoch = UserContext(), core.epoch_of(0.0)
    for query in WARM_QUERIES:
        asked = core.read_query(f"{query} qwxzv", Filters(), (), as_typed=False)
        (embedding,) = core.encode([query])
        market, size = core.market, min(24, len(core.item_ids))
        rows = core.search(replace(asked, floor=-1.0), embedding, nobody, size, market.stock, market.list_price).rows
        core.price(PageInputs(rows, embedding, nobody, epoch, market=core.market.rows(rows)))
    core.price(PageInputs(rows[:1], None, nobody, epoch, market=core.market.rows(np.asarray(rows[:1]))))
