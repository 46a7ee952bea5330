"""The catalogue of the simulated shop: products with texts, attributes and prices."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

ATTRIBUTES = ("material", "colour", "size", "tier")  # columns of ``Catalogue.attributes``
COST_SHARE = (0.50, 0.05)  # mean and spread of unit cost over list price
COST_SHARE_RANGE = (0.35, 0.62)  # keeps every menu price of 0.7 list above cost
PRICE_NOISE = 0.08  # spread of the price that the text does not explain, in log units
OVERSTOCKED = 0.1  # share of items that the shop buys far too many of
PERISHABLE = 0.5  # share of overstocked items that perish
SHELF_LIFE_DAYS = 60.0  # of each delivery of a perishable item
SALVAGE_SHARE = (0.15, 0.3)  # what a clearance buyer pays, over the list price

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Texts = NDArray[np.object_]


@dataclass(frozen=True)
class ProductType:
    """A kind of product: its names, the synonyms shoppers use, and the needs it meets."""

    name: str
    category: int
    family: int
    titles: tuple[str, ...]
    synonyms: tuple[str, ...]
    needs: tuple[str, ...]
    price: float


@dataclass(frozen=True)
class Vocabulary:
    """The word lists of the simulated shop; ``raw`` holds the lists that are only drawn from."""

    categories: tuple[str, ...]
    types: tuple[ProductType, ...]
    raw: dict[str, Any]

    def words(self, attribute: str, category: int) -> tuple[str, ...]:
        """The values of an attribute in a category, in the order of their ids."""
        if attribute == "colour":
            return tuple(self.raw["colours"])
        if attribute == "tier":
            return tuple(tier["name"] for tier in self.raw["tiers"])
        return tuple(self.raw["categories"][self.categories[category]][f"{attribute}s"])


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """Read the word lists that come with the package."""
    raw = json.loads(files("fairtag.simulator").joinpath("shop_words.json").read_text(encoding="utf-8"))
    categories = tuple(raw["categories"])
    families: dict[tuple[str, str], int] = {}
    types = []
    for c, category in enumerate(categories):
        for entry in raw["categories"][category]["types"]:
            family = families.setdefault((category, entry["family"]), len(families))
            titles, synonyms, needs = (tuple(entry[key]) for key in ("title", "synonyms", "needs"))
            types.append(ProductType(entry["name"], c, family, titles, synonyms, needs, float(entry["price"])))
    return Vocabulary(categories, tuple(types), raw)


@dataclass(frozen=True)
class Catalogue:
    """Products in the order of item_id; every array has one row for each item.

    Args:
        item_id: Ids, sorted.
        title: Product titles.
        description: Product descriptions.
        brand: Brand names.
        category: Row of ``words.categories``.
        type: Row of ``words.types``.
        attributes: Ids of material, colour, size and tier, shape (n, 4).
        list_price: List price in money.
        unit_cost: Unit cost in money, before it drifts over time.
        map_price: Minimum advertised price in money, NaN where there is none.
        msrp: Suggested retail price in money, NaN where there is none.
        overstocked: Whether the shop buys far too many of it.
        salvage_value: Money for a unit left at the end of its life, NaN for items that keep.
        shelf_life_days: Days that a delivery keeps, NaN for items that keep.
        copy_of: Row of the item that each is a second listing of; its own for all others.
        words: The word lists the products were drawn from.
    """

    item_id: Texts
    title: Texts
    description: Texts
    brand: Texts
    category: Ints
    type: Ints
    attributes: Ints
    list_price: Floats
    unit_cost: Floats
    map_price: Floats
    msrp: Floats
    overstocked: NDArray[np.bool_]
    salvage_value: Floats
    shelf_life_days: Floats
    copy_of: Ints
    words: Vocabulary

    def __len__(self) -> int:
        return len(self.item_id)

    @property
    def category_names(self) -> Texts:
        """The name of each item's category."""
        return np.array(self.words.categories, dtype=object)[self.category]


