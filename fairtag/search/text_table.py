"""Texts as sets of hashed words and letters, so that a query is matched with many texts in a few array operations.

>>> table = TextTable.build(["oak chair", "oak table"])
>>> (words,) = table.take(np.array([0, 1]), ["words"]).holds([hash_text("oak chair").of("words")])
>>> words.sum(0)
array([2, 1])
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
_FACTOR, _HALF = np.uint64(1_000_003), np.uint64(32)
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
    """The hashes of n texts, those of the first kind first.

    Args:
        hashes: Kind by kind, and within a kind text by text (h,).
        sizes: How many of each kind each text has (kinds, n).
    """

    hashes: Hashes
    sizes: Rows

    def holds(self, wanted: Sequence[Hashes]) -> list[NDArray[np.bool_]]:
        """Whether each text has each wanted hash, a mask (w, n) for each kind.

        Args:
            wanted: The hashes to look for of each kind (w,), ascending and distinct.
        """
        kinds, count = self.sizes.shape
        sizes = [len(hashes) for hashes in wanted]
        keys = _keys(np.concatenate(wanted), sizes)
        out = np.zeros((keys.size, count), dtype=bool)
        if keys.size:  # all kinds in one look-up: it is the number of array operations that takes time, not their size
            own = _keys(self.hashes, self.sizes.sum(1))
            near = np.minimum(np.searchsorted(keys, own), keys.size - 1)
            at = np.flatnonzero(keys[near] == own)
            text = np.repeat(np.tile(np.arange(count), kinds), self.sizes.ravel())
            out[near[at], text[at]] = True
        ends = np.cumsum(sizes).tolist()
        return [out[end - size : end] for end, size in zip(ends, sizes, strict=True)]


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
        facts = [_facts(text) for text in hashed]
        return cls(
            np.concatenate([np.zeros(0, dtype=np.uint32), *itertools.chain.from_iterable(sets)]),
            starts_of(sizes),
            np.array(facts, dtype=np.int64).reshape(len(texts), len(FACTS)),
        )

    def take(self, rows: Rows, kinds: Sequence[str] = KINDS) -> RowHashes:
        """The hashes of some rows; by default of all kinds."""
        starts = self.starts if tuple(kinds) == KINDS else self.starts[[KINDS.index(kind) for kind in kinds]]
        first = starts.take(rows, axis=1)
        sizes = starts.take(rows + 1, axis=1) - first
        size = sizes.ravel()
        begin = first.ravel() - (np.cumsum(size) - size)  # start of each text's hashes here, minus that in the result
        return RowHashes(self.hashes.take(np.repeat(begin, size) + np.arange(size.sum())), sizes)

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


def starts_of(sizes: Rows) -> Rows:
    """Where the hashes of each text begin and the last ones end (kinds, n + 1), by how many each has (kinds, n)."""
    ends = np.cumsum(sizes).reshape(sizes.shape)
    first = ends[:, :1] - sizes[:, :1] if sizes.size else np.zeros((len(sizes), 1), dtype=np.int64)
    return np.concatenate([first, ends], axis=1)


def hash_text(text: str) -> TextHashes:
    """Hash the words, stems, pairs and letters of one text; equal texts have equal hashes on every machine."""
    return hash_words(tokens(text))


def hash_words(words: Sequence[str]) -> TextHashes:
    """:func:`hash_text` of a text whose words are known."""
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


def letter_runs(words: Sequence[str]) -> tuple[Hashes, Rows]:
    """Hashes of every word's three-letter runs, borders included, word by word; and where each word's runs begin."""
    if not words:
        return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int64)
    ends = np.cumsum([len(word) + 1 for word in words])
    runs = _runs(f" {' '.join(words)} ", _GRAM)
    inside = np.ones(len(runs), dtype=bool)
    inside[ends[:-1] - 1] = False  # the last run of each word crosses the gap to the next one
    return runs[inside], np.concatenate([[0], ends[:-1] - np.arange(1, len(words))])


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
    return np.array(sorted(set(_runs(text, size).tolist())), dtype=np.uint32)


def _runs(text: str, size: int) -> Hashes:
    """Hashes of all runs of ``size`` letters, in order."""
    if not text:
        return np.zeros(0, dtype=np.uint32)
    letters = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    size = min(size, len(letters))
    count = len(letters) - size + 1
    value = letters[:count].copy()
    for offset in range(1, size):
        value *= _FACTOR
        value += letters[offset : count + offset]
    value ^= value >> _HALF
    return value.astype(np.uint32)


def _keys(hashes: Hashes, sizes: Sequence[int] | Rows) -> NDArray[np.uint64]:
    """Hashes with their kind in front, so that equal ones of two kinds differ; ``sizes`` (kinds,) of each are given."""
    kinds = np.arange(len(sizes), dtype=np.uint64) << _HALF
    return np.asarray(hashes + np.repeat(kinds, sizes), dtype=np.uint64)
