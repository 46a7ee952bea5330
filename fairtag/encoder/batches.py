"""Micro-batches of training: which rows meet in which step.

The plan depends only on the seed and the step, so a resumed run repeats it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.training_data import EncoderData, Floats, HardNegatives, Ints

_BUCKET = 50  # micro-batches sorted by length together: little padding, and the order is still nearly random
_PRICE_STREAM, _CLICK_STREAM, _AUGMENT_STREAM = 1, 2, 3  # separate random streams of one seed

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """One micro-batch; texts are row numbers of ``EncoderData.tokens``.

    Args:
        queries: Distinct query texts (g,), judged ones first.
        items: Distinct item texts (n,).
        pair_query: Place in ``queries`` of each judged pair (p,).
        pair_item: Place in ``items`` of each judged pair (p,).
        relevance: Grade of each judged pair (p,).
        weight: Weight of each judged pair in the graded loss (p,).
        negative: Whether an item is a negative of a query in the contrastive softmax (g, n).
        price_item: Place in ``items`` of each priced item (m,).
        log_price: Log of each item's price in currency units (m,).
        click_query: Place in ``queries`` of each impression (c,).
        click_item: Place in ``items`` of each impression (c,).
        log_discount: log(price / list) of each impression (c,).
        outcome: Whether each impression was clicked and bought (c, 2).
        augment: Seed of the tokens dropped.
    """

    queries: Ints
    items: Ints
    pair_query: Ints
    pair_item: Ints
    relevance: Floats
    weight: Floats
    negative: Mask
    price_item: Ints
    log_price: Floats
    click_query: Ints
    click_item: Ints
    log_discount: Floats
    outcome: Floats
    augment: tuple[int, int]


class BatchPlan:
    """The micro-batches of a run, by number.

    Judged items of a query stay together (``rows_per_query``), so that the irrelevant ones are hard negatives of the
    relevant ones. The items of other queries are in-batch negatives, unless they were judged relevant to the query.
    Mined negatives come with their query; only the contrastive loss reads them, as they have no grade.

    Args:
        data: What is learnt.
        config: Sizes and seed.
        micro_batches: Micro-batches of one optimiser step, over all processes.
    """

    def __init__(self, data: EncoderData, config: EncoderConfig, micro_batches: int) -> None:
        self.data, self.config, self.micro_batches = data, config, micro_batches
        self._weights = _grade_weights(data.train.relevance, config.objective.balance_classes)
        order = np.argsort(data.train.query, kind="stable")
        cuts = np.flatnonzero(np.diff(data.train.query[order])) + 1
        self._rows_of_query = [rows for rows in np.split(order, cuts) if len(rows)]
        self._hard_negatives = _by_query(data.hard_negatives)
        rows = zip(data.train.query.tolist(), data.train.item.tolist(), data.train.relevance.tolist(), strict=True)
        self._not_negative = {(q, v) for q, v, relevance in rows if relevance > config.objective.negative_relevance}
        self._length = np.array([len(ids) for ids in data.tokens], dtype=np.int64)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        self.per_epoch = max(1, len(self._epoch(0)) // micro_batches)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        wanted = self.per_epoch * self.config.schedule.epochs
        return wanted if self.config.schedule.max_steps is None else min(wanted, self.config.schedule.max_steps)

    def batch(self, step: int, micro: int) -> Batch:
        """Micro-batch ``micro`` of optimiser step ``step``."""
        epoch, place = divmod(step, self.per_epoch)
        groups = self._epoch(epoch)
        number = step * self.micro_batches + micro
        pairs = groups[(place * self.micro_batches + micro) % len(groups)]
        price = self._sample(len(self.data.prices), self.config.batch.items, number, _PRICE_STREAM)
        click = self._sample(len(self.data.clicks), self.config.batch.clicks, number, _CLICK_STREAM)
        return self._assemble(pairs, price, click, number)

    def _make_epoch(self, epoch: int) -> list[Ints]:
        """Rows of the judged pairs of each micro-batch; without pairs, enough empty ones for prices or clicks."""
        rng = np.random.default_rng([self.config.seed, epoch])
        if not self._rows_of_query:
            rows = max(
                len(self.data.prices) // self.config.batch.items, len(self.data.clicks) // self.config.batch.clicks
            )
            return [np.zeros(0, dtype=np.int64)] * max(rows, 1)
        chunks = [
            chunk
            for rows in self._rows_of_query
            for chunk in np.array_split(rng.permutation(rows), -(-len(rows) // self.config.batch.rows_per_query))
        ]
        longest = np.array([self._length[self.data.train.item[chunk]].max() for chunk in chunks])
        size = self.config.batch.queries
        batches: list[Ints] = []
        for bucket in _cut(rng.permutation(len(chunks)), size * _BUCKET):
            ordered = bucket[np.argsort(longest[bucket], kind="stable")]
            batches.extend(np.concatenate([chunks[c] for c in group]) for group in _cut(ordered, size))
        return [batches[place] for place in rng.permutation(len(batches))]

    def _sample(self, available: int, wanted: int, number: int, stream: int) -> Ints:
        """The ``number``-th slice of rows from an endless sequence of shuffles."""
        if not available:
            return np.zeros(0, dtype=np.int64)
        wanted = min(wanted, available)
        cycle, place = divmod(number * wanted, available)
        both = [_shuffle(self.config.seed, stream, cycle + turn, available) for turn in (0, 1)]
        return np.concatenate(both)[place : place + wanted]

    def _assemble(self, pairs: Ints, price: Ints, click: Ints, number: int) -> Batch:
        data = self.data
        judged, clicked, priced = data.train, data.clicks, data.prices
        queries, at_query = np.unique(np.concatenate([judged.query[pairs], clicked.query[click]]), return_inverse=True)
        hard = self._hard_negatives
        extra = [hard[row] for row in np.unique(judged.query[pairs]).tolist() if row in hard]
        items, at_item = np.unique(
            np.concatenate([judged.item[pairs], priced.item[price], clicked.item[click], *extra]), return_inverse=True
        )
        p, m, c = len(pairs), len(price), len(click)
        return Batch(
            queries=queries,
            items=items,
            pair_query=at_query[:p],
            pair_item=at_item[:p],
            relevance=judged.relevance[pairs],
            weight=self._weights[pairs],
            negative=self._negatives(queries, items, np.unique(np.concatenate([at_item[:p], at_item[p + m + c :]]))),
            price_item=at_item[p : p + m],
            log_price=priced.log_price[price],
            click_query=at_query[p:],
            click_item=at_item[p + m : p + m + c],
            log_discount=clicked.log_discount[click],
            outcome=clicked.outcome[click],
            augment=(self.config.seed, number * 4 + _AUGMENT_STREAM),
        )

    def _negatives(self, queries: Ints, items: Ints, columns: Ints) -> Mask:
        mask = np.zeros((len(queries), len(items)), dtype=bool)
        mask[:, columns] = True
        for row, query in enumerate(queries.tolist()):
            for column in columns.tolist():
                if (query, int(items[column])) in self._not_negative:
                    mask[row, column] = False
        return mask


def _cut(rows: Ints, size: int) -> list[Ints]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _by_query(pairs: HardNegatives) -> dict[int, Ints]:
    """Items of each query that has any."""
    queries, cuts = np.unique(pairs.query, return_index=True)  # they were mined query by query, so they are sorted
    return dict(zip(queries.tolist(), np.split(pairs.item, cuts[1:]), strict=True)) if len(pairs) else {}


@lru_cache(maxsize=8)
def _shuffle(seed: int, stream: int, cycle: int, available: int) -> Ints:
    return np.random.default_rng([seed, stream, cycle]).permutation(available).astype(np.int64)


def _grade_weights(relevance: Floats, balance: bool) -> Floats:
    """Weights of pairs: 1, or if balanced the inverse frequency of the grade, with mean 1; 0 if all grades are equal.

    A single grade would teach the graded head a constant and push every cosine towards it.
    """
    if len(relevance) and float(np.ptp(relevance)) == 0.0:
        return np.zeros(len(relevance), dtype=np.float32)
    if not balance or not len(relevance):
        return np.ones(len(relevance), dtype=np.float32)
    grade = np.round(relevance * 4).astype(np.int64)
    weight = 1.0 / np.bincount(grade)[grade]
    return np.asarray(weight / weight.mean(), dtype=np.float32)
