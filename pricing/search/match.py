"""How a query's words meet a text's: the numbers that a re-ranker is fitted on. Knows no grade and no model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pricing.search.text_table import Described, Hashes, Rows, TextTable

Floats = NDArray[np.float64]

# Each feature and whether relevance may only rise (1) or fall (-1) with it.
FEATURES = {
    "cosine": 1,
    "query_words": 0,
    "query_letters": 0,
    "query_rarity": 0,
    "text_words": 0,
    "text_numbers": 0,
    "shared_words": 1,
    "word_share": 1,
    "word_jaccard": 1,
    "first_word": 1,
    "stem_share": 1,
    "rare_share": 1,
    "rarest_missing": -1,
    "last_stem": 1,
    "text_last_stem": 0,
    "pair_share": 0,
    "gram_share": 1,
    "flat_share": 1,
    "number_share": 0,
}


@dataclass(frozen=True)
class Rarity:
    """Inverse document frequency of stems.

    Args:
        stems: Hashes, ascending.
        weight: Of each (Robertson and Sparck Jones, smoothed to stay above 0).
        unknown: Of a stem that no text has.
    """

    stems: Hashes
    weight: Floats
    unknown: float

    @classmethod
    def of(cls, table: TextTable) -> Rarity:
        """Count the texts that hold each stem."""
        chosen = table.take("stems", np.arange(len(table)))
        stems, count = np.unique(chosen.hashes, return_counts=True)
        n = len(table)
        return cls(stems, np.log1p((n - count + 0.5) / (count + 0.5)), float(np.log1p((n + 0.5) / 0.5)))

    def __call__(self, stems: Hashes) -> Floats:
        """The weight of each stem."""
        if not self.stems.size:
            return np.full(stems.size, self.unknown)
        near = np.minimum(np.searchsorted(self.stems, stems), self.stems.size - 1)
        return np.where(self.stems[near] == stems, self.weight[near], self.unknown)


def match_features(query: Described, table: TextTable, rows: Rows, cosine: Floats, rarity: Rarity) -> Floats:
    """The features (n, f) of a query with the texts of some rows, in the order of :data:`FEATURES`.

    Args:
        query: The query.
        table: Texts.
        rows: Which (n,).
        cosine: Of the intent and each text's embedding (n,).
        rarity: How rare each stem is.
    """
    words, stems, pairs, grams, flat, numbers = query.sets
    text_words, last, text_numbers = table.facts[rows].T
    one = np.ones(len(rows))
    chosen = table.take("words", rows)
    shared = chosen.shared(words)
    holds = table.take("stems", rows).holds(stems)
    weight = rarity(stems)
    missing = np.where(holds, 0.0, weight[:, None])
    values = {
        "cosine": cosine,
        "query_words": len(query.stems) * one,
        "query_letters": query.letters * one,
        "query_rarity": weight.sum() * one,
        "text_words": text_words,
        "text_numbers": text_numbers,
        "shared_words": shared,
        "word_share": _share(shared, words.size),
        "word_jaccard": shared / np.maximum(words.size + chosen.sizes() - shared, 1.0),
        "first_word": chosen.shared(np.array([query.first_word], dtype=np.uint32)),
        "stem_share": _share(holds.sum(0), stems.size),
        "rare_share": weight @ holds / max(float(weight.sum()), 1e-9),
        "rarest_missing": missing.max(0) if stems.size else 0.0 * one,
        "last_stem": holds[np.searchsorted(stems, query.stems[-1])] if stems.size else 0.0 * one,
        "text_last_stem": np.isin(last, stems),
        "pair_share": _share(table.take("pairs", rows).shared(pairs), pairs.size),
        "gram_share": _share(table.take("grams", rows).shared(grams), grams.size),
        "flat_share": _share(table.take("flat", rows).shared(flat), flat.size),
        "number_share": _share(table.take("numbers", rows).shared(numbers), numbers.size),
    }
    return np.column_stack([np.asarray(values[name], dtype=np.float64) for name in FEATURES])


def _share(part: Floats, whole: int) -> Floats:
    """Share of the query's that the text has; -1 where the query has none to share."""
    return part / whole if whole else np.full(len(part), -1.0)
