"""Measures of quotes as sums that merge, with standard errors clustered by customer.

A measure is a vector of shares or means over quote rows. It is stored as sums by *cluster*, a hash bucket of customers:
a window of any size needs the same memory, and two windows merge by addition. The standard error of a ratio
``r_j = sum_c x_cj / sum_c w_cj`` is linearised and cluster-robust (Cochran, Sampling Techniques, 3rd ed., section 9A):

    se_j^2 = C / (C - 1) sum_c (x_cj - r_j w_cj)^2 / (sum_c w_cj)^2

A customer who reloads a page all day counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairtag.base import schema
from fairtag.base.text import tokens
from fairtag.base.types import Reason

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Kind = Literal["numeric", "categorical", "reasons", "level", "repriced", "known_items", "words", "known_words"]

CLUSTERS = 256  # hash buckets of customers: enough degrees of freedom, and little memory for each measure
NEW = "(new)"  # a level that training never saw
ALL = "(all)"  # the component of a price level that is over every category
# An item whose price differs from its own in training by more than this log ratio was repriced, or is broken. It counts
# as such; to the level of its category it adds no more than this, so that a clearance of a few items moves it little.
REPRICED = 0.2
SEEN = 5  # quotes of an item in training needed to call another price a new one
MISSING = "(missing)"
PRICE_TO_LIST = "price_to_list"
MARGIN = "margin"
# Reasons that depend on the caller, not on the model; their mix is no drift.
CALLER_REASONS = (
    Reason.OPTED_OUT.value,
    Reason.JURISDICTION_OFF.value,
    Reason.PERSONAL_NOT_ACCEPTED.value,
    Reason.PERSONAL_STOPPED.value,
    Reason.EXPLORATION.value,
)


@dataclass(frozen=True)
class Measure:
    """One vector of shares or means over quote rows.

    Args:
        name: Unique name, used by job reports and the runbook.
        kind: How rows become sums: ``numeric`` (share of rows at or below each edge), ``categorical`` and ``reasons``
            (share of each level), ``level`` (mean log ratio to the item's own training value, cut off at plus and minus
            :data:`REPRICED`, by category and over all), ``repriced`` (share of rows beyond it), ``known_items`` and
            ``known_words`` (share unknown to training), ``words`` (share of each frequent word).
        column: Column the measure reads, from fairtag.base.schema or derived here.
        components: Label of each component.
        edges: Upper edges of ``numeric`` components.
        unit: ``share`` or ``log ratio``.
    """

    name: str
    kind: Kind
    column: str
    components: tuple[str, ...]
    edges: tuple[float, ...] = ()
    unit: str = "share"


@dataclass(frozen=True)
class Lookup:
    """Items and words of training, with which the measures compare.

    Args:
        items: Item ids; position i is row i of ``logs``.
        logs: (n_items, k) mean log of each column of ``log_columns``, money in minor units.
        vocabulary: Words seen in training.
        seen: (n_items,) quotes of each item in training.
    """

    items: pd.Index[Any]
    logs: pd.DataFrame
    vocabulary: pd.Index[Any]
    seen: Int


@dataclass(frozen=True)
class Tally:
    """Sums of one measure by cluster: ``numerator`` (C, J), ``denominator`` (C, J) or (C, 1)."""

    numerator: Float
    denominator: Float

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.numerator + other.numerator, self.denominator + other.denominator)


@dataclass(frozen=True)
class Estimate:
    """A measure's value, standard error, weight and number of clusters with any weight, all (J,); NaN if empty."""

    value: Float
    se: Float
    weight: Float
    clusters: Float


def derived(frame: pd.DataFrame, column: str) -> Float:
    """A numeric column of the quotes, or one of the two ratios that are derived from them."""
    if column == PRICE_TO_LIST:
        return _numbers(frame[schema.PRICE_MINOR]) / _numbers(frame[schema.LIST_PRICE_MINOR])
    if column == MARGIN:
        return 1.0 - _numbers(frame[schema.UNIT_COST_MINOR]) / _numbers(frame[schema.PRICE_MINOR])
    return _numbers(frame[column])


