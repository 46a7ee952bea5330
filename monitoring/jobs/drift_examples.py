"""Adds examples to failing drift checks: items, words and queries that show the change, and related prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.types import Status
from fairtag.profile.builder import Profile
from fairtag.profile.measures import ALL, Kind, Measure, page_words
from monitoring.detect.checks import Comparison
from monitoring.job_report import PRICE_LEVEL, RELATED_CHANGES, RELATED_LEVELS, Check

EXAMPLES = 3
MIN_COUNT = 3  # a word or query typed less often may identify one person, and is not shown
ExampleFinder = Callable[[Check, Measure, pd.DataFrame, Profile], tuple[str, ...]]


def with_examples(checks: Sequence[Check], sample: pd.DataFrame, profile: Profile) -> tuple[Check, ...]:
    """Add examples to each check that did not pass.

    Args:
        checks: Checks of the drift job.
        sample: Sampled rows of schema.QUOTES.
        profile: Reference of the model.
    """
    measures = {reference.measure.name: reference.measure for reference in profile.references}
    return tuple(_with_examples(check, measures.get(check.name), sample, profile) for check in checks)


def with_related_changes(checks: Sequence[Check], comparisons: Sequence[Comparison]) -> tuple[Check, ...]:
    """Add to a failing price level how far list price, reference price and cost moved in the same component.

    It is the first thing to look up: if the list price moved too, the shop changed the price; if not, the model did.

    Args:
        checks: Checks of the drift job.
        comparisons: The comparisons behind them.
    """
    levels = {comparison.name: comparison for comparison in comparisons if comparison.unit == "log ratio"}
    return tuple(_with_related_changes(check, levels) if check.name == PRICE_LEVEL else check for check in checks)


def _with_related_changes(check: Check, levels: dict[str, Comparison]) -> Check:
    if check.status is Status.PASS or check.component not in levels[PRICE_LEVEL].components:
        return check
    place = levels[PRICE_LEVEL].components.index(check.component)
    changes = {name: float(levels[name].change.value[place]) for name in RELATED_LEVELS if name in levels}
    return replace(check, detail={**check.detail, RELATED_CHANGES: changes})


def _with_examples(check: Check, measure: Measure | None, sample: pd.DataFrame, profile: Profile) -> Check:
    if check.status is Status.PASS or check.examples or sample.empty:
        return check
    if check.name == "new_category":
        return replace(check, examples=_new_categories(sample, profile))
    if measure is None or measure.kind not in _FINDERS:
        return check
    return replace(check, examples=_FINDERS[measure.kind](check, measure, sample, profile))


def _moved_items(check: Check, measure: Measure, sample: pd.DataFrame, profile: Profile) -> tuple[str, ...]:
    """The items that contribute most to the change: their own change and their number of quotes."""
    here = sample[schema.CATEGORY].astype(str) == check.component
    rows = sample[here] if measure.kind == "level" and check.component not in ("", ALL) else sample
    lookup = profile.lookup
    position = lookup.items.get_indexer(pd.Index(rows[schema.ITEM_ID]))
    then = lookup.logs[measure.column].to_numpy()[position[position >= 0]]
    known = rows[position >= 0]
    now = np.log(np.maximum(known[measure.column].to_numpy(dtype=np.float64), 1.0))
    by_item = pd.Series(now - then).groupby(known[schema.ITEM_ID].to_numpy()).agg(["mean", "size"])
    pull = (by_item["mean"] * by_item["size"]).abs().sort_values(ascending=False, kind="stable")
    return tuple(
        f"{item}: {100 * np.expm1(change):+.1f} % in {count:,.0f} quotes of the sample"
        for item, (change, count) in by_item.loc[pull.index[:EXAMPLES]].iterrows()
    )


def _new_items(_: Check, __: Measure, sample: pd.DataFrame, profile: Profile) -> tuple[str, ...]:
    new = profile.lookup.items.get_indexer(pd.Index(sample[schema.ITEM_ID])) < 0
    return _most_frequent(sample[schema.ITEM_ID][new], "quotes of the sample")


def _new_words(_: Check, __: Measure, sample: pd.DataFrame, profile: Profile) -> tuple[str, ...]:
    words = page_words(sample)[1]
    new = words[profile.lookup.vocabulary.get_indexer(pd.Index(words)) < 0]
    return _most_frequent(pd.Series(new, dtype=object), "times in the sample", MIN_COUNT)


def _queries(check: Check, _: Measure, sample: pd.DataFrame, __: Profile) -> tuple[str, ...]:
    """Frequent queries that contain the word."""
    place, words = page_words(sample)
    return _most_frequent(sample[schema.QUERY].iloc[place[words == check.component]], "pages of the sample", MIN_COUNT)


def _new_categories(sample: pd.DataFrame, profile: Profile) -> tuple[str, ...]:
    quoted = sample[schema.CATEGORY].astype(str)
    new = quoted[~quoted.isin(set(profile.items[schema.CATEGORY].astype(str)))]
    return _most_frequent(new, "quotes of the sample")


def _most_frequent(values: pd.Series[Any], unit: str, least: int = 1) -> tuple[str, ...]:
    counts = values.value_counts()
    return tuple(f"{value}: {count:,} {unit}" for value, count in counts[counts >= least].head(EXAMPLES).items())


_FINDERS: dict[Kind, ExampleFinder] = {
    "level": _moved_items,
    "repriced": _moved_items,
    "known_items": _new_items,
    "known_words": _new_words,
    "words": _queries,
}
