"""Texts as sets of hashed words and letters, so that a query is matched with many texts in a few array operations.

>>> table = TextTable.build(["oak chair", "oak table"])
>>> table.take("words", np.array([0, 1])).count_shared(hash_text("oak chair").of("words"))
array([2., 1.])
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
_SHORTEST_STEM = 3  # letters: "bed" is not a past tense
_ASIDE = frozenset({"in", "with", "for"})  # the word before one of these says what the thing is: "mower with bag"
_GRAM, _FLAT_GRAM = 3, 4  # letters; the longer ones cross word borders, so that "deckover" matches "deck over"
_FILES = ("hashes", "starts", "facts")


@dataclass(frozen=True)
class TextHashes:
    """The hashes of one text.

    Args:
        sets: The distinct hashes of each kind in KINDS, ascending.
        stems: Hash of the stem of each word, in the order of the text.
        first_word: Hash of the first word; 0 where there is none.
        head: Hash of the stem that says what the thing is (:func:`head_of`); 0 where there is no word.
        letters: Length of the words joined by single spaces.
    """

    sets: tuple[Hashes, ...]
    stems: Hashes
    first_word: int
    head: int
    letters: int

    def of(self, kind: str) -> Hashes:
        """The distinct hashes of one kind."""
        return self.sets[KINDS.index(kind)]


@dataclass(frozen=True)
class RowHashes:
    """Hashes of one kind (h,) of n texts, with the place (h,) of the text that each belongs to."""

    hashes: Hashes
    place: Rows
    count: int

    def count_shared(self, wanted: Hashes) -> NDArray[np.float64]:
        """How many of the wanted hashes (ascending) each text has (n,)."""
        if not wanted.size:
            return np.zeros(self.count)
        near = np.minimum(np.searchsorted(wanted, self.hashes), wanted.size - 1)
        hits = (wanted[near] == self.hashes).astype(np.float64)
        return np.bincount(self.place, weights=hits, minlength=self.count).astype(np.float64)

    def holds(self, wanted: Hashes) -> NDArray[np.bool_]:
        """Whether each text has each wanted hash (ascending, distinct), shape (w, n)."""
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
    """The hashes of n texts in one array for each kind; memory-mapped from disk.

    Args:
        hashes: All hashes.
        starts: Where the hashes of each text begin, and where the last ones end (kinds, n + 1).
        facts: The FACTS of each text (n, f): counts, or hashes of stems.
    """

    hashes: Hashes
    starts: Rows
    facts: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.starts.shape[1]) - 1

    @classmethod
    def build(cls, texts: Sequence[str]) -> TextTable:
        """Hash texts; the same text gives the same hashes everywhere."""
        hashed = [hash_text(text) for text in texts]
        sets = [[text.sets[kind] for text in hashed] for kind in range(len(KINDS))]
        sizes = np.array([[len(one) for one in kind] for kind in sets], dtype=np.int64).reshape(len(KINDS), len(texts))
        ends = np.cumsum(sizes.reshape(-1)).reshape(sizes.shape) if texts else sizes
        starts = np.concatenate([ends[:, :1] - sizes[:, :1], ends], axis=1) if texts else np.zeros((len(KINDS), 1))
        facts = [_facts(text) for text in hashed]
        return cls(
            np.concatenate([np.zeros(0, dtype=np.uint32), *itertools.chain.from_iterable(sets)]),
            starts.astype(np.int64),
            np.array(facts, dtype=np.int64).reshape(len(texts), len(FACTS)),
        )

    def take(self, kind: str, rows: Rows) -> RowHashes:
        """The hashes of one kind of some rows."""
        starts = self.starts[KINDS.index(kind)]
        first, size = starts[rows], starts[rows + 1] - starts[rows]
        place = np.repeat(np.arange(len(rows)), size)
        begin = first - (np.cumsum(size) - size)  # start of each text's hashes here, minus their start in the result
        return RowHashes(self.hashes.take(begin[place] + np.arange(len(place))), place, len(rows))

    def save(self, path: Path) -> Path:
        """Write the arrays into a folder atomically."""
        with directory_atomic(path) as folder:
            for name in _FILES:
                np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)
        return path

    @classmethod
    def load(cls, path: Path) -> TextTable:
        """Memory-map the arrays of a folder.

        Raises:
            ModelFolderMissing: A file is absent.
        """
        files = [path / f"{name}.npy" for name in _FILES]
        for file in files:
            if not file.is_file():
                raise ModelFolderMissing(f"{file}: missing; build the model folder again")
        # Plain views of the maps: NumPy's memmap class costs a call into Python for every slice.
        return cls(*(np.asarray(np.load(file, mmap_mode="r", allow_pickle=False)) for file in files))


def hash_text(text: str) -> TextHashes:
    """Hash the words, stems, pairs and letters of one text; equal texts have equal hashes on every machine."""
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
    return TextHashes(sets, ordered, first, head, len(line))


def letter_runs(text: str) -> tuple[Hashes, Rows]:
    """Hashes of every word's three-letter runs, borders included, word by word; and where each word's runs begin."""
    words = tokens(text)
    if not words:
        return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int64)
    ends = np.cumsum([len(word) + 1 for word in words])  # the last run of each word crosses the gap to the next one
    runs = np.delete(_runs(f" {' '.join(words)} ", _GRAM), ends[:-1] - 1)
    return runs, np.concatenate([[0], ends[:-1] - np.arange(1, len(words))])


def head_of(stems: Sequence[str]) -> str:
    """The word that says what a thing is: the one before "in", "with" or "for", otherwise the last.

    >>> head_of(["mower", "with", "bag"]), head_of(["oak", "chair"])
    ('mower', 'chair')
    """
    for before, word in itertools.pairwise(stems):
        if word in _ASIDE:
            return before
    return stems[-1]


def _facts(text: TextHashes) -> tuple[int, ...]:
    last = int(text.stems[-1]) if text.stems.size else 0
    return len(text.stems), len(text.of("numbers")), last, text.head


def stem(word: str) -> str:
    """A word without its English plural, gerund or past ending; most words of other languages stay as they are.

    >>> stem("chairs"), stem("berries"), stem("bed")
    ('chair', 'berry', 'bed')
    """
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            return word[: -len(ending)] + instead
    return word


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _hashed(parts: Sequence[str]) -> Hashes:
    return np.array(sorted({_hash(part) for part in parts}), dtype=np.uint32)


def _grams(text: str, size: int) -> Hashes:
    """Distinct hashes of all runs of ``size`` letters; of the whole text where it is shorter."""
    return np.unique(_runs(text, size))


def _runs(text: str, size: int) -> Hashes:
    """Hashes of all runs of ``size`` letters, in order."""
    if not text:
        return np.zeros(0, dtype=np.uint32)
    letters = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    size = min(size, len(letters))
    value = np.zeros(len(letters) - size + 1, dtype=np.uint64)
    for offset in range(size):
        value = value * np.uint64(1_000_003) + letters[offset : len(letters) - size + 1 + offset]
    return (value ^ (value >> np.uint64(32))).astype(np.uint32)
