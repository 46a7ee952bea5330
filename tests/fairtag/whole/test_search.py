"""Search of a fitted model folder: what was calibrated in training holds for queries that nobody prepared."""

import random
import string

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.base.text import item_texts, tokens
from fairtag.page.pricing import search
from fairtag.policy.context import UserContext
from fairtag.search.facets import Filters


@pytest.fixture(scope="module")
def shop_words(model):
    """Words of at least six letters, those of most items first."""
    counts = model.search.words.counts()
    return sorted(
        (word for word in counts if word.isalpha() and len(word) >= 6), key=lambda word: (-counts[word], word)
    )


def ask(model, query, filters=None, facets=(), k=24):
    asked = model.query_reader.read(query, filters, facets)
    embedding = model.encoder.encode([asked.text], "query")[0]
    return asked, search(model, asked, embedding, UserContext(), k)


def test_a_misspelt_query_finds_what_the_right_one_finds(model, shop_words):
    rng = random.Random(0)
    same = []
    for word in shop_words[:40]:
        at = rng.randrange(1, len(word) - 1)
        slip = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        _, right = ask(model, word)
        asked, found = ask(model, slip)
        assert asked.corrected is not None or slip in model.search.words
        same.append(found.rows.tolist() == right.rows.tolist())
    assert np.mean(same) >= 0.95


def test_nonsense_finds_nothing_and_says_why(model):
    rng = random.Random(1)
    for _ in range(50):
        query = " ".join("".join(rng.choice(string.ascii_lowercase) for _ in range(9)) for _ in range(2))
        asked, found = ask(model, query)
        if asked.corrected is None:
            assert found.rows.size == 0, query
            assert "nothing in this shop" in found.notice


def test_customers_own_queries_keep_their_items(market, model):
    queries = market.tables.judgements[schema.QUERY].unique()
    found = [ask(model, query)[1].rows.size > 0 for query in queries[:200]]
    assert np.mean(found) >= 0.95


def test_a_price_in_the_words_holds_for_every_item_of_the_page(model):
    limit = float(np.median(model.market.list_price))
    asked, found = ask(model, f"table under {limit:.2f}")
    assert asked.filters.high_minor == round(limit * 100)
    assert 0 < len(found.rows) <= 24
    assert (model.market.list_price[found.rows] <= limit).all()
    assert "under" not in tokens(asked.text)


def test_facets_of_a_search_agree_with_the_catalogue(model):
    catalogue = model.catalogue
    word = tokens(catalogue[schema.CATEGORY].iloc[0])[0]
    with_word = np.array([word in tokens(text) for text in item_texts(catalogue)])
    in_stock = catalogue[schema.STOCK].to_numpy() > 0
    _, found = ask(model, word, facets=("category",))
    counts = {facet.value: facet.count for facet in found.facets}
    expected = catalogue[with_word & in_stock][schema.CATEGORY].value_counts()
    for category, count in expected.items():
        assert counts[category] >= count  # the page itself may show more
    chosen = str(expected.index[0])
    _, within = ask(model, word, Filters(category=(chosen,)))
    assert set(catalogue[schema.CATEGORY].iloc[within.rows]) == {chosen}
