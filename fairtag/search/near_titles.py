"""Titles that are nearly the same: one product that a shop lists twice, or variants that only a word tells apart.

>>> titles = ["Blue stoneware mug", "stoneware mug, blue", "Blue stonware mug", "Tea pot 1 l", "Tea pot 2 l"]
>>> near_groups(titles)
[[0, 1, 2]]

Titles are compared by the runs of three letters of their words, whatever the case, the marks between words and the
order (Jaccard similarity); numbers and words of one or two letters, such as sizes, must be the same. Candidates are
found by MinHash and banding (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4),
in time linear in the number of titles, and each is then compared exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fairtag.base.text import tokens

NEAR = 0.7  # similarity from which on two titles are nearly the same: one letter in a title of three words
BANDS, ROWS = 20, 3  # of the 60 hashes: titles of similarity 0.7 meet in a band with a chance of 0.9998
NEIGHBOURS = 4  # titles of a band that each is compared with, so that one wording in a thousand titles stays cheap
LONG = 3  # letters from which on a word may be spelt otherwise; shorter ones, and numbers, must be the same
CHUNK = 200_000  # hashed runs, or pairs, at a time: 150 MB
TEXTS = 50_000  # texts at a time
Places = NDArray[np.int64]
Runs = NDArray[np.uint64]
Pairs = NDArray[np.int64]

_HASHES = np.random.default_rng(0).integers(1, 2**63, (2, BANDS * ROWS), dtype=np.uint64) | np.uint64(1)


def near_groups(titles: Sequence[object], near: float = NEAR) -> list[list[int]]:
    """Positions of titles that are nearly the same, group by group; equal titles are one group too.

    A group is its first title and those near it, so that a chain of small differences does not join what is far apart.

    Args:
        titles: (n,) titles; an absent one is like no other.
        near: Least Jaccard similarity of two titles, in (0, 1]; 1 finds titles of the same words only.

    Returns:
        Groups of two titles or more, in the order of their first title.
    """
    codes, distinct = pd.factorize(pd.Series([_plain(title) for title in titles], dtype=object))  # -1: no words
    rows, runs = _runs([str(text) for text in distinct])
    pairs = _candidates(rows, runs, len(distinct))
    leader = _leaders(pairs[_similar(rows, runs, pairs, near)], len(distinct))
    held = np.flatnonzero(codes >= 0)
    label = leader[codes[held]]
    order = np.argsort(label, kind="stable")
    groups = np.split(held[order], np.flatnonzero(np.diff(label[order])) + 1)
    return sorted(group.tolist() for group in groups if len(group) > 1)


def _leaders(pairs: Pairs, count: int) -> Places:
    """(n,) first text of the group of each text; ``pairs`` are sorted, the smaller first."""
    leader = np.arange(count)
    for one, other in pairs:
        if leader[one] == one and leader[other] == other:
            leader[other] = one
    return leader


def _plain(title: object) -> str | None:
    """A title's words in order of the alphabet; None where it has none."""
    words = tokens(title)
    return " ".join(sorted(words)) if words else None


def _runs(texts: Sequence[str]) -> tuple[Places, Runs]:
    """The distinct runs of three letters of each text as hashes: (m,) text and (m,) hash, sorted by text.

    A run carries the numbers and the short words of its text, so that texts with others share none.
    """
    rows, hashes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
    for start in range(0, len(texts), TEXTS):
        found = [_runs_of(text) for text in texts[start : start + TEXTS]]
        rows.append(np.repeat(np.arange(start, start + len(found)), [len(runs) for runs in found]))
        joined = np.array([run for runs in found for run in runs], dtype=object)
        hashes.append(pd.util.hash_array(joined, categorize=True).astype(np.uint64))
    return np.concatenate(rows), np.concatenate(hashes)


def _runs_of(text: str) -> list[str]:
    words = text.split()
    same = " ".join(word for word in words if not _may_vary(word))
    edged = [f" {word} " for word in words if _may_vary(word)]
    runs = {word[at : at + 3] for word in edged for at in range(len(word) - 2)}
    return sorted(f"{run}|{same}" for run in runs or {""})


def _may_vary(word: str) -> bool:
    return len(word) >= LONG and word.isalpha()


def _candidates(rows: Places, runs: Runs, count: int) -> Pairs:
    """(p, 2) pairs of texts that meet in a band; each with a few others of the band."""
    signatures = _signatures(rows, runs, count)
    found = [np.zeros((0, 2), dtype=np.int64)]
    for band in range(BANDS):
        part = signatures[:, band * ROWS : (band + 1) * ROWS]
        key = part[:, 0].copy()
        for column in range(1, ROWS):
            key = (key ^ (key >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15) + part[:, column]
        order = np.argsort(key, kind="stable")
        for step in range(1, NEIGHBOURS + 1):
            meet = np.flatnonzero(key[order[step:]] == key[order[:-step]]) if step < count else np.zeros(0, dtype=int)
            found.append(np.column_stack([order[meet], order[meet + step]]).astype(np.int64))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _signatures(rows: Places, runs: Runs, count: int) -> NDArray[np.uint64]:
    """(n, h) least value of each hash function over the runs of a text."""
    signatures = np.full((count, BANDS * ROWS), np.iinfo(np.uint64).max, dtype=np.uint64)
    start = 0
    while start < len(rows):
        end = np.searchsorted(rows, rows[min(start + CHUNK, len(rows)) - 1], side="right")  # whole texts
        hashed = runs[start:end, None] * _HASHES[0] + _HASHES[1]
        hashed ^= hashed >> np.uint64(32)
        texts, first = np.unique(rows[start:end], return_index=True)
        signatures[texts] = np.minimum.reduceat(hashed, first, axis=0)
        start = int(end)
    return signatures


def _similar(rows: Places, runs: Runs, pairs: Pairs, near: float) -> NDArray[np.bool_]:
    """Which pairs share enough runs."""
    if not len(pairs):
        return np.zeros(0, dtype=bool)
    columns, _ = pd.factorize(runs)
    held = csr_array((np.ones(len(rows), dtype=np.int32), (rows, columns)))
    sizes = np.bincount(rows)
    parts = np.array_split(pairs, 1 + len(pairs) // CHUNK)
    shared = np.concatenate([held[part[:, 0]].multiply(held[part[:, 1]]).sum(axis=1) for part in parts])
    together = sizes[pairs[:, 0]] + sizes[pairs[:, 1]] - shared
    similar: NDArray[np.bool_] = shared >= near * together - 1e-9
    return similar
