"""The comparisons of the drift job: every measure of the profile, the meaning of queries, and absent item columns.

The quote log holds no features of customers, since those would be personal data; the quality job watches their age and
absence. The columns of items are looked up in the shop's tables, as the next training would read them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairtag.base import schema
from fairtag.profile.builder import Profile, QuerySpace, Reference, queried_pages
from fairtag.profile.measures import (
    ALL,
    CLUSTERS,
    MARGIN,
    PRICE_TO_LIST,
    REPRICED,
    Estimate,
    Tally,
    clusters_of,
    estimate,
    tally_values,
)
from monitoring.detect.checks import Comparison, Describe
from monitoring.detect.evidence import Change, change_of
from monitoring.detect.scan import Scan, empty_tally
from monitoring.settings import Settings

Float = npt.NDArray[np.float64]
Embed = Callable[[list[str]], npt.NDArray[Any]]

EMBEDDING, ABSENT = "query_embedding", "feature_absent"
FINEST = 1e-4  # prices are whole minor units: a mean log ratio cannot be known more precisely
WIDEST_DESIGN = 50.0  # a larger design effect means that the reference had only a handful of customers
ITEM_COLUMNS = (schema.STOCK, schema.COMPETITOR_PRICE, schema.UNIT_COST, schema.LIST_PRICE)


OF_PRICES = (
    PRICE_TO_LIST,
    MARGIN,
    schema.PURCHASE_PROBABILITY,
    "reasons",
    "price_level",
    "repriced_items",
)  # measures of the model's own prices


def comparisons(
    result: Scan, profile: Profile, settings: Settings, hours: float, *, at_list: bool = False
) -> list[Comparison]:
    """One comparison for each measure of the profile.

    Args:
        result: The pass over the window.
        profile: Reference of the model.
        settings: Tolerances.
        hours: Length of the tested period: the window, or the next step of the detectors. Below 24 h the tolerance also
            allows for the spread of training's hours.
        at_list: The decision keeps the model's prices at list, so they are not those of its profile.
    """
    return [
        _comparison(reference, result, settings, hours)
        for reference in profile.references
        if not (at_list and reference.measure.name in OF_PRICES)
    ]


def margins(reference: Reference, settings: Settings, hours: float) -> tuple[Float, Float]:
    """(warn, urgent), each (J,): the tolerance or the spread of training's own days, whichever is larger.

    Twice the standard error of the reference is added: the reference is a single draw that all later windows share, so
    that its error does not average out over time. The price level of a category must also matter to the whole shop.
    """
    tolerance = settings.tolerance(reference.measure.name)
    spread = reference.day_sd if hours >= 24 else np.hypot(reference.day_sd, reference.hour_sd)
    own = 2.0 * reference.se
    weight = _shop_over_category(reference)
    warn = np.maximum(settings.spread_warn * spread, settings.least_effect_warn * weight)
    urgent = np.maximum(settings.spread_urgent * spread, settings.least_effect_urgent * weight)
    return np.maximum(tolerance.warn, warn) + own, np.maximum(tolerance.urgent, urgent) + own


def _shop_over_category(reference: Reference) -> Float:
    """(J,) quotes of the whole shop divided by those of each category; 0 if the measure is not a price level."""
    weight = reference.weight
    if reference.measure.kind != "level":
        return np.zeros(len(weight))
    whole = weight.max() if ALL in reference.measure.components else weight.sum()
    return np.asarray(whole / np.maximum(weight, 1.0), dtype=np.float64)


def _comparison(reference: Reference, result: Scan, settings: Settings, hours: float) -> Comparison:
    measure = reference.measure
    nothing = empty_tally(len(measure.components))
    window = estimate(result.whole.get(measure.name, nothing))
    warn, urgent = margins(reference, settings, hours)
    fresh = None
    if result.cursor is not None and measure.name in result.increment:
        recent = estimate(result.increment[measure.name])
        fresh = change_of(recent, reference.value, _null_variance(reference, warn, recent))
    return Comparison(
        measure.name,
        measure.components,
        change_of(window, reference.value, _null_variance(reference, warn, window)),
        fresh,
        window.value,
        reference.value,
        warn,
        urgent,
        window.weight,
        measure.unit,
        _describe(reference, window),
    )


def _null_variance(reference: Reference, margin: Float, current: Estimate) -> Float:
    """(J,) variance of a share at the edge of its tolerance, with the design effect of training's customers."""
    if reference.measure.unit != "share":
        return np.full(len(reference.value), FINEST**2)
    share = np.clip(reference.value, 1e-6, 1 - 1e-6)
    design = np.clip(reference.se**2 * reference.weight / (share * (1 - share)), 1.0, WIDEST_DESIGN)
    side = np.sign(current.value - reference.value)
    edge = np.clip(reference.value + side * margin, 1e-6, 1 - 1e-6)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(edge * (1 - edge) * design / current.weight, nan=np.inf)