def clusters_of(frame: pd.DataFrame) -> Int:
    """Hash bucket of the customer of each row; a row without a customer is bucketed by its quote."""
    keys = frame[schema.USER_KEY].astype(object)
    who = keys.where(keys.notna(), frame[schema.QUOTE_ID].astype(object))
    hashes: npt.NDArray[np.uint64] = pd.util.hash_array(who.to_numpy(dtype=object))
    return (hashes % CLUSTERS).astype(np.int64)


def tally(
    measure: Measure,
    frame: pd.DataFrame,
    lookup: Lookup,
    cluster: Int,
    n_clusters: int = CLUSTERS,
    *,
    training: bool = False,
) -> Tally:
    """Sum a measure over the rows of ``frame`` by cluster.

    Args:
        measure: What is summed.
        frame: Rows of schema.QUOTES.
        lookup: Items and words of training.
        cluster: Cluster of each row, 0 to ``n_clusters`` - 1.
        n_clusters: Number of clusters.
        training: Whether the rows are those of the lookup. ``repriced`` then compares each with its item's other rows,
            as a later quote is compared with rows that do not include it.
    """
    if measure.kind == "numeric":
        values = derived(frame, measure.column)
        kept = np.isfinite(values)
        # side="left": a value equal to an edge counts as at or below it
        codes = np.searchsorted(np.asarray(measure.edges), values[kept], side="left")
        counts = _sum(cluster[kept], codes, n_clusters, len(measure.edges) + 1)
        return Tally(counts.cumsum(axis=1)[:, :-1], counts.sum(axis=1, keepdims=True))
    if measure.kind == "level":
        return _level(measure, frame, lookup, cluster, n_clusters)
    if measure.kind == "repriced":
        kept, ratio = _ratios(measure, frame, lookup, SEEN, training=training)
        far = (np.abs(ratio) > REPRICED).astype(np.int64)
        counts = _sum(cluster[kept], far, n_clusters, 2)
        return Tally(counts[:, 1:], counts.sum(axis=1, keepdims=True))
    rows, codes = _codes(measure, frame, lookup)
    counts = _sum(cluster[rows], codes, n_clusters, len(measure.components) + 1)
    if measure.kind == "reasons":  # a row may have several; the denominator counts rows
        total = np.bincount(cluster, minlength=n_clusters).astype(np.float64)[:, None]
        return Tally(counts[:, :-1], total)
    return Tally(counts[:, : len(measure.components)], counts.sum(axis=1, keepdims=True))


def estimate(sums: Tally) -> Estimate:
    """Ratio of the sums with its cluster-robust standard error; NaN where there is no weight."""
    weight = sums.denominator.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = sums.numerator.sum(axis=0) / weight
        residual = sums.numerator - np.where(np.isfinite(value), value, 0.0) * sums.denominator
        present = (sums.denominator > 0).sum(axis=0)
        correction = np.where(present > 1, present / np.maximum(present - 1, 1), np.nan)
        se = np.sqrt(correction * (residual**2).sum(axis=0)) / weight
    shape = value.shape
    return Estimate(value, *(np.broadcast_to(each, shape).astype(np.float64) for each in (se, weight, present)))


