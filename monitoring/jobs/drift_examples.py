"""What stands beside a finding of the drift job: items, words and queries that show it, prices that moved with it.

It judges nothing.
"""

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
from monitoring.detect.checks import Question
from monitoring.job_report import Check

PRICE_LEVEL, COMPANY = "price_level", ("list_price_level", "reference_price_level", "unit_cost_level")
MOVED_WITH = "moved_with"  # in a check's detail: name of a level -> its change in the same component
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


def with_company(checks: Sequence[Check], asked: Sequence[Question]) -> tuple[Check, ...]:
    """The checks; a price level that did not pass says how far list price and cost moved where it is worst.

    That is the first thing a person would look up: where list price moved too the shop did it, else the model did.

    Args:
        checks: Answers of the drift job.
        asked: The questions behind them.
    """
    levels = {question.name: question for question in asked if question.unit == "log ratio"}
    return tuple(_with_company(check, levels) if check.name == PRICE_LEVEL else check for check in checks)


def _with_company(check: Check, levels: dict[str, Question]) -> Check:
    if check.status is Status.PASS or check.component not in levels[PRICE_LEVEL].components:
        return check
    place = levels[PRICE_LEVEL].components.index(check.component)
    moved = {name: float(levels[name].change.value[place]) for name in COMPANY if name in levels}
    return replace(check, detail={**check.detail, MOVED_WITH: moved})


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
