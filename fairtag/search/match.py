"""How the words of a query match a text: the features that the re-ranker is fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtag.base.text import tokens
from fairtag.search.text_table import FACTS, KINDS, Hashes, Rows, TextHashes, TextTable, hash_words, letter_runs

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Values = dict[str, Floats | Rows | Mask]

# Each feature, and whether relevance may only rise (1) or only fall (-1) with it.
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
    "near_share": 0,  # forced to rise, these ranked worse
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
        weight: Weight of each (Robertson and Sparck Jones, smoothed to stay above 0).
        unknown: Weight of a stem that no text has.
    """

    stems: Hashes
    weight: Floats
    unknown: float

    @classmethod
    def of(cls, table: TextTable) -> Rarity:
        """Count the texts that contain each stem."""
        hashes = table.take(np.arange(len(table)), ["stems"])
        stems, count = np.unique(hashes.hashes, return_counts=True)
        n = len(table)
        return cls(stems, np.log1p((n - count + 0.5) / (count + 0.5)), float(np.log1p((n + 0.5) / 0.5)))

    def __call__(self, stems: Hashes) -> Floats:
        """The weight of each stem."""
        if not self.stems.size:
            return np.full(stems.size, self.unknown)
        near = np.minimum(np.searchsorted(self.stems, stems), self.stems.size - 1)
        return np.where(self.stems[near] == stems, self.weight[near], self.unknown)


@dataclass(frozen=True)
class QueryHashes:
    """A query, hashed for matching with texts.

    Args:
        text: The hashes of its words and letters.
        order: Place of each word's stem among the distinct stems (w,).
        runs: Place of each word's runs of three letters among the distinct runs, word by word (p,).
        starts: Where the runs of each word begin (w,).
    """

    text: TextHashes
    order: Rows
    runs: Rows
    starts: Rows

    @classmethod
    def of(cls, query: str) -> QueryHashes:
        """Hash a query."""
        words = tokens(query)
        text = hash_words(words)
        runs, starts = letter_runs(words)
        order = np.searchsorted(text.of("stems"), text.stems)
        return cls(text, order, np.searchsorted(text.of("grams"), runs), starts)

    def share_of_letters(self, held: Mask) -> Floats:
        """Share of each word's letter runs that each text has (w, n), given the distinct runs it has (r, n)."""
        sizes = np.diff(self.starts, append=self.runs.size)
        return np.add.reduceat(held[self.runs], self.starts, axis=0, dtype=np.float64) / sizes[:, None]


def match_features(query: QueryHashes, table: TextTable, rows: Rows, cosine: Floats, rarity: Rarity) -> Floats:
    """The features (n, f) of a query with the texts of some rows, in the order of :data:`FEATURES`.

    Args:
        query: The query.
        table: Texts.
        rows: Rows of the texts to match (n,).
        cosine: Cosine of the intent with the embedding of each text (n,).
        rarity: How rare each stem is.
    """
    text, one = query.text, np.ones(len(rows))
    facts = dict(zip(FACTS, table.facts[rows].T, strict=True))
    texts = table.take(rows)
    held = dict(zip(KINDS, texts.holds(text.sets), strict=True))
    shared, (words, stems) = held["words"].sum(0), texts.sizes[:2]
    wanted, heads = text.of("words"), facts["head"].astype(np.uint32)
    their_stems = texts.hashes[words.sum() :][: stems.sum()]
    # One look-up for all rarities: of the query's stems, of the texts' stems and of the texts' heads.
    rare = rarity(np.concatenate([text.of("stems"), their_stems, heads]))
    weight, named = rare[: len(held["stems"])], rare[rare.size - heads.size :]
    theirs = rare[weight.size : rare.size - heads.size]
    whole = np.bincount(np.repeat(np.arange(len(rows)), stems), theirs, len(rows)).astype(np.float64)
    values: Values = {
        "cosine": cosine,
        "query_words": len(text.stems) * one,
        "query_letters": text.letters * one,
        "query_rarity": weight.sum() * one,
        "text_words": facts["words"],
        "text_numbers": facts["numbers"],
        "shared_words": shared,
        "word_share": _share(held["words"]),
        "word_jaccard": shared / np.maximum(wanted.size + words - shared, 1),
        "first_word": held["words"][wanted == text.first_word].any(0),
        "stem_share": _share(held["stems"]),
        "pair_share": _share(held["pairs"]),
        "flat_share": _share(held["flat"]),
        "number_share": _share(held["numbers"]),
        "text_head_rarity": named,
        **_rarities(weight, held["stems"], whole),
        **_heads(query, facts, held["stems"]),
        **_letters(query, weight, held["stems"], held["grams"]),
    }
    out = np.empty((len(rows), len(FEATURES)))
    for column, name in enumerate(FEATURES):
        out[:, column] = values[name]
    return out


def _rarities(weight: Floats, holds: Mask, whole: Floats) -> Values:
    """Share of the query's rare stems that the text has, and share of the text's rare stems that the query has."""
    met = weight @ holds
    return {
        "rare_share": met / max(float(weight.sum()), 1e-9),
        "covered": met / np.maximum(whole, 1e-9),
        "rarest_missing": (weight[:, None] * ~holds).max(0, initial=0.0),
    }


def _heads(query: QueryHashes, facts: dict[str, Rows], holds: Mask) -> Values:
    """Whether the head and the last word of query and text occur in each other."""
    text = query.text
    stems, head = text.of("stems"), np.flatnonzero(text.of("stems") == text.head)
    return {
        "last_stem": holds[query.order[-1:]].any(0),
        "text_last_stem": (facts["last_stem"] == stems[:, None]).any(0),
        "head_met": holds[head].any(0),
        "heads_alike": facts["head"] == text.head,
        "text_head_met": (facts["head"] == stems[:, None]).any(0),
    }


def _letters(query: QueryHashes, weight: Floats, holds: Mask, grams: Mask) -> Values:
    """How nearly the text has each word of the query: 1 where it has the stem, else its share of the word's letters."""
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


def _share(held: Mask) -> Floats:
    """Share of the query's hashes of one kind (w, n) that each text has; -1 where the query has none."""
    return held.sum(0) / len(held) if len(held) else np.full(held.shape[1], -1.0)
