"""Corrects the words of a query: letters swapped, left out or doubled, words joined or split.

>>> index = WordIndex.build(["cordless drill", "drill bit set", "desk lamp"])
>>> speller = Speller.build(index)
>>> speller.correct(["cordles", "dril"], index), speller.correct(["desklamp"], index)
(['cordless', 'drill'], ['desk', 'lamp'])

A word that the shop, its customers or the encoder know is never corrected: "couch" stays "couch" in a shop of coaches.
The index is a symmetric delete index (Garbe, 2012) in two sorted arrays. It stands here because no installed library
has one; ``python -m benchmarks search-behaviour`` compares its time with a page's.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import ModelFolderMissing
from fairtag.base.files import directory_atomic, read_json, write_json
from fairtag.search.word_index import WordIndex

Hashes = NDArray[np.uint32]
Numbers = NDArray[np.int32]

# Lucene's and Elasticsearch's rule (fuzziness AUTO): words of up to 2 letters are taken as typed, those of 3 to 5 may
# have one error, longer ones two.
ONE_ERROR, TWO_ERRORS = 3, 6
LONGEST = 24  # letters of a word that is looked up; its deletions grow with the square
MOST_WORDS = 8  # unknown words of one query that are looked up: bounds the work of a hostile query
_CONTEXT = 5  # candidates that are compared by the texts they share with the rest of the query
_FILES = ("hashes", "places")
_WORDS = "words.json"


@dataclass(frozen=True)
class Speller:
    """The words that a query may be corrected to, and the words that are left alone.

    Safe to use from several threads.

    Args:
        counts: Words that may be corrected to, with the number of texts (and queries) that have each.
        known: Hashes, ascending, of further words that are left alone.
        hashes: Hash of each word with up to two letters deleted, ascending (h,).
        places: The word that each belongs to, by its place in ``counts`` (h,).
    """

    counts: Mapping[str, int]
    known: Hashes
    hashes: Hashes
    places: Numbers

    @classmethod
    def build(cls, index: WordIndex, asked: Mapping[str, int] | None = None, known: Collection[str] = ()) -> Speller:
        """Index the words of a catalogue.

        Args:
            index: The words of the catalogue's texts.
            asked: Words of customers' queries that are words of their own, with the number of queries.
            known: Further words that are right as they are, such as those of the encoder.
        """
        counts = index.counts()
        for word, count in (asked or {}).items():
            counts[word] = counts.get(word, 0) + count
        counts = dict(sorted((word, count) for word, count in counts.items() if _correctable(word)))
        pairs = [(_hash(part), place) for place, word in enumerate(counts) for part in _deletions(word)]
        hashes = np.array([pair[0] for pair in pairs], dtype=np.uint32)
        order = np.argsort(hashes, kind="stable")
        places = np.array([pair[1] for pair in pairs], dtype=np.int32)
        others = np.unique(np.array([_hash(word) for word in known], dtype=np.uint32))
        return cls(counts, others, hashes[order], places[order])

    def knows(self, word: str, index: WordIndex) -> bool:
        """Whether a word, or another form of it, is of the catalogue, of customers' queries, or of the language."""
        return any(form in index or form in self.counts or _hash(form) in self._known for form in _forms(word))

    def correct(self, words: Sequence[str], index: WordIndex) -> list[str]:
        """The words of a query, each unknown one replaced by the shop's nearest; as they are where none is near.

        Of equally near words the one counts that shares most texts with the rest of the query, then the more frequent.

        Args:
            words: Words of the query, in order.
            index: The words of the catalogue's texts.
        """
        joined = self._join(words, index)
        unknown = [place for place, word in enumerate(joined) if _correctable(word) and not self.knows(word, index)]
        found = {place: self._options(joined[place], index) for place in unknown[:MOST_WORDS]}
        fixed: dict[int, list[str]] = {place: [word] for place, word in enumerate(joined) if place not in found}
        for place, options in sorted(found.items(), key=lambda pair: len(pair[1])):  # the surest word first
            context = [word for words in fixed.values() for word in words if word in index]
            fixed[place] = self._choose(options, context, index) if options else [joined[place]]
        return [word for place in sorted(fixed) for word in fixed[place]]

    def _join(self, words: Sequence[str], index: WordIndex) -> list[str]:
        """Pairs that the shop writes together and that no text has as two words: "cord less" is "cordless"."""
        out: list[str] = []
        taken = False
        for word, following in pairwise([*words, ""]):
            if taken:
                taken = False
            elif following and (together := word + following) in index and not index.shared((word, following)):
                out.append(together)
                taken = True
            else:
                out.append(word)
        return out

    def _options(self, word: str, index: WordIndex) -> list[list[str]]:
        """What a word may stand for: its nearest words, or two words that it joins."""
        near = self.nearest(word)
        halves = [[word[:at], word[at:]] for at in range(2, len(word) - 1)]
        split = [pair for pair in halves if all(part in index for part in pair) and index.shared(pair)]
        one_error = [[other] for other, errors in near if errors == 1]
        return one_error or split or [[other] for other, _ in near]

    def _choose(self, options: list[list[str]], context: Sequence[str], index: WordIndex) -> list[str]:
        if len(options) == 1:
            return options[0]

        def frequency(option: list[str]) -> int:
            return min(self.counts.get(word, 0) for word in option)

        def weight(option: list[str]) -> tuple[float, int]:
            shared = sum(index.shared((*option, other)) for other in context)
            return shared / (frequency(option) + 1), frequency(option)  # a word that is in every text tells nothing

        return max(sorted(options, key=frequency)[-_CONTEXT:], key=weight)

    def nearest(self, word: str) -> list[tuple[str, int]]:
        """The shop's words with the fewest errors between them and a word, and how many; empty where all are far.

        An error is a letter left out, put in, exchanged, or swapped with its neighbour.
        """
        if not self.hashes.size or len(word) > LONGEST:
            return []
        wanted = np.array(sorted({_hash(part) for part in _deletions(word)}), dtype=np.uint32)
        first, last = (np.searchsorted(self.hashes, wanted, side=side) for side in ("left", "right"))
        places = {place for a, b in zip(first, last, strict=True) for place in self.places[a:b].tolist()}
        errors = {other: errors_between(word, other) for other in (self._words[place] for place in places)}
        fair = {other: count for other, count in errors.items() if 0 < count <= _allowed(word, other)}
        least = min(fair.values(), default=0)
        return sorted((other, count) for other, count in fair.items() if count == least)

    @cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(self.known.tolist())

    @cached_property
    def _words(self) -> list[str]:
        return list(self.counts)

    def save(self, path: Path) -> Path:
        """Write the index into a folder atomically."""
        with directory_atomic(path) as folder:
            write_json(folder / _WORDS, dict(self.counts))
            for name in (*_FILES, "known"):
                np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)
        return path

    @classmethod
    def load(cls, path: Path) -> Speller:
        """Memory-map what :meth:`save` wrote.

        Raises:
            ModelFolderMissing: A file is absent.
        """
        for file in (_WORDS, *(f"{name}.npy" for name in (*_FILES, "known"))):
            if not (path / file).is_file():
                raise ModelFolderMissing(f"{path / file}: missing; build the model folder again")
        hashes, places, known = (
            np.asarray(np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)) for name in (*_FILES, "known")
        )
        return cls(read_json(path / _WORDS), known, hashes, places)