def make_catalogue(n_items: int, rng: np.random.Generator, twins: float = 0.0) -> Catalogue:
    """Draw ``n_items`` products, of which a share ``twins`` is listed twice.

    The list price follows the words of the product (type, tier, size, material, brand) up to noise of
    ``PRICE_NOISE`` log units, so a price model can learn it from the text.
    """
    words = vocabulary()
    kind = rng.permutation(np.arange(n_items) % len(words.types)).astype(np.int64)
    category = np.array([kind_.category for kind_ in words.types])[kind]
    counts = np.array([[len(words.words(a, c)) for a in ATTRIBUTES] for c in range(len(words.categories))])
    attributes = (rng.random((n_items, len(ATTRIBUTES))) * counts[category]).astype(np.int64)
    brand = rng.integers(0, 5, n_items)
    list_price = _list_prices(words, kind, attributes, brand, rng)
    share = np.clip(rng.normal(*COST_SHARE, n_items), *COST_SHARE_RANGE)
    brands = np.array([words.raw["brands"][words.categories[c]][b] for c, b in zip(category, brand, strict=True)])
    titles, descriptions = _texts(words, kind, category, attributes, brands, rng)
    (own,) = rng.spawn(1)  # overstock changes no other draw
    overstocked = own.random(n_items) < OVERSTOCKED
    perishable = overstocked & (own.random(n_items) < PERISHABLE)
    salvage = np.round(list_price * own.uniform(*SALVAGE_SHARE, n_items), 2)
    catalogue = Catalogue(
        item_id=np.array([f"I{i:06d}" for i in range(n_items)], dtype=object),
        title=titles,
        description=descriptions,
        brand=brands.astype(object),
        category=category,
        type=kind,
        attributes=attributes,
        list_price=list_price,
        unit_cost=np.round(list_price * share, 2),
        map_price=np.where(
            rng.random(n_items) < 0.2, np.round(list_price * rng.uniform(0.66, 0.76, n_items), 2), np.nan
        ),
        msrp=np.where(rng.random(n_items) < 0.6, np.ceil(list_price * rng.uniform(1.0, 1.2, n_items)), np.nan),
        overstocked=overstocked,
        salvage_value=np.where(perishable, salvage, np.nan),
        shelf_life_days=np.where(perishable, SHELF_LIFE_DAYS, np.nan),
        copy_of=np.arange(n_items, dtype=np.int64),
        words=words,
    )
    return _with_copies(catalogue, twins, own)


def _with_copies(catalogue: Catalogue, twins: float, rng: np.random.Generator) -> Catalogue:
    """The catalogue with a share of its items in pairs, of which the second is the first under another id."""
    pairs = rng.permutation(len(catalogue))[: 2 * int(twins * len(catalogue) / 2)].reshape(-1, 2)
    copy_of = catalogue.copy_of.copy()
    copy_of[pairs[:, 1]] = pairs[:, 0]
    kept = {"item_id": catalogue.item_id, "words": catalogue.words}
    fields = {name: values[copy_of] for name, values in vars(catalogue).items() if name not in kept}
    return replace(catalogue, **fields)


def _list_prices(words: Vocabulary, kind: Ints, attributes: Ints, brand: Ints, rng: np.random.Generator) -> Floats:
    factor = np.array([kind_.price for kind_ in words.types])[kind]
    factor = factor * np.array(words.raw["material_price"])[attributes[:, 0]]
    factor = factor * np.array(words.raw["size_price"])[attributes[:, 2]]
    factor = factor * np.array([tier["price"] for tier in words.raw["tiers"]])[attributes[:, 3]]
    factor = factor * np.linspace(0.9, 1.1, 5)[brand] * np.exp(rng.normal(0, PRICE_NOISE, len(kind)))
    return np.asarray(np.maximum(np.floor(factor), 5.0) + 0.99, dtype=np.float64)


def _texts(
    words: Vocabulary, kind: Ints, category: Ints, attributes: Ints, brands: Texts, rng: np.random.Generator
) -> tuple[Texts, Texts]:
    draws = rng.random((len(kind), 6))
    titles, descriptions = [], []
    for i, (k, c) in enumerate(zip(kind, category, strict=True)):
        values = {a: words.words(a, c)[attributes[i, j]] for j, a in enumerate(ATTRIBUTES)}
        tier = words.raw["tiers"][attributes[i, 3]]
        values |= {
            "brand": brands[i],
            "category": words.categories[c],
            "type": pick(words.types[k].titles, draws[i, 0]),
        }
        title = pick(words.raw["templates"], draws[i, 1]).format(**values | {"tier": pick(tier["title"], draws[i, 2])})
        titles.append(_tidy(title))
        opening = pick(words.raw["openings"], draws[i, 3]).format(**values)
        features = pick(words.raw["features"], draws[i, 4])
        descriptions.append(f"{opening[0].upper()}{opening[1:]} {pick(tier['phrases'], draws[i, 5])} {features}")
    return np.array(titles, dtype=object), np.array(descriptions, dtype=object)


def pick(options: Any, draw: float) -> Any:
    """The option that a uniform draw in [0, 1) falls on."""
    return options[int(draw * len(options))]


def _tidy(text: str) -> str:
    return " ".join(text.replace(" ,", ",").split()).strip(" -|,")
