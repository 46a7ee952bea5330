"""Builds the reference profile: what quotes looked like in training.

    build_profile(training_set, quotes, query_embeddings).save(folder / "profile")

For each measure of :mod:`fairtag.profile.measures` the profile holds the training value, its standard error, and how
much training's own days and hours moved it, so that a season that the model has seen is no drift. It also holds each
item's price levels, the vocabulary and the subspace of the queries, and a sample of rows for reports. It holds no
customer, not even a pseudonym.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.profile.measures import (
    ALL,
    CALLER_REASONS,
    CLUSTERS,
    MARGIN,
    NEW,
    PRICE_TO_LIST,
    Estimate,
    Float,
    Int,
    Lookup,
    Measure,
    between_sd,
    clusters_of,
    derived,
    estimate,
    page_words,
    tally,
)
from fairtag.profile.profile import LEVELS, Profile, QuerySpace, Reference

__all__ = ["Profile", "QuerySpace", "Reference", "build_profile", "stratified_sample"]

NUMERIC = (schema.SIMILARITY, PRICE_TO_LIST, MARGIN, schema.PURCHASE_PROBABILITY)
FEATURES = (*schema.USER_PRICING_FEATURES, schema.STOCK, schema.COMPETITOR_PRICE, schema.UNIT_COST, schema.LIST_PRICE)
DECILES = tuple(round(0.1 * k, 1) for k in range(1, 10))
SAMPLE_ROWS = 50_000  # an Evidently report reads these in seconds
VOCABULARY = 100_000  # words stored; the rest counts as unknown in training as well
FREQUENT_WORDS = 100
DIRECTIONS = 8  # principal directions of the query embeddings that are monitored
BLOCK_PAGES = 30  # with fewer pages a day, weeks instead of days are the blocks that show seasonal variation
# Columns of the sample: what a chart needs, and nothing that identifies a person.
SAMPLE_COLUMNS = (
    schema.TS,
    schema.QUERY,
    schema.ITEM_ID,
    schema.CATEGORY,
    schema.RANK,
    schema.SIMILARITY,
    schema.LIST_PRICE_MINOR,
    schema.PRICE_MINOR,
    schema.REFERENCE_PRICE_MINOR,
    schema.UNIT_COST_MINOR,
    schema.PURCHASE_PROBABILITY,
    schema.PERSONALISED,
)


def build_profile(
    impressions: pd.DataFrame,
    quotes: pd.DataFrame,
    query_embeddings: Float | None = None,
    *,
    seed: int = 0,
    sample_rows: int = SAMPLE_ROWS,
) -> Profile:
    """Profile the training pages as the model prices them.

    Args:
        impressions: The training set, with its point-in-time features.
        quotes: Rows of schema.QUOTES: the model's own prices on the training pages.
        query_embeddings: (m, d) embeddings of training queries, one for each page or for a sample of pages.
        seed: Seed of the sample.
        sample_rows: Largest number of rows in the sample for reports.

    Raises:
        DataError: There are no quotes.
    """
    if quotes.empty:
        raise DataError(
            "reference profile: there are no quotes; it needs priced training pages", table=schema.QUOTES.name
        )
    items = _items(quotes)
    vocabulary, unseen = _vocabulary(quotes)
    profile = Profile((), items, vocabulary, pd.DataFrame())
    measures = _measures(quotes, vocabulary)
    clusters, blocks = clusters_of(quotes), _blocks(quotes)
    references = [_refer(measure, quotes, profile.lookup, clusters, blocks) for measure in measures]
    return Profile(
        (*references, unseen, _unknown_items(quotes)),
        items,
        vocabulary,
        stratified_sample(quotes, schema.CATEGORY, sample_rows, seed)[list(SAMPLE_COLUMNS)].reset_index(drop=True),
        {name: _feature(impressions[name]) for name in FEATURES if name in impressions.columns},
        _query_space(query_embeddings),
        _metadata(quotes),
    )


def stratified_sample(frame: pd.DataFrame, column: str, rows: int, seed: int) -> pd.DataFrame:
    """At most ``rows`` rows, each stratum in proportion and none lost; equal seeds give equal rows."""
    if len(frame) <= rows:
        return frame
    draw = np.random.default_rng(seed).random(len(frame))
    strata = pd.Series(draw).groupby(frame[column].to_numpy(), sort=False, dropna=False)
    # Within strata the rows with the smallest draws; the smallest of each stratum comes before all others.
    order = strata.rank(method="first", pct=True).where(strata.rank(method="first") > 1, 0.0).to_numpy()
    return frame.iloc[np.sort(np.argsort(order, kind="stable")[:rows])]


def queried_pages(sample: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """One row of each page with a query, at most ``rows`` of them, drawn at random, in the order of the sample."""
    pages = sample[(sample[schema.RANK] == 1) & sample[schema.QUERY].notna()]
    drawn = pages.sample(min(rows, len(pages)), random_state=seed).sort_index()
    return drawn.reset_index(drop=True)


def _measures(quotes: pd.DataFrame, vocabulary: pd.DataFrame) -> list[Measure]:
    measures = [_numeric(quotes, column) for column in NUMERIC]
    categories = tuple(sorted(quotes[schema.CATEGORY].astype(str).unique()))
    measures.append(Measure("category_mix", "categorical", schema.CATEGORY, (*categories, NEW)))
    reasons = sorted({reason for row in quotes[schema.REASONS] for reason in row} - set(CALLER_REASONS))
    if reasons:
        measures.append(Measure("reasons", "reasons", schema.REASONS, tuple(reasons)))
    measures += [
        Measure(f"{column.removesuffix('_minor')}_level", "level", column, (ALL, *categories), unit="log ratio")
        for column in LEVELS
    ]
    measures.append(Measure("repriced_items", "repriced", schema.PRICE_MINOR, ("price",)))
    measures.append(Measure("recosted_items", "repriced", schema.UNIT_COST_MINOR, ("unit cost",)))
    frequent = tuple(vocabulary["word"].head(FREQUENT_WORDS))
    if frequent:
        measures.append(Measure("query_words", "words", schema.QUERY, frequent))
    return [measure for measure in measures if measure.components]


def _numeric(quotes: pd.DataFrame, column: str) -> Measure:
    values = derived(quotes, column)
    values = values[np.isfinite(values)]
    edges = np.unique(np.quantile(values, DECILES, method="inverted_cdf")) if len(values) else np.empty(0)
    edges = edges[edges < values.max()] if len(values) else edges  # at the maximum the share is always 1
    return Measure(column, "numeric", column, tuple(f"<= {edge:.4g}" for edge in edges), tuple(map(float, edges)))


def _refer(
    measure: Measure, quotes: pd.DataFrame, lookup: Lookup, clusters: Int, blocks: dict[str, tuple[Int, int]]
) -> Reference:
    pooled = estimate(tally(measure, quotes, lookup, clusters, training=True))
    spread = {
        name: between_sd(tally(measure, quotes, lookup, block, count, training=True), pooled.se)
        for name, (block, count) in blocks.items()
    }
    return Reference(measure, pooled.value, _finite(pooled), spread["day"], spread["hour"], pooled.weight)


def _finite(pooled: Estimate) -> Float:
    # The error of a single customer cannot be estimated; with the largest possible one nothing counts as drift.
    return np.where(np.isfinite(pooled.se), pooled.se, 0.5)


def _blocks(quotes: pd.DataFrame) -> dict[str, tuple[Int, int]]:
    times = pd.DatetimeIndex(quotes[schema.TS])
    days = times.floor("D")
    pages = quotes[schema.QUOTE_ID].nunique() / max(1, days.nunique())
    period = days if pages >= BLOCK_PAGES else days - pd.to_timedelta(days.dayofweek, unit="D")
    codes, distinct = pd.factorize(period)
    return {"day": (codes.astype(np.int64), len(distinct)), "hour": (times.hour.to_numpy().astype(np.int64), 24)}


def _items(quotes: pd.DataFrame) -> pd.DataFrame:
    logs = pd.DataFrame({column: np.log(quotes[column].clip(lower=1).astype(float)) for column in LEVELS})
    keyed = logs.assign(**{schema.ITEM_ID: quotes[schema.ITEM_ID], schema.CATEGORY: quotes[schema.CATEGORY]})
    grouped = keyed.groupby(schema.ITEM_ID, sort=True)
    means = grouped[list(LEVELS)].mean()
    return means.assign(**{schema.CATEGORY: grouped[schema.CATEGORY].first(), "n": grouped.size()}).reset_index()


def _vocabulary(quotes: pd.DataFrame) -> tuple[pd.DataFrame, Reference]:
    """Words by count, and the share of *new* words expected in further queries of the same source."""
    rows, found = page_words(quotes)
    counts = pd.Series(found, dtype=object).value_counts(sort=True)
    counts = counts.sort_index().sort_values(ascending=False, kind="stable")
    total, pages = int(counts.sum()), len(np.unique(rows))
    lost = int(counts.iloc[VOCABULARY:].sum())
    kept = counts.iloc[:VOCABULARY]
    frame = pd.DataFrame({"word": kept.index.astype(str), "n": kept.to_numpy(dtype=np.int64)})
    measure = Measure("new_words", "known_words", schema.QUERY, ("unknown",))
    return frame, _unseen(measure, int((counts == 1).sum()) + lost, total, pages)


def _unknown_items(quotes: pd.DataFrame) -> Reference:
    """The share of items absent from these quotes that is expected on further pages of the same source."""
    counts = quotes[schema.ITEM_ID].value_counts()
    measure = Measure("unknown_items", "known_items", schema.ITEM_ID, ("unknown",))
    return _unseen(measure, int((counts == 1).sum()), len(quotes), int(quotes[schema.QUOTE_ID].nunique()))


def _unseen(measure: Measure, once: int, total: int, pages: int) -> Reference:
    """Training value of a share of unseen things: N draws leave a probability of about N1 / N unseen.

    N1 is the number of things seen once (Good, Biometrika 40, 1953). The error counts pages, as the things on a page
    come together.
    """
    share = once / total if total else float("nan")
    se = float(np.sqrt(max(share, 1 / total) / max(1, pages))) if total else 0.5
    one = np.ones(1)
    return Reference(measure, share * one, se * one, 0 * one, 0 * one, float(total) * one)


def _query_space(embeddings: Float | None) -> QuerySpace | None:
    if embeddings is None or len(embeddings) < 2:
        return None
    points = np.asarray(embeddings, dtype=np.float64)
    mean = points.mean(axis=0)
    _, singular, directions = np.linalg.svd(points - mean, full_matrices=False)
    scale = singular / np.sqrt(len(points))
    kept = min(DIRECTIONS, int((scale > 1e-6).sum()))
    return QuerySpace(mean, directions[:kept], scale[:kept], len(points)) if kept else None


def _feature(values: pd.Series[Any]) -> dict[str, Any]:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    present = numbers[np.isfinite(numbers)]
    if not len(present):
        return {"absent": 1.0, "n": len(numbers)}
    return {
        "absent": 1.0 - len(present) / len(numbers),
        "n": len(numbers),
        "mean": float(present.mean()),
        "sd": float(present.std()),
        "deciles": [float(value) for value in np.quantile(present, DECILES)],
    }


def _metadata(quotes: pd.DataFrame) -> dict[str, Any]:
    times = quotes[schema.TS]
    return {
        "rows": len(quotes),
        "pages": int(quotes[schema.QUOTE_ID].nunique()),
        "first": times.min().isoformat(),
        "last": times.max().isoformat(),
        "currencies": sorted(quotes[schema.CURRENCY].dropna().astype(str).unique()),
        "clusters": CLUSTERS,
    }
