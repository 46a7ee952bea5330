"""What search makes of typing errors and of nonsense, and what spelling, floor, filters and facets cost beside a page.

The pages take turns, query by query, in one process on one thread: with each step off, and with one step on.
"""

from __future__ import annotations

import random
import string
import tempfile
import time
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.result import Result, Row, share_row
from benchmarks.serving.catalogue import SIZE, customer_queries, enlarge_catalogue, small_shop
from fairtag.base import schema
from fairtag.base.tables import read_tables
from fairtag.base.text import tokens
from fairtag.page.priced_page import PageInputs
from fairtag.policy.context import UserContext
from fairtag.search.facets import Facet, Filters
from fairtag.search.query import SearchOptions
from fairtag.search.spelling import ONE_ERROR
from fairtag.simulator.shop_design import ShopSize
from serving.page.core import ModelCore, Rows

ITEMS, PAGE = 20_000, 24
NONSENSE = 500
GOOD, POOR = 0.5, 0.1  # judged relevance from which on an item is a good match, and up to which it is a poor one
GUEST = UserContext()
OFF = SearchOptions(correct=False, price_words=False, floor=False)
FACETS: tuple[Facet, ...] = ("category", "brand", "price")
QUICK = ShopSize(items=300, users=200, impressions=4_000, wishes=120, judgements=300)

Page = Callable[[str], Rows]


def run(items: int = ITEMS, work: Path | None = None) -> Result:
    """Spelling and floor on queries of a simulated shop, and the time of its pages.

    Args:
        items: Items of the larger catalogue, on which pages are timed.
        work: Folder that keeps the catalogues for the next run.
    """
    with tempfile.TemporaryDirectory() as scratch:
        return _measured(work or Path(scratch), items, SIZE)


def quick(items: int = 600, work: Path | None = None) -> Result:
    """The same on a shop of a few hundred items."""
    with tempfile.TemporaryDirectory() as scratch:
        return _measured(work or Path(scratch), items, QUICK)


def _measured(folder: Path, items: int, size: ShopSize) -> Result:
    small = small_shop(folder / "shop", size)
    large = enlarge_catalogue(small, folder / f"model-{items}", items)
    queries = customer_queries(small.parent)
    core, plain = ModelCore.load(small, 1), ModelCore.load(small, 1, options=OFF)
    rows = [*_spelling(core, plain, queries), *_floor(core, queries), *_filtered(core, plain, small.parent)]
    rows += _costs(ModelCore.load(large, 1), ModelCore.load(large, 1, options=OFF), queries)
    notes = (
        f"A simulated shop of {size.items:,} items with untuned MiniLM; times on its catalogue repeated to {items:,}.",
        "A slip is one letter left out, doubled, exchanged, or swapped with its neighbour, in one word of a query "
        "that the shop has. Only queries whose words are all known are given one. A slip may make another word.",
        "Ratios are medians of the pages of one query in turn: encode, search and price; no query is read twice.",
    )
    return Result(tuple(rows), notes)


def _spelling(core: ModelCore, plain: ModelCore, queries: Sequence[str]) -> list[Row]:
    rng, words = random.Random(0), core.model.search.words
    speller = core.model.search.speller
    known = [query for query in queries if all(speller.knows(word, words) for word in tokens(query))]
    pairs = [(query, slip) for query in known if (slip := _slip(query, rng, speller.counts)) is not None]
    read = core.model.query_reader.read
    undone = np.mean([tokens(read(slip).text) == tokens(query) for query, slip in pairs])
    shown = {}
    for name, each in (("corrected", core), ("as_typed", plain)):
        pages = [(set(_page(core)(query).tolist()), set(_page(each)(slip).tolist())) for query, slip in pairs]
        shown[name] = float(np.mean([len(right & found) / max(len(right), 1) for right, found in pages]))
    changed = np.mean([read(query).corrected is not None for query in known])
    return [
        Row("slips", len(pairs), unit="queries"),
        Row("slips_undone", float(undone), unit="share", reference=1.0),
        Row("page_kept_corrected", shown["corrected"], unit="share of the right page's items", reference=1.0),
        Row("page_kept_as_typed", shown["as_typed"], unit="share of the right page's items"),
        Row("right_queries_changed", float(changed), unit="share", reference=0.0),
    ]