def frequent_words(queries: Iterable[Sequence[str]], least: int) -> dict[str, int]:
    """Words that at least so many distinct queries have: a word that customers use, not one customer's slip."""
    counts: dict[str, int] = {}
    for words in queries:
        for word in set(words):
            counts[word] = counts.get(word, 0) + 1
    return {word: count for word, count in counts.items() if count >= least}


def errors_between(left: str, right: str) -> int:
    """Optimal string alignment distance: letters left out, put in, exchanged, or swapped with their neighbour.

    >>> errors_between("dril", "drill"), errors_between("lmap", "lamp"), errors_between("oak", "elm")
    (1, 1, 3)
    """
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, letter in enumerate(left, start=1):
        earlier, before, row = before, row, [i]
        for j, other in enumerate(right, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == right[j - 2] and left[i - 2] == other:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _allowed(word: str, other: str) -> int:
    """Errors that may lie between two words; two only where the first letter is right, which rarely is wrong."""
    shorter = min(len(word), len(other))
    if shorter >= TWO_ERRORS and word[0] == other[0]:
        return 2
    return 1 if shorter >= ONE_ERROR else 0


def _forms(word: str) -> Iterator[str]:
    """A word and its English inflections: "bake" is right where the shop has "baking"."""
    yield word
    if word.endswith("e"):
        yield from (f"{word}d", f"{word}s", f"{word[:-1]}ing")
    elif not word.endswith("s"):  # "cordles" is no word because "cordless" is one
        yield from (f"{word}s", f"{word}ing", f"{word}ed")
    for ending in ("s", "es", "ed", "ing"):
        if word.endswith(ending) and len(word) - len(ending) >= ONE_ERROR:
            yield word[: -len(ending)]
            if ending in ("ed", "ing"):
                yield f"{word[: -len(ending)]}e"


def _correctable(word: str) -> bool:
    """Whether a word can be misspelt: letters only, not too short; a model number is right as it is."""
    return ONE_ERROR <= len(word) <= LONGEST and word.isalpha()


def _deletions(word: str) -> Iterator[str]:
    """A word, and what is left of it without one letter, or without two where it is long."""
    for count in range(3 if len(word) >= TWO_ERRORS else 2):
        for gone in combinations(range(len(word)), count):
            yield "".join(letter for place, letter in enumerate(word) if place not in gone)


def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))
