"""How a query's words meet a text's: the numbers that a re-ranker is fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtag.search.text_table import FACTS, KINDS, Chosen, Described, Hashes, Rows, TextTable, describe, runs_by_word

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Values = dict[str, Floats | Rows | Mask]

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
    "near_share": 0,  # tied to rise, these graded worse
    "near_mean": 0,
    "near_least": 0,
    "near_rarest": 0,
    "near_last": 0,
    "head_met": 0,
    "heads_alike": 0,
    "text_head_met": 0,
    "text_head_rarity": 0,
    "covered": 0,
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


@dataclass(frozen=True)
class Asked:
    """A query, ready to meet texts.

    Args:
        said: Its words, hashed.
        order: Place of each word's stem among the distinct ones (w,).
        runs: Place of each word's runs of three letters among the query's distinct ones, word after word (p,).
        starts: Where each word's begin among those (w,).
    """

    said: Described
    order: Rows
    runs: Rows
    starts: Rows

    @classmethod
    def of(cls, query: str) -> Asked:
        """Read a query."""
        said = describe(query)
        runs, starts = runs_by_word(query)
        order = np.searchsorted(said.of("stems"), said.stems)
        return cls(said, order, np.searchsorted(said.of("grams"), runs), starts)

    def share_of_letters(self, held: Mask) -> Floats:
        """Share of each word's runs that each text has (w, n), given which of the query's distinct ones it has."""
        sizes = np.diff(self.starts, append=self.runs.size)
        return np.add.reduceat(held[self.runs], self.starts, axis=0, dtype=np.float64) / sizes[:, None]


def match_features(query: Asked, table: TextTable, rows: Rows, cosine: Floats, rarity: Rarity) -> Floats:
    """The features (n, f) of a query with the texts of some rows, in the order of :data:`FEATURES`.

    Args:
        query: The query.
        table: Texts.
        rows: Which (n,).
        cosine: Of the intent and each text's embedding (n,).
        rarity: How rare each stem is.
    """
    said, one = query.said, np.ones(len(rows))
    facts = dict(zip(FACTS, table.facts[rows].T, strict=True))
    sets = {kind: table.take(kind, rows) for kind in KINDS}
    words, stems = sets["words"], sets["stems"]
    shared, wanted = words.shared(said.of("words")), said.of("words").size
    wanted_stems, heads = said.of("stems"), facts["head"].astype(np.uint32)
    holds = stems.holds(wanted_stems)
    # One search for the rarity of all: of the query's stems, of the texts' and of what the texts name.
    weight, whole, named = np.split(
        rarity(np.concatenate([wanted_stems, stems.hashes, heads])),
        np.cumsum([wanted_stems.size, stems.hashes.size]),
    )
    values: Values = {
        "cosine": cosine,
        "query_words": len(said.stems) * one,
        "query_letters": said.letters * one,
        "query_rarity": weight.sum() * one,
        "text_words": facts["words"],
        "text_numbers": facts["numbers"],
        "shared_words": shared,
        "word_share": _share(shared, wanted),
        "word_jaccard": shared / np.maximum(wanted + words.sizes() - shared, 1.0),
        "first_word": words.shared(np.array([said.first_word], dtype=np.uint32)),
        "stem_share": _share(holds.sum(0), weight.size),
        "pair_share": _met(sets["pairs"], said.of("pairs")),
        "flat_share": _met(sets["flat"], said.of("flat")),
        "number_share": _met(sets["numbers"], said.of("numbers")),
        "text_head_rarity": named,
        **_rarities(weight, holds, np.bincount(stems.place, whole, len(rows)).astype(np.float64)),
        **_heads(query, facts, holds),
        **_letters(query, weight, holds, sets["grams"].holds(said.of("grams"))),
    }
    return np.column_stack([np.asarray(values[name], dtype=np.float64) for name in FEATURES])


def _rarities(weight: Floats, holds: Mask, whole: Floats) -> Values:
    """How much of what is rare in the query the text has; how much of what is rare in the text was asked for."""
    met = weight @ holds
    return {
        "rare_share": met / max(float(weight.sum()), 1e-9),
        "covered": met / np.maximum(whole, 1e-9),
        "rarest_missing": (weight[:, None] * ~holds).max(0, initial=0.0),
    }


def _heads(query: Asked, facts: dict[str, Rows], holds: Mask) -> Values:
    """Whether what each names, and its last word, is the other's too."""
    said = query.said
    stems, head = said.of("stems"), np.flatnonzero(said.of("stems") == said.head)
    return {
        "last_stem": holds[query.order[-1:]].any(0),
        "text_last_stem": (facts["last_stem"] == stems[:, None]).any(0),
        "head_met": holds[head].any(0),
        "heads_alike": facts["head"] == said.head,
        "text_head_met": (facts["head"] == stems[:, None]).any(0),
    }


def _letters(query: Asked, weight: Floats, holds: Mask, grams: Mask) -> Values:
    """How near the text comes to each word of the query: 1 where it has the stem, else its share of the letters."""
    if not query.order.size:
        nothing = np.zeros(grams.shape[1])
        names = ("near_share", "near_mean", "near_least", "near_rarest", "near_last")
        return {"gram_share": nothing - 1.0, **dict.fromkeys(names, nothing)}
    near = np.maximum(holds[query.order], query.share_of_letters(grams))
    heavy = weight[query.order]
    return {
        "gram_share": grams.mean(0),
        "near_share": heavy @ near / max(float(heavy.sum()), 1e-9),
        "near_mean": near.mean(0),
        "near_least": near.min(0),
        "near_rarest": near[heavy.argmax()],
        "near_last": near[-1],
    }


def _met(texts: Chosen, wanted: Hashes) -> Floats:
    """Share of the query's own hashes of a kind that each text has."""
    return _share(texts.shared(wanted), wanted.size)


def _share(part: Floats, whole: int) -> Floats:
    """Share of the query's that the text has; -1 where the query has none to share."""
    return part / whole if whole else np.full(len(part), -1.0)