def _floor(core: ModelCore, queries: Sequence[str]) -> list[Row]:
    rng, page = random.Random(1), _page(core)
    letters = [" ".join(_letters(rng) for _ in range(rng.randint(1, 3))) for _ in range(NONSENSE)]
    empty = np.mean([not len(page(query)) for query in letters])
    lost = np.mean([not len(page(query)) for query in queries])
    return [
        Row("nonsense", len(letters), unit="queries"),
        Row("nonsense_empty", float(empty), unit="share", reference=1.0),
        Row("customers_queries_empty", float(lost), unit="share", reference=0.01),
    ]


def _filtered(core: ModelCore, plain: ModelCore, folder: Path) -> list[Row]:
    """What the floor takes from pages under a price limit: judged items that are good, and those that are poor."""
    judged = read_tables(folder / "tables").judgements
    assert judged is not None, "the simulated shop has judgements"
    row_of = {item: row for row, item in enumerate(core.model.item_ids)}
    limit = Filters(high_minor=int(np.quantile(core.market.list_price, 0.5) * core.minor_per_unit))
    shown: dict[str, list[bool]] = {"good": [], "poor": []}
    for query, judgements in judged.groupby(schema.QUERY):
        before = set(_page(plain, limit)(str(query)).tolist())
        after = set(_page(core, limit)(str(query)).tolist())
        for item, relevance in zip(judgements[schema.ITEM_ID], judgements[schema.RELEVANCE], strict=True):
            kind = "good" if relevance >= GOOD else "poor" if relevance <= POOR else ""
            if kind and row_of.get(item) in before:
                shown[kind].append(row_of[item] in after)
    return [
        share_row("filtered_good_kept", sum(shown["good"]), len(shown["good"]), reference=1.0),
        share_row("filtered_poor_kept", sum(shown["poor"]), len(shown["poor"]), reference=0.0),
    ]


def _costs(core: ModelCore, plain: ModelCore, queries: Sequence[str]) -> list[Row]:
    rng = random.Random(2)
    limit = int(np.quantile(core.market.list_price, 0.5) * core.minor_per_unit)
    arms: dict[str, tuple[Page, Callable[[str], str]]] = {
        "off": (_page(plain), str),
        "read": (_page(core), str),
        "typo_off": (_page(plain), lambda query: _slip(query, rng) or query),
        "typo": (_page(core), lambda query: _slip(query, rng) or query),
        "filter": (_page(core, Filters(high_minor=limit)), str),
        "facets": (_page(core, Filters(), FACETS), str),
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    for query in queries:
        for name, (page, asked) in rng.sample(sorted(arms.items()), len(arms)):
            text = asked(query)
            started = time.perf_counter()
            page(text)
            times[name].append(time.perf_counter() - started)
    rows = [Row("page_ms", median(times["off"]) * 1e3, unit="ms")]
    for name in ("read", "typo", "filter", "facets"):
        base = times["typo_off" if name == "typo" else "off"]
        ratio = np.array(times[name]) / np.array(base)
        low, high = np.quantile([np.median(ratio[rng_rows]) for rng_rows in _draws(len(ratio))], [0.025, 0.975])
        rows.append(Row(f"{name}_over_off", float(np.median(ratio)), float(low), float(high), "times"))
    return rows


def _draws(count: int) -> list[Rows]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, count, count) for _ in range(400)]


def _page(core: ModelCore, filters: Filters | None = None, facets: tuple[Facet, ...] = ()) -> Page:
    """A guest's page of a query, from its words to its prices."""

    def page(query: str) -> Rows:
        asked = core.read_query(query, filters or Filters(), facets, as_typed=False)
        (vector,) = core.encode([asked.text])
        market = core.market
        rows = core.search(asked, vector, GUEST, PAGE, market.stock, market.list_price).rows
        core.price(PageInputs(rows, vector, GUEST, 20_000, market=market.rows(rows)))
        return rows

    return page


def _slip(query: str, rng: random.Random, names: Container[str] | None = None) -> str | None:
    """The query with one typing error in one of its longer words, or one of some names; None where it has none."""
    words = tokens(query)
    longer = [place for place, word in enumerate(words) if word.isalpha() and len(word) > ONE_ERROR]
    places = [place for place in longer if names is None or words[place] in names]
    if not places:
        return None
    place = rng.choice(places)
    word = words[place]
    at = rng.randrange(1, len(word) - 1)
    other = rng.choice([letter for letter in string.ascii_lowercase if letter != word[at]])
    kinds = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + other + word[at + 1 :],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )
    slips = [slip for slip in kinds if slip != word]
    return " ".join([*words[:place], rng.choice(slips), *words[place + 1 :]])


def _letters(rng: random.Random) -> str:
    return "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(4, 9)))
