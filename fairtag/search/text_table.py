"""Texts as sets of hashed words and letters, so that one query meets many texts in a few array operations.

Knows no embedding, no grade and no catalogue: texts in, arrays out, memory-mapped from disk.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import ModelFolderMissing
from fairtag.base.files import directory_atomic
from fairtag.base.text import tokens

Hashes = NDArray[np.uint32]
Rows = NDArray[np.int64]

KINDS = ("words", "stems", "pairs", "grams", "flat", "numbers")
FACTS = ("words", "numbers", "last_stem", "head")
_NUMBER = re.compile(r"\d+")
_ENDINGS = (("ies", "y"), ("es", ""), ("s", ""), ("ing", ""), ("ed", ""))
_SHORTEST_STEM = 3  # letters: "bed" is no past tense
_ASIDE = frozenset({"in", "with", "for"})  # what comes before one of them is what the thing is: "mower with bag"
_GRAM, _FLAT_GRAM = 3, 4  # letters; the longer ones run across words, so that "deckover" meets "deck over"
_FILES = ("hashes", "starts", "facts")


@dataclass(frozen=True)
class Described:
    """One text.

    Args:
        sets: For each of KINDS the distinct hashes, ascending.
        stems: Hash of each word's stem, in the order of the text.
        first_word: Hash of the first word, 0 where there is none.
        head: Hash of the stem of what the text names, which :func:`head_of` finds; 0 where there is no word.
        letters: Length of the words joined by single spaces.
    """

    sets: tuple[Hashes, ...]
    stems: Hashes
    first_word: int
    head: int
    letters: int

    def of(self, kind: str) -> Hashes:
        """One of the sets, by its kind."""
        return self.sets[KINDS.index(kind)]


@dataclass(frozen=True)
class Chosen:
    """One kind of hashes of some texts: the hashes (h,), and for each the place of its text among the n chosen."""

    hashes: Hashes
    place: Rows
    count: int

    def shared(self, wanted: Hashes) -> NDArray[np.float64]:
        """How many of the wanted hashes (ascending) each text has (n,)."""
        if not wanted.size:
            return np.zeros(self.count)
        near = np.minimum(np.searchsorted(wanted, self.hashes), wanted.size - 1)
        hits = (wanted[near] == self.hashes).astype(np.float64)
        return np.bincount(self.place, weights=hits, minlength=self.count).astype(np.float64)

    def holds(self, wanted: Hashes) -> NDArray[np.bool_]:
        """(w, n) whether each text has each wanted hash (ascending, distinct)."""
        out = np.zeros((wanted.size, self.count), dtype=bool)
        if wanted.size:
            near = np.minimum(np.searchsorted(wanted, self.hashes), wanted.size - 1)
            at = np.flatnonzero(wanted[near] == self.hashes)
            out[near[at], self.place[at]] = True
        return out

    def sizes(self) -> NDArray[np.float64]:
        """How many hashes each text has (n,)."""
        return np.bincount(self.place, minlength=self.count).astype(np.float64)


@dataclass(frozen=True)
class TextTable:
    """The hashes of n texts, kind after kind.

    Args:
        hashes: All of them.
        starts: (kinds, n + 1) where each text's begin, and the last one's end.
        facts: (n, f) of each text what FACTS names: a count, or the hash of a stem.
    """

    hashes: Hashes
    starts: Rows
    facts: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.starts.shape[1]) - 1

    @classmethod
    def build(cls, texts: Sequence[str]) -> TextTable:
        """Hash texts; the same text gives the same hashes everywhere."""
        described = [describe(text) for text in texts]
        sets = [[text.sets[kind] for text in described] for kind in range(len(KINDS))]
        sizes = np.array([[len(one) for one in kind] for kind in sets], dtype=np.int64).reshape(len(KINDS), len(texts))
        ends = np.cumsum(sizes.reshape(-1)).reshape(sizes.shape) if texts else sizes
        starts = np.concatenate([ends[:, :1] - sizes[:, :1], ends], axis=1) if texts else np.zeros((len(KINDS), 1))
        facts = [_facts(text) for text in described]
        return cls(
            np.concatenate([np.zeros(0, dtype=np.uint32), *itertools.chain.from_iterable(sets)]),
            starts.astype(np.int64),
            np.array(facts, dtype=np.int64).reshape(len(texts), len(FACTS)),
        )

    def take(self, kind: str, rows: Rows) -> Chosen:
        """One kind of hashes of some rows."""
        starts = self.starts[KINDS.index(kind)]
        first, size = starts[rows], starts[rows + 1] - starts[rows]
        place = np.repeat(np.arange(len(rows)), size)
        begin = first - (np.cumsum(size) - size)  # of each text's hashes, less where they will lie
        return Chosen(self.hashes.take(begin[place] + np.arange(len(place))), place, len(rows))

    def save(self, path: Path) -> Path:
        """Write the arrays into a folder, whole or not at all."""
        with directory_atomic(path) as folder:
            for name in _FILES:
                np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)
        return path

    @classmethod
    def load(cls, path: Path) -> TextTable:
        """Memory-map the arrays of a folder.

        Raises:
            ModelFolderMissing: One is absent.
        """
        files = [path / f"{name}.npy" for name in _FILES]
        for file in files:
            if not file.is_file():
                raise ModelFolderMissing(f"{file}: missing; build the model folder again")
        # Plain views of the maps: NumPy's own class for them costs a call into Python for every slice of a page.
        return cls(*(np.asarray(np.load(file, mmap_mode="r", allow_pickle=False)) for file in files))


def describe(text: str) -> Described:
    """Hash one text."""
    words = tokens(text)
    stems = [stem(word) for word in words]
    line, flat = " ".join(words), "".join(words)
    sets = (
        _hashed(words),
        _hashed(stems),
        _hashed([f"{left} {right}" for left, right in itertools.pairwise(stems)]),
        _grams(f" {line} " if line else "", _GRAM),
        _grams(flat, _FLAT_GRAM),
        _hashed(_NUMBER.findall(line)),
    )
    ordered = np.array([_hash(one) for one in stems], dtype=np.uint32)
    first, head = (_hash(words[0]), _hash(head_of(stems))) if words else (0, 0)
    return Described(sets, ordered, first, head, len(line))


def runs_by_word(text: str) -> tuple[Hashes, Rows]:
    """Hashes of each word's runs of three letters, borders among them, word after word; where each word's begin."""
    words = tokens(text)
    if not words:
        return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int64)
    ends = np.cumsum([len(word) + 1 for word in words])  # the last run of each lies across the gap to the next word
    runs = np.delete(_runs(f" {' '.join(words)} ", _GRAM), ends[:-1] - 1)
    return runs, np.concatenate([[0], ends[:-1] - np.arange(1, len(words))])


def head_of(stems: Sequence[str]) -> str:
    """The word that says what a thing is: the last one before an aside ("mower with bag"), else the last of all."""
    for before, word in itertools.pairwise(stems):
        if word in _ASIDE:
            return before
    return stems[-1]


def _facts(text: Described) -> tuple[int, ...]:
    last = int(text.stems[-1]) if text.stems.size else 0
    return len(text.stems), len(text.of("numbers")), last, text.head


def stem(word: str) -> str:
    """A word without an English plural, gerund or past ending; other languages keep their words, mostly."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            return word[: -len(ending)] + instead
    return word


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _hashed(parts: Sequence[str]) -> Hashes:
    return np.array(sorted({_hash(part) for part in parts}), dtype=np.uint32)


def _grams(text: str, size: int) -> Hashes:
    """Distinct hashes of the runs of ``size`` letters; of the whole text where it is shorter."""
    return np.unique(_runs(text, size))


def _runs(text: str, size: int) -> Hashes:
    """Hashes of the runs of ``size`` letters, as they come."""
    if not text:
        return np.zeros(0, dtype=np.uint32)
    letters = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    size = min(size, len(letters))
    value = np.zeros(len(letters) - size + 1, dtype=np.uint64)
    for offset in range(size):
        value = value * np.uint64(1_000_003) + letters[offset : len(letters) - size + 1 + offset]
    return (value ^ (value >> np.uint64(32))).astype(np.uint32)
