"""Which columns of the shop's items went missing since training, weighted as customers see them.

The quote log holds no features: a customer's would be personal data, and their age and absence are the quality job's.
What an item carries is looked up in the shop's tables, as the next training would read it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.profile.builder import Profile
from fairtag.profile.measures import clusters_of, estimate, tally_values
from monitoring.detect.checks import Question
from monitoring.detect.evidence import change_of
from monitoring.settings import Settings

NAME = "feature_absent"
FEATURES = (schema.STOCK, schema.COMPETITOR_PRICE, schema.UNIT_COST, schema.LIST_PRICE)


def absent_question(sample: pd.DataFrame, items: pd.DataFrame, profile: Profile, settings: Settings) -> Question | None:
    """Whether an item column is absent more often than in training; None where training knew none of them.

    It is judged on the window alone: the tables are those of now, whatever hour a quote is of.

    Args:
        sample: Sampled rows of schema.QUOTES.
        items: Latest row of every item.
        profile: Reference of the model.
        settings: Tolerances.
    """
    names = tuple(name for name in FEATURES if name in profile.features)
    if not names or sample.empty:
        return None
    # an optional column that the table lacks is absent of every item
    shown = items.set_index(schema.ITEM_ID).reindex(columns=list(names)).reindex(sample[schema.ITEM_ID])
    window = estimate(tally_values(shown.isna().to_numpy(np.float64), clusters_of(sample)))
    before = np.array([profile.features[name]["absent"] for name in names], dtype=np.float64)
    tolerance = settings.tolerance(NAME)
    edge = np.clip(before + tolerance.warn, 1e-6, 1 - 1e-6)
    ones = np.ones(len(names))
    return Question(
        NAME,
        names,
        change_of(window, before, edge * (1 - edge) / len(sample)),
        None,
        window.value,
        before,
        tolerance.warn * ones,
        tolerance.page * ones,
        len(sample) * ones,
        "share",
        lambda j: (
            f"{names[j]} is absent for {100 * window.value[j]:.1f} % of quotes, {100 * before[j]:.1f} % in training"
        ),
    )
