"""A query as it is searched for, and what a search says when there is nothing to find."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base.errors import ModelFolderMissing
from fairtag.base.money import currency
from fairtag.search.dense_index import ExactIndex
from fairtag.search.facets import FacetTable, Filters
from fairtag.search.query import NO_WORDS, NOTHING_LIKE_IT, QueryReader, SearchOptions, SearchQuery
from fairtag.search.relevance_floor import RelevanceFloor, fit_floor
from fairtag.search.retrieval import NOTHING_LIKE_WITHIN, NOTHING_WITHIN, Retriever
from fairtag.search.spelling import Speller
from fairtag.search.word_index import WordIndex

TEXTS = [f"cordless drill for walls {n}" for n in range(20)] + [f"dog leash for walks {n}" for n in range(20)]
PRICES = np.arange(40) * 100 + 1_000
FLOOR = RelevanceFloor(known=0.4, unknown=0.6)


def axis(place, width=8):
    return np.eye(width, dtype=np.float32)[place]


@pytest.fixture(scope="module")
def words():
    return WordIndex.build(TEXTS)


@pytest.fixture
def reader(words):
    speller = Speller.build(words, known=("president", "canine"))
    return lambda **options: QueryReader(words, speller, FLOOR, currency("EUR"), SearchOptions(**options))


@pytest.fixture(scope="module")
def retriever(words):
    """Drills lie on the first axis and leashes on the second."""
    embeddings = np.repeat([axis(0), axis(1)], 20, axis=0)
    items = pd.DataFrame({"category": ["tools"] * 20 + ["pets"] * 20, "brand": ["Acme", "Bolt"] * 20})
    return Retriever(ExactIndex(embeddings), words, None, embeddings, None, FacetTable.of(items))


def test_words_are_corrected_and_a_price_is_taken_out(reader):
    asked = reader().read("Cordles dril under 20")
    assert (asked.text, asked.corrected, asked.filters) == (
        "cordless drill",
        "cordless drill",
        Filters(high_minor=2_000),
    )
    right = reader().read("Cordless  Drill")
    assert (right.text, right.corrected, right.filters) == ("Cordless  Drill", None, Filters())


def test_as_typed_means_as_typed(reader):
    asked = reader().read("cordles dril under 20", as_typed=True)
    assert (asked.text, asked.corrected, asked.filters) == ("cordles dril under 20", None, Filters())


def test_each_step_has_a_switch(reader):
    assert reader(correct=False).read("cordles dril").corrected is None
    assert reader(price_words=False).read("drill under 20").filters == Filters()
    assert reader(floor=False).read("qwxzv").floor == -1
    assert reader(unknown_floor=0.9, known_floor=0.8).read("qwxzv").floor == 0.9
    assert reader(known_floor=0.8).read("president").floor == 0.8


def test_of_two_limits_the_narrower_holds(reader):
    asked = reader().read("drill between 15 and 30", Filters(("tools",), (), 1_000, 2_000))
    assert asked.filters == Filters(("tools",), (), 1_500, 2_000)


@pytest.mark.parametrize(
    ("query", "floor"),
    [
        ("drill", -1),
        ("cordles", -1),  # once corrected
        ("drill for the president", 0.4),  # the catalogue has the least of what it tells
        ("president", 0.4),
        ("for", 0.4),  # in every text: it tells nothing
        ("canine companion", 0.4),
        ("qwxzv blorpt", 0.6),
        ("电钻", 0.6),
    ],
)
def test_the_floor_depends_on_what_the_catalogue_has_of_the_words(reader, query, floor):
    assert reader().read(query).floor == floor


@pytest.mark.parametrize("query", ["?", "...", "!!! ???", "🔧"])
def test_a_query_without_words_finds_nothing_and_says_so(reader, retriever, query):
    asked = reader().read(query)
    found = retriever.search(asked, axis(0), axis(0), 24)
    assert found.rows.size == 0
    assert found.notice == NO_WORDS


def test_nonsense_finds_nothing_and_a_synonym_does(reader, retriever):
    nowhere, near = axis(7), (axis(1) + axis(7)) / np.sqrt(2)
    for query, vector, count in (("qwxzv blorpt", nowhere, 0), ("canine", near, 24), ("qwxzv", near, 24)):
        found = retriever.search(reader().read(query), vector, vector, 24)
        assert len(found.rows) == count, query
        assert found.notice == (None if count else NOTHING_LIKE_IT)
    known = retriever.search(reader().read("cordless drill"), nowhere, nowhere, 24)
    assert len(known.rows) == 24, "its words are in the catalogue"


def test_the_floor_looks_at_the_query_and_not_at_the_customers_history(reader, retriever):
    asked = reader().read("qwxzv blorpt")
    assert retriever.search(asked, axis(7), axis(1), 24).rows.size == 0


def test_filters_hold_and_the_best_of_what_is_left_comes_first(reader, retriever):
    asked = reader().read("dog leash", Filters(brand=("acme",), high_minor=3_500))
    found = retriever.search(asked, axis(1), axis(1), 5, np.ones(40), PRICES)
    assert found.rows.tolist() == [20, 22, 24], "the leashes, and no drill to fill the page"
    assert all(row % 2 == 0 and PRICES[row] <= 3_500 for row in found.rows)


def test_filters_do_not_fill_a_page_with_poor_matches(reader, retriever):
    """What is like the query by meaning, or by its words, stays; the rest of the filter does not."""
    tools = Filters(category=("tools",))
    near = (axis(0) + axis(1)) / np.sqrt(2)
    for query, vector, count in (("dog leash", axis(1), 0), ("dog leash", near, 20), ("cordless drill", axis(7), 20)):
        found = retriever.search(reader().read(query, tools), vector, vector, 24, None, PRICES)
        assert len(found.rows) == count, (query, vector[:2])
        assert found.notice == (None if count else NOTHING_LIKE_WITHIN)
    off = reader(floor=False).read("dog leash", tools)
    assert len(retriever.search(off, axis(1), axis(1), 24, None, PRICES).rows) == 20


def test_a_narrow_filter_finds_rows_that_no_search_would_reach(reader, words):
    embeddings = np.repeat([axis(0), axis(1)], [3_000, 1], axis=0)
    items = pd.DataFrame({"category": ["tools"] * 3_000 + ["pets"]})
    index = WordIndex.build(["drill"] * 3_000 + ["leash"])
    for given in (embeddings, None):  # scanned, and by searching ever deeper
        retriever = Retriever(ExactIndex(embeddings), index, None, given, None, FacetTable.of(items))
        asked = SearchQuery("drill", Filters(category=("pets",)))
        assert retriever.search(asked, axis(0), axis(0), 5, None, np.zeros(3_001)).rows.tolist() == [3_000]


def test_an_item_out_of_stock_is_neither_found_nor_counted(reader, retriever):
    stock = np.ones(40)
    stock[:18] = 0
    asked = reader().read("drill", Filters(category=("tools",)), ("category",))
    found = retriever.search(asked, axis(0), axis(0), 24, stock, PRICES)
    assert found.rows.tolist() == [18, 19]
    assert {facet.value: facet.count for facet in found.facets} == {"tools": 2}


def test_facets_count_every_item_with_the_words_and_not_only_the_page(reader, retriever):
    asked = reader().read("cordles drill", None, ("category", "brand"))
    found = retriever.search(asked, axis(0), axis(0), 3, np.ones(40), PRICES)
    assert len(found.rows) == 3
    counts = {(facet.field, facet.value): facet.count for facet in found.facets}
    assert counts == {("category", "tools"): 20, ("brand", "Acme"): 10, ("brand", "Bolt"): 10}


def test_a_page_without_items_says_which_filter_is_to_blame(reader, retriever):
    read, price = reader().read, PRICES
    none = retriever.search(read("drill", Filters(low_minor=10**6)), axis(0), axis(0), 5, None, price)
    assert (none.rows.size, none.notice) == (0, NOTHING_WITHIN)
    unknown = retriever.search(read("drill", Filters(category=("tolls",))), axis(0), axis(0), 5, None, price)
    assert "did you mean tools?" in unknown.notice


def test_a_price_alone_finds_what_it_says(reader, retriever):
    found = retriever.search(reader().read("under 12"), axis(0), axis(0), 24, None, PRICES)
    assert sorted(found.rows.tolist()) == [0, 1, 2]


def test_the_floor_lies_between_nonsense_and_what_customers_ask():
    rng = np.random.default_rng(0)
    items = np.repeat(np.eye(4, 32, dtype=np.float32), 10, axis=0)

    def encode(texts):
        rows = rng.normal(scale=0.3, size=(len(texts), 32))
        rows[:, 0] += [3.0 if text.startswith("real") else 0.0 for text in texts]
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    floor = fit_floor(encode, items, [f"real {n}" for n in range(200)], ["some", "words"])
    assert floor.queries == 200
    assert floor.lost <= 0.02
    assert 0.4 < floor.nonsense < 0.6, "customers' queries lie far above: the half of random words decides"
    assert floor.unknown > floor.known
    lower = fit_floor(encode, items, [f"query {n}" for n in range(200)], ["real"])
    assert 0.0 < lower.lost <= 0.02, "customers' queries lie below random words: they decide"
    without = fit_floor(encode, items, [], ["some", "words"])
    assert 0.4 < without.nonsense < 0.6
    assert fit_floor(encode, items[:0], [], []) == RelevanceFloor()


def test_a_floor_is_read_back_as_it_was(tmp_path):
    FLOOR.save(tmp_path)
    assert RelevanceFloor.load(tmp_path) == FLOOR
    with pytest.raises(ModelFolderMissing, match=r"floor\.json"):
        RelevanceFloor.load(tmp_path / "none")
