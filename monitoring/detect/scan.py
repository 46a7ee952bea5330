"""One pass over a window of quotes, for the sums of every measure, the sketches and a seeded sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.profile.builder import Profile
from fairtag.profile.measures import CLUSTERS, Float, Lookup, Measure, Tally, clusters_of, tally
from monitoring.detect.sketches import Sketches

SAMPLE_ROWS = 50_000
STRATUM_ROWS = 200  # rows of each category that the sample keeps, however small its share


class Sample:
    """A seeded bottom-k sample of a stream: the rows with the smallest hashes, plus some of every category.

    The same rows give the same sample in any order and in any batches.

    Args:
        rows: Rows over all categories.
        seed: Seed of the hashes.
    """

    def __init__(self, rows: int = SAMPLE_ROWS, seed: int = 0) -> None:
        self._rows = rows
        self._key = f"{seed:016d}"[:16]
        self._kept: list[pd.DataFrame] = []
        self._count = 0
        self._limit = np.uint64(np.iinfo(np.uint64).max)  # largest hash that can enter the overall sample
        self._limits: dict[object, np.uint64] = {}  # and the sample of each category

    def add(self, frame: pd.DataFrame) -> None:
        """Offer rows of schema.QUOTES."""
        key = frame[[schema.QUOTE_ID, schema.ITEM_ID]]
        priority = pd.util.hash_pandas_object(key, index=False, hash_key=self._key).to_numpy()
        if self._limits:  # by now most rows cannot enter the sample: do not copy them
            codes, categories = pd.factorize(frame[schema.CATEGORY])
            most = np.iinfo(np.uint64).max
            limits = np.array([self._limits.get(each, most) for each in categories] + [most], dtype=np.uint64)
            within = (priority < self._limit) | (priority < limits[codes])
            frame, priority = frame[within], priority[within]
        self._kept.append(frame.assign(_priority=priority))
        self._count += len(frame)
        if self._count > 2 * self._rows:
            self._prune()

    def frame(self) -> pd.DataFrame:
        """The sample in order of time."""
        self._prune()
        if not self._kept:
            return pd.DataFrame(columns=list(schema.QUOTES.names))
        kept = self._kept[0].drop(columns="_priority")
        return kept.sort_values([schema.TS, schema.QUOTE_ID, schema.RANK], ignore_index=True)

    def _prune(self) -> None:
        if not self._kept:
            return
        whole = pd.concat(self._kept, ignore_index=True).sort_values("_priority", ignore_index=True)
        place = whole.groupby(schema.CATEGORY, sort=False).cumcount()
        whole = whole[(place < STRATUM_ROWS) | (np.arange(len(whole)) < self._rows)]
        self._kept, self._count = [whole], len(whole)
        if len(whole) >= self._rows:
            priority, last = whole["_priority"], place[whole.index] == STRATUM_ROWS - 1
            self._limit = np.uint64(priority.iloc[self._rows - 1])
            full = dict(zip(whole[schema.CATEGORY][last], priority[last], strict=True))
            self._limits = {category: np.uint64(limit) for category, limit in full.items()}


@dataclass
class Scan:
    """The result of one pass.

    Args:
        measures: Measures to sum.
        lookup: Items and words of training.
        cursor: Rows from here on also count in ``increment``: the hourly detectors have not seen them.
        whole: Sums over the window.
        increment: Sums since the cursor.
        sketches: Sketches of the window.
        sample: Seeded sample of the window.
        sums_only: Leave sketches and sample empty; the detectors need only the sums.
    """

    measures: tuple[Measure, ...]
    lookup: Lookup
    cursor: datetime | None = None
    whole: dict[str, Tally] = field(default_factory=dict)
    increment: dict[str, Tally] = field(default_factory=dict)
    sketches: Sketches = field(default_factory=Sketches)
    sample: Sample = field(default_factory=Sample)
    sums_only: bool = False
    models: Counter[str] = field(default_factory=Counter)
    hours: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    pages: int = 0
    increment_pages: int = 0

    def add(self, frame: pd.DataFrame) -> None:
        """Add rows of schema.QUOTES."""
        clusters = clusters_of(frame)
        fresh = self._fresh(frame)
        for measure in self.measures:
            sums = tally(measure, frame, self.lookup, clusters)
            _accumulate(self.whole, measure.name, sums)
            if fresh is None:
                continue
            part = sums if fresh.all() else tally(measure, frame[fresh], self.lookup, clusters[fresh])
            _accumulate(self.increment, measure.name, part)
        pages = frame[schema.RANK].to_numpy() == 1
        self.rows += len(frame)
        self.pages += int(pages.sum())
        self.increment_pages += int(pages.sum() if fresh is None else (pages & fresh).sum())
        self.models.update({str(name): int(rows) for name, rows in frame[schema.MODEL_VERSION].value_counts().items()})
        by_hour = frame[schema.TS][pages].dt.floor("h").value_counts()
        self.hours.update({f"{hour:%Y-%m-%dT%H:00Z}": int(count) for hour, count in by_hour.items()})
        if not self.sums_only:
            self.sketches.add(frame)
            self.sample.add(frame)

    def _fresh(self, frame: pd.DataFrame) -> Any:
        return None if self.cursor is None else (frame[schema.TS] >= pd.Timestamp(self.cursor)).to_numpy()


def scan(
    batches: Iterable[pd.DataFrame],
    profile: Profile,
    *,
    cursor: datetime | None = None,
    seed: int = 0,
    sums_only: bool = False,
) -> Scan:
    """Read all batches in one pass.

    Args:
        batches: Frames of schema.QUOTES.
        profile: Reference of the model: its measures and lookups.
        cursor: Start of the rows that the detectors have not seen.
        seed: Seed of the sample.
        sums_only: Leave sketches and sample empty.
    """
    measures = tuple(reference.measure for reference in profile.references)
    found = Scan(measures, profile.lookup, cursor, sample=Sample(seed=seed), sums_only=sums_only)
    for frame in batches:
        found.add(frame)
    return found


def empty_tally(components: int) -> Tally:
    """Sums of no rows."""
    zeros: Float = np.zeros((CLUSTERS, components))
    return Tally(zeros, zeros.copy())


def _accumulate(sums: dict[str, Tally], name: str, part: Tally) -> None:
    sums[name] = sums[name] + part if name in sums else part
