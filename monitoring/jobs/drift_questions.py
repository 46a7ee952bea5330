"""What the drift job asks: have prices, demand, queries or the catalogue left training's range?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairtag.base import schema
from fairtag.profile.builder import Profile, QuerySpace, Reference, queried_pages
from fairtag.profile.measures import ALL, CLUSTERS, REPRICED, Estimate, Tally, clusters_of, estimate, tally_values
from monitoring.detect.checks import Question
from monitoring.detect.evidence import Change, change_of
from monitoring.detect.scan import Scan, empty_tally
from monitoring.settings import Settings

Float = npt.NDArray[np.float64]
Embed = Callable[[list[str]], npt.NDArray[Any]]

EMBEDDING = "query_embedding"
FINEST = 1e-4  # prices are whole minor units: a mean log ratio is not known better than this
WIDEST_DESIGN = 50.0  # a design effect beyond this says that the reference had a handful of customers


def questions(found: Scan, profile: Profile, settings: Settings, hours: float) -> list[Question]:
    """One question a measure of the profile.

    Args:
        found: The pass over the window.
        profile: Reference of the model.
        settings: Tolerances.
        hours: Length of what is judged, the window or the detectors' next step; less than a day also gets the spread
            of training's hours.
    """
    return [_question(reference, found, settings, hours) for reference in profile.references]


def margins(reference: Reference, settings: Settings, hours: float) -> tuple[Float, Float]:
    """(warn, page), each (J,): the tolerance, or what training's own days did, whichever is larger.

    Twice the reference's own standard error is added: it is one draw that all later windows share, so that its error
    does not average out over hours. A category's price level must besides matter to the shop as a whole.
    """
    tolerance = settings.tolerance(reference.measure.name)
    spread = reference.day_sd if hours >= 24 else np.hypot(reference.day_sd, reference.hour_sd)
    own = 2.0 * reference.se
    whole = _whole_over_part(reference)
    warn = np.maximum(settings.spread_warn * spread, settings.least_effect_warn * whole)
    page = np.maximum(settings.spread_page * spread, settings.least_effect_page * whole)
    return np.maximum(tolerance.warn, warn) + own, np.maximum(tolerance.page, page) + own


def _whole_over_part(reference: Reference) -> Float:
    """(J,) quotes of the whole shop over those of each category, 0 for what is no level of prices by category."""
    weight = reference.weight
    if reference.measure.kind != "level":
        return np.zeros(len(weight))
    whole = weight.max() if ALL in reference.measure.components else weight.sum()
    return np.asarray(whole / np.maximum(weight, 1.0), dtype=np.float64)


def _question(reference: Reference, found: Scan, settings: Settings, hours: float) -> Question:
    measure = reference.measure
    nothing = empty_tally(len(measure.components))
    window = estimate(found.whole.get(measure.name, nothing))
    warn, page = margins(reference, settings, hours)
    fresh = None
    if found.cursor is not None and measure.name in found.increment:
        recent = estimate(found.increment[measure.name])
        fresh = change_of(recent, reference.value, _null_variance(reference, warn, recent))
    return Question(
        measure.name,
        measure.components,
        change_of(window, reference.value, _null_variance(reference, warn, window)),
        fresh,
        window.value,
        reference.value,
        warn,
        page,
        window.weight,
        measure.unit,
        _say(reference, window),
    )


def _null_variance(reference: Reference, margin: Float, seen: Estimate) -> Float:
    """Variance of a share at the edge of its tolerance, with the design effect of training's customers."""
    if reference.measure.unit != "share":
        return np.full(len(reference.value), FINEST**2)
    share = np.clip(reference.value, 1e-6, 1 - 1e-6)
    design = np.clip(reference.se**2 * reference.weight / (share * (1 - share)), 1.0, WIDEST_DESIGN)
    side = np.sign(seen.value - reference.value)
    edge = np.clip(reference.value + side * margin, 1e-6, 1 - 1e-6)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(edge * (1 - edge) * design / seen.weight, nan=np.inf)


def _say(reference: Reference, seen: Estimate) -> Callable[[int], str]:
    measure = reference.measure

    def sentence(j: int) -> str:
        now, then, label = seen.value[j], reference.value[j], measure.components[j]
        if measure.unit == "log ratio":
            what = measure.name.removesuffix("_level").replace("_", " ")
            percent = 100 * np.expm1(now - then)
            side = "above" if percent > 0 else "below"
            label = "all items" if label == ALL else label
            return f"{what} of {label} is {abs(percent):.1f} % {side} training, item by item"
        subject = {
            "numeric": f"{measure.name.replace('_', ' ')} {label}",
            "categorical": label,
            "reasons": f"reason {label}",
            "repriced": f"items whose {label} is more than {100 * np.expm1(REPRICED):.0f} % away from training's",
            "known_items": "items that training never saw",
            "words": f"the word {label!r}",
            "known_words": "words that training never saw",
        }[measure.kind]
        whole = "words of queries" if measure.kind in ("words", "known_words") else "quotes"
        return f"{subject}: {100 * now:.1f} % of {whole}, {100 * then:.1f} % in training"

    return sentence


def embedding_question(
    sample: pd.DataFrame, space: QuerySpace, embed: Embed, settings: Settings, fresh_from: pd.Timestamp | None
) -> Question:
    """Whether queries mean something else: their mean along training's principal directions, in training's own sd.

    Args:
        sample: Sampled rows of schema.QUOTES.
        space: Training's query subspace.
        embed: Encoder of the model folder: texts -> (n, d) unit rows.
        settings: Tolerances and how many queries are embedded.
        fresh_from: Start of what the detectors have not seen.
    """
    pages = queried_pages(sample, settings.embed_queries, settings.seed)  # the newest hour among them
    distinct, inverse = np.unique(pages[schema.QUERY].astype(str), return_inverse=True)
    size = len(space.scale)
    coordinates = space.project(embed(distinct.tolist()))[inverse] if len(distinct) else np.empty((0, size))
    clusters = clusters_of(pages)
    window = estimate(tally_values(coordinates, clusters)) if len(pages) else _nothing(size)
    fresh = None
    if fresh_from is not None:
        new = (pages[schema.TS] >= fresh_from).to_numpy()
        recent = estimate(tally_values(coordinates[new], clusters[new])) if new.any() else _nothing(size)
        fresh = _standardised(recent, space)
    tolerance = settings.tolerance(EMBEDDING)
    own = 2.0 / np.sqrt(space.n)
    return Question(
        EMBEDDING,
        tuple(f"direction {k + 1}" for k in range(size)),
        _standardised(window, space),
        fresh,
        window.value,
        np.zeros(size),
        np.full(size, tolerance.warn + own),
        np.full(size, tolerance.page + own),
        window.weight,
        "sd",
        lambda j: (
            f"queries moved {abs(window.value[j]):.2f} standard deviations along direction {j + 1} of their meaning"
        ),
    )


def _standardised(seen: Estimate, space: QuerySpace) -> Change:
    # along a direction of unit variance the mean of n pages has at least the variance 1 / n
    with np.errstate(divide="ignore"):
        return change_of(seen, np.zeros(len(space.scale)), 1.0 / seen.weight)


def _nothing(components: int) -> Estimate:
    return estimate(Tally(np.zeros((CLUSTERS, components)), np.zeros((CLUSTERS, 1))))
