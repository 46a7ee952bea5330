"""A query as it is searched for: its price taken out, its words corrected, and what it would take to find nothing.

>>> from fairtag.base.money import currency
>>> index = WordIndex.build(["cordless drill", "desk lamp"])
>>> reader = QueryReader(index, Speller.build(index), RelevanceFloor(), currency("EUR"))
>>> asked = reader.read("cordles dril under 20")
>>> asked.text, asked.corrected, asked.filters.high_minor
('cordless drill', 'cordless drill', 2000)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

from fairtag.base.money import Currency
from fairtag.base.text import normalise, tokens
from fairtag.search.facets import Facet, Filters
from fairtag.search.price_words import read_price
from fairtag.search.relevance_floor import COMMON, RelevanceFloor
from fairtag.search.spelling import Speller
from fairtag.search.word_index import WordIndex

TELLING = 0.5  # share of a query's rarity (inverse document frequency) that the catalogue must have to need no floor
# Inside filters: an item stays that is so near beside the nearest of all, or has so much of what the words tell. In a
# simulated shop with an untuned encoder it kept 99 % of the good items of pages, and dropped five of six random ones.
NEAR_BEST, TOLD = 0.4, 0.2
QUERIES_KEPT = 10_000  # read queries: most queries of a shop are asked again and again
NO_WORDS = "the query has no words to search for"
NOTHING_LIKE_IT = "nothing in this shop is like what was asked; check the spelling or use other words"


@dataclass(frozen=True)
class SearchOptions:
    """What is done to a query before it is searched for.

    Args:
        correct: Whether misspelt words are corrected.
        price_words: Whether a price in the words becomes a filter.
        floor: Whether a query that is like nothing in the shop gets no items.
        known_floor: Least cosine of a query of known words, instead of the model's; None keeps the model's.
        unknown_floor: Least cosine of a query without any, likewise.
    """

    correct: bool = True
    price_words: bool = True
    floor: bool = True
    known_floor: float | None = None
    unknown_floor: float | None = None


@dataclass(frozen=True)
class SearchQuery:
    """What is searched for.

    Args:
        text: What is embedded and matched by words.
        filters: What the items must meet; a price in the words is among them.
        facets: Facets to count.
        corrected: The text where words were corrected, None where it is as it was typed.
        floor: Least cosine of the text with its nearest item; -1 where its words are in the catalogue.
        near_best: Inside filters, least cosine of the text with an item, as a share of that with the nearest item of
            the whole catalogue; 0 where every item that meets the filters is shown.
        notice: What the customer should know, None where there is nothing.
        empty: Whether nothing can be found: the query has no words.
    """

    text: str
    filters: Filters = field(default_factory=Filters)
    facets: tuple[Facet, ...] = ()
    corrected: str | None = None
    floor: float = -1.0
    notice: str | None = None
    empty: bool = False
    near_best: float = 0.0


class QueryReader:
    """Reads queries; safe to share between threads.

    Args:
        words: The words of the catalogue's texts.
        speller: Corrects them.
        floor: The relevance floor of the catalogue.
        currency: The shop's currency.
        options: What is done to a query.
    """

    def __init__(
        self,
        words: WordIndex,
        speller: Speller,
        floor: RelevanceFloor,
        currency: Currency,
        options: SearchOptions | None = None,
    ) -> None:
        self._words, self._speller, self._currency = words, speller, currency
        self._options = options or SearchOptions()
        known, unknown = self._options.known_floor, self._options.unknown_floor
        self._floor = replace(
            floor,
            known=floor.known if known is None else known,
            unknown=floor.unknown if unknown is None else unknown,
        )
        self._read_text = lru_cache(QUERIES_KEPT)(self._understand)

    def read(
        self,
        query: str,
        filters: Filters | None = None,
        facets: tuple[Facet, ...] = (),
        *,
        as_typed: bool = False,
    ) -> SearchQuery:
        """What a query searches for.

        Args:
            query: What the customer typed.
            filters: What the items must meet; of two limits on the price the narrower one holds.
            facets: Facets to count.
            as_typed: Take the words as they are: correct none, and read no price from them.
        """
        asked, given = self._read_text(query, as_typed), filters or Filters()
        if not given and not facets:
            return asked
        low = [end for end in (asked.filters.low_minor, given.low_minor) if end is not None]
        high = [end for end in (asked.filters.high_minor, given.high_minor) if end is not None]
        narrowed = replace(given, low_minor=max(low, default=None), high_minor=min(high, default=None))
        return replace(asked, filters=narrowed, facets=facets)

    def text(self, query: str) -> str:
        """The text that a query is embedded as."""
        return self._read_text(query, False).text

    def _understand(self, query: str, as_typed: bool) -> SearchQuery:
        options, text = self._options, normalise(query)
        price = None if as_typed or not options.price_words else read_price(text, self._currency)
        filters = Filters() if price is None else Filters(low_minor=price.low_minor, high_minor=price.high_minor)
        notice, rest = (None, text) if price is None else (price.notice, price.rest)
        words = tokens(rest)
        if not words:
            return SearchQuery(query, filters, notice=notice or (None if filters else NO_WORDS), empty=not filters)
        fixed = words if as_typed or not options.correct else self._speller.correct(words, self._words)
        corrected = None if fixed == words else " ".join(fixed)
        plain = query if rest == text else rest  # the encoder normalises, and a query is embedded as it was in training
        least = self._least(fixed)
        near = NEAR_BEST if options.floor else 0.0
        return SearchQuery(corrected or plain, filters, (), corrected, least, notice, near_best=near)

    def _least(self, words: list[str]) -> float:
        """The floor of a query: none where the catalogue has most of what its words tell."""
        if not self._options.floor or not self._words.size:
            return -1.0
        counts = {word: self._words.count(word) for word in words}
        size = self._words.size
        rarity = {word: self._words.rarity(word) for word in counts}
        telling = sum(rarity[word] for word, count in counts.items() if 0 < count <= COMMON * size)
        if telling >= TELLING * sum(rarity.values()):
            return -1.0
        known = any(self._speller.knows(word, self._words) for word in words if len(word) > 1 or not word.isascii())
        return self._floor.of(has_known_word=known)