def _describe(reference: Reference, current: Estimate) -> Describe:
    measure = reference.measure

    def sentence(j: int) -> str:
        now, then, label = current.value[j], reference.value[j], measure.components[j]
        if measure.unit == "log ratio":
            what = measure.name.removesuffix("_level").replace("_", " ")
            label = "all items" if label == ALL else label
            return f"{what} of {label}: {100 * np.expm1(now - then):+.1f} % against training, item by item"
        subject = {
            "numeric": f"{measure.name.replace('_', ' ')} {label.replace('<=', 'at most')}",
            "categorical": label,
            "reasons": f"reason {label}",
            "repriced": f"items with a {label} more than {100 * np.expm1(REPRICED):.0f} % away from training",
            "known_items": "items that were not in training",
            "words": f"the word {label!r}",
            "known_words": "words that were not in training",
        }[measure.kind]
        whole = "query words" if measure.kind in ("words", "known_words") else "quotes"
        return f"{subject}: {100 * now:.1f} % of {whole}, {100 * then:.1f} % in training"

    return sentence


def embedding_comparison(
    sample: pd.DataFrame, space: QuerySpace, embed: Embed, settings: Settings, fresh_from: pd.Timestamp | None
) -> Comparison:
    """Whether queries have other meanings: their mean along training's principal directions, in standard deviations.

    Args:
        sample: Sampled rows of schema.QUOTES.
        space: Training's query subspace.
        embed: Encoder of the model folder: texts -> (n, d) unit rows.
        settings: Tolerances, and how many queries to embed.
        fresh_from: Start of the rows that the detectors have not seen.
    """
    pages = queried_pages(sample, settings.embed_queries, settings.seed)  # the newest hour among them
    distinct, inverse = np.unique(pages[schema.QUERY].astype(str), return_inverse=True)
    size = len(space.scale)
    coordinates = space.project(embed(distinct.tolist()))[inverse] if len(distinct) else np.empty((0, size))
    clusters = clusters_of(pages)
    window = estimate(tally_values(coordinates, clusters)) if len(pages) else _empty_estimate(size)
    fresh = None
    if fresh_from is not None:
        new = (pages[schema.TS] >= fresh_from).to_numpy()
        recent = estimate(tally_values(coordinates[new], clusters[new])) if new.any() else _empty_estimate(size)
        fresh = _standardised(recent, space)
    tolerance = settings.tolerance(EMBEDDING)
    own = 2.0 / np.sqrt(space.n)
    return Comparison(
        EMBEDDING,
        tuple(f"direction {k + 1}" for k in range(size)),
        _standardised(window, space),
        fresh,
        window.value,
        np.zeros(size),
        np.full(size, tolerance.warn + own),
        np.full(size, tolerance.urgent + own),
        window.weight,
        "sd",
        lambda j: f"the mean query moved by {window.value[j]:+.2f} standard deviations along direction {j + 1}",
    )


def _standardised(current: Estimate, space: QuerySpace) -> Change:
    # along a direction of unit variance, the mean of n pages has at least the variance 1 / n
    with np.errstate(divide="ignore"):
        return change_of(current, np.zeros(len(space.scale)), 1.0 / current.weight)


def _empty_estimate(components: int) -> Estimate:
    return estimate(Tally(np.zeros((CLUSTERS, components)), np.zeros((CLUSTERS, 1))))


def absent_comparison(
    sample: pd.DataFrame, items: pd.DataFrame, profile: Profile, settings: Settings
) -> Comparison | None:
    """Whether an item column is absent more often than in training, weighted by quotes; None without a reference.

    It covers the window only: the tables are today's, whatever the hour of a quote.

    Args:
        sample: Sampled rows of schema.QUOTES.
        items: Latest row of every item.
        profile: Reference of the model.
        settings: Tolerances.
    """
    names = tuple(name for name in ITEM_COLUMNS if name in profile.features)
    if not names or sample.empty:
        return None
    # an optional column that the table lacks is absent for every item
    quoted = items.set_index(schema.ITEM_ID).reindex(columns=list(names)).reindex(sample[schema.ITEM_ID])
    window = estimate(tally_values(quoted.isna().to_numpy(np.float64), clusters_of(sample)))
    before = np.array([profile.features[name]["absent"] for name in names], dtype=np.float64)
    tolerance = settings.tolerance(ABSENT)
    edge = np.clip(before + tolerance.warn, 1e-6, 1 - 1e-6)
    ones = np.ones(len(names))
    return Comparison(
        ABSENT,
        names,
        change_of(window, before, edge * (1 - edge) / len(sample)),
        None,
        window.value,
        before,
        tolerance.warn * ones,
        tolerance.urgent * ones,
        len(sample) * ones,
        "share",
        lambda j: (
            f"{names[j]} is absent in {100 * window.value[j]:.1f} % of quotes, {100 * before[j]:.1f} % in training"
        ),
    )
