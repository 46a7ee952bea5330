"""The items, words and queries behind a finding of the drift job, from the sampled rows. Judges nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from monitoring.verdict import Check
from pricing import schema
from pricing.profile.measures import ALL, Kind, Measure, page_words
from pricing.profile.reference import Profile
from pricing.verdict import Verdict as Status

SHOWN = 3
OFTEN = 3  # what was typed fewer times may be about one person, and is not shown
Found = Callable[[Check, Measure, pd.DataFrame, Profile], tuple[str, ...]]


def with_examples(checks: Sequence[Check], sample: pd.DataFrame, profile: Profile) -> tuple[Check, ...]:
    """The checks, with what shows it beside each that did not pass.

    Args:
        checks: Answers of the drift job.
        sample: Sampled rows of schema.QUOTES.
        profile: Reference of the model.
    """
    measures = {reference.measure.name: reference.measure for reference in profile.references}
    return tuple(_with_examples(check, measures.get(check.name), sample, profile) for check in checks)


def _with_examples(check: Check, measure: Measure | None, sample: pd.DataFrame, profile: Profile) -> Check:
    if check.status is Status.PASS or check.examples or sample.empty:
        return check
    if check.name == "new_category":
        return replace(check, examples=_new_categories(sample, profile))
    if measure is None or measure.kind not in _FINDERS:
        return check
    return replace(check, examples=_FINDERS[measure.kind](check, measure, sample, profile))


def _moved_items(check: Check, measure: Measure, sample: pd.DataFrame, profile: Profile) -> tuple[str, ...]:
    """Items that move the figure most: by how far, and how often they are quoted."""
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
        for item, (change, count) in by_item.loc[pull.index[:SHOWN]].iterrows()
    )


def _unknown_items(_: Check, __: Measure, sample: pd.DataFrame, profile: Profile) -> tuple[str, ...]:
    unknown = profile.lookup.items.get_indexer(pd.Index(sample[schema.ITEM_ID])) < 0
    return _counted(sample[schema.ITEM_ID][unknown], "quotes of the sample")


def _unknown_words(_: Check, __: Measure, sample: pd.DataFrame, profile: Profile) -> tuple[str, ...]:
    words = page_words(sample)[1]
    unseen = words[profile.lookup.vocabulary.get_indexer(pd.Index(words)) < 0]
    return _counted(pd.Series(unseen, dtype=object), "times in the sample", OFTEN)


def _queries(check: Check, _: Measure, sample: pd.DataFrame, __: Profile) -> tuple[str, ...]:
    """Queries that hold the word."""
    place, words = page_words(sample)
    return _counted(sample[schema.QUERY].iloc[place[words == check.component]], "pages of the sample", OFTEN)


def _new_categories(sample: pd.DataFrame, profile: Profile) -> tuple[str, ...]:
    found = sample[schema.CATEGORY].astype(str)
    return _counted(found[~found.isin(set(profile.items[schema.CATEGORY].astype(str)))], "quotes of the sample")


def _counted(values: pd.Series[Any], what: str, least: int = 1) -> tuple[str, ...]:
    counts = values.value_counts()
    return tuple(f"{value}: {count:,} {what}" for value, count in counts[counts >= least].head(SHOWN).items())


_FINDERS: dict[Kind, Found] = {
    "level": _moved_items,
    "repriced": _moved_items,
    "known_items": _unknown_items,
    "known_words": _unknown_words,
    "words": _queries,
}
