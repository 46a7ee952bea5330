"""The quote log and the outcomes of a live experiment, drawn with a planted gain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.policy.experiments import Experiment


def write_experiment(
    experiment: Experiment, folder: Path, name_of: Callable[[int], str], *, guest: int = 0, n: int = 4_000
) -> None:
    """Pages of the last 30 to 10 days: every second customer of the arm ``learned`` buys, every fourth of the others.

    Args:
        experiment: As the policy declares it.
        folder: Where ``quotes`` and ``outcomes`` are made.
        name_of: Name of a customer in the log, by number.
        guest: One page in so many is that of a guest, every second of them of one whom the log names; 0 for none.
        n: Pages, one for each customer.
    """
    rng, names = np.random.default_rng(0), [name_of(k) for k in range(n)]
    start = pd.Timestamp.now("UTC") - pd.Timedelta(days=30)
    quotes = pd.DataFrame(
        {
            schema.QUOTE_ID: [f"q{k}" for k in range(n)],
            schema.ITEM_ID: "i",
            schema.TS: start + pd.to_timedelta(rng.uniform(0, 20, n), unit="D"),
            schema.USER_KEY: [None if guest and k % guest == 0 else name for k, name in enumerate(names)],
            schema.GUEST_KEY: [name if guest and k % (2 * guest) == 0 else None for k, name in enumerate(names)],
            schema.EPOCH: 20_000,
            schema.CATEGORY: "c",
            schema.LIST_PRICE_MINOR: 1_000,
            schema.PRICE_MINOR: 900,
            schema.UNIT_COST_MINOR: 500,
            schema.CURRENCY: "EUR",
            schema.EXPERIMENT: experiment.name,
            schema.ARM: [experiment.split.arm(name) for name in names],
        }
    )
    bought = quotes[rng.random(n) < np.where(quotes[schema.ARM] == "learned", 0.5, 0.25)]
    outcomes = bought[[schema.QUOTE_ID, schema.ITEM_ID, schema.TS, schema.PRICE_MINOR]].assign(quantity=1)
    for name, frame in (("quotes", quotes), ("outcomes", outcomes)):
        (folder / name).mkdir()
        frame.to_parquet(folder / name / f"{name}-1.parquet")