def between_sd(sums: Tally, se: Float) -> Float:
    """Standard deviation between clusters beyond sampling, by the method of moments; shape (J,).

    Args:
        sums: The measure with *time blocks* as clusters.
        se: Standard error (J,) of the pooled estimate with customers as clusters, which is due to sampling alone.

    ``tau^2 = max(0, sum_k w_k ((r_k - r)^2 - v_k) / sum_k w_k)`` with ``v_k = se^2 w / w_k`` (DerSimonian and Laird).
    """
    pooled = estimate(sums)
    weight = np.broadcast_to(sums.denominator, sums.numerator.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        block = sums.numerator / weight
        sampling = se**2 * pooled.weight / weight
        excess = np.where(weight > 0, weight * ((block - pooled.value) ** 2 - sampling), 0.0).sum(axis=0)
        variance = np.maximum(0.0, excess / pooled.weight)
    return np.asarray(np.nan_to_num(np.sqrt(variance)), dtype=np.float64)


def page_words(frame: pd.DataFrame) -> tuple[Int, npt.NDArray[np.object_]]:
    """Words of each page's query: (row of ``frame`` of each word, words)."""
    first = np.flatnonzero((frame[schema.RANK].to_numpy() == 1) & frame[schema.QUERY].notna().to_numpy())
    queries = frame[schema.QUERY].to_numpy(dtype=object)[first]
    distinct, inverse = np.unique(queries.astype(str), return_inverse=True)
    split = [tokens(query) for query in distinct]
    lengths = np.fromiter((len(split[i]) for i in inverse), dtype=np.int64, count=len(inverse))
    flat = [word for i in inverse for word in split[i]]
    return np.repeat(first, lengths), np.asarray(flat, dtype=object)


def tally_values(values: Float, cluster: Int, n_clusters: int = CLUSTERS) -> Tally:
    """Sum dense values (n, J), such as projections of embeddings, by cluster."""
    sums = [np.bincount(cluster, weights=column, minlength=n_clusters) for column in values.T]
    numerator = np.stack(sums, axis=1).astype(np.float64)
    return Tally(numerator, np.bincount(cluster, minlength=n_clusters).astype(np.float64)[:, None])


def _codes(measure: Measure, frame: pd.DataFrame, lookup: Lookup) -> tuple[Int, Int]:
    """(row, code) pairs; a value without a component gets the code after the last."""
    if measure.kind in ("words", "known_words"):
        rows, found = page_words(frame)
        if measure.kind == "known_words":
            return rows, (lookup.vocabulary.get_indexer(pd.Index(found)) >= 0).astype(np.int64)
        position = pd.Index(measure.components).get_indexer(pd.Index(found))
        return rows, np.where(position < 0, len(measure.components), position)
    everyone = np.arange(len(frame))
    if measure.kind == "known_items":
        return everyone, (lookup.items.get_indexer(pd.Index(frame[schema.ITEM_ID])) >= 0).astype(np.int64)
    if measure.kind == "reasons":
        lists = frame[measure.column].to_numpy(dtype=object)
        lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        flat = np.fromiter(chain.from_iterable(lists), dtype=object, count=int(lengths.sum()))
        everyone, values = np.repeat(everyone, lengths), pd.Series(flat, dtype=object)
    else:
        values = frame[measure.column]
    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    levels = pd.Index(measure.components)
    position = levels.get_indexer(pd.Index([MISSING if pd.isna(value) else str(value) for value in distinct]))
    fallback = measure.components.index(NEW) if NEW in levels else len(measure.components)
    return everyone, np.where(position < 0, fallback, position)[codes]


def _ratios(
    measure: Measure, frame: pd.DataFrame, lookup: Lookup, least: int, *, training: bool = False
) -> tuple[npt.NDArray[np.bool_], Float]:
    """Rows of items seen ``least`` times in training, and their log ratios to the item's own mean there."""
    position = lookup.items.get_indexer(pd.Index(frame[schema.ITEM_ID]))
    values = _numbers(frame[measure.column])
    seen = np.where(position >= 0, lookup.seen[position], 0)
    kept = (seen >= least) & (values > 0)
    ratio = np.log(values[kept]) - lookup.logs[measure.column].to_numpy()[position[kept]]
    return kept, ratio * seen[kept] / (seen[kept] - 1) if training else ratio


def _level(measure: Measure, frame: pd.DataFrame, lookup: Lookup, cluster: Int, n_clusters: int) -> Tally:
    kept, ratio = _ratios(measure, frame, lookup, 1)
    levels = pd.Index(measure.components).get_indexer(pd.Index(frame[schema.CATEGORY].astype(object)))[kept]
    known, size = levels >= 0, len(measure.components)
    who, levels = cluster[kept][known], levels[known]
    numerator = _sum(who, levels, n_clusters, size, np.clip(ratio[known], -REPRICED, REPRICED))
    denominator = _sum(who, levels, n_clusters, size)
    if ALL in measure.components:
        whole = measure.components.index(ALL)
        numerator[:, whole], denominator[:, whole] = numerator.sum(axis=1), denominator.sum(axis=1)
    return Tally(numerator, denominator)


def _sum(cluster: Int, code: npt.NDArray[Any], n_clusters: int, size: int, weights: Float | None = None) -> Float:
    flat = np.bincount(cluster * size + code, weights=weights, minlength=n_clusters * size)
    return flat.reshape(n_clusters, size).astype(np.float64)


def _numbers(values: pd.Series[Any]) -> Float:
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
