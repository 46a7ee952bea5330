"""Lets the simulated shop's customers answer the pages of a run, so that performance can be judged.

A real shop reports its purchases itself (docs/data.md); here they are drawn from the planted demand. The clock of the
simulated shop stands at its last day, and its customers order within seconds: what monitoring must know of that is
written beside the quote log.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pandas as pd

from fairtag.base import schema
from fairtag.base.files import read_json, write_atomic, write_text
from fairtag.base.pseudonym import read_secret
from fairtag.simulator.outcomes import simulate_again, simulated_outcomes
from monitoring.detect.window import LogReader, Window
from pipelines.settings import RunLayout

OUTCOMES = "outcomes"  # folder of the outcomes, beside the quote log
SETTINGS = "monitoring.yaml"
MEAN_DELAY = pd.Timedelta(seconds=1)


def answer_quotes(layout: RunLayout, since: datetime) -> int:
    """Write the purchases of every page quoted since a time, and what monitoring must know of a simulated shop.

    Args:
        layout: Folders of the run; its tables say which shop was simulated.
        since: Aware time before the first page.

    Returns:
        Number of purchases; 0 where the shop is not simulated, and nothing is written.

    Raises:
        ConfigError: There is no quote log.
    """
    metadata = read_json(layout.tables / "metadata.json")
    if metadata.get("dataset") != "synthetic":
        return 0
    now = datetime.now(UTC)
    quotes = LogReader(str(layout.serving / "quotes"), schema.QUOTES, Window(since, now, now)).frame()
    secret = read_secret(layout.serving / "secrets" / "user_key")
    bought = simulated_outcomes(
        quotes,
        simulate_again(metadata),
        secret,
        seed=int(metadata["seed"]) + int(since.timestamp()),
        until=pd.Timestamp(now),
        mean_delay=MEAN_DELAY,
    )
    folder = layout.serving / OUTCOMES
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(
        folder / f"outcomes-{since:%Y%m%dT%H%M%S}.parquet", partial(bought.to_parquet, index=False, compression="zstd")
    )
    write_text(layout.serving / SETTINGS, _settings(layout, now))
    return len(bought)


def _settings(layout: RunLayout, now: datetime) -> str:
    """Purchases are in at once; features and stock are as old as the simulated shop's last day."""
    last = pd.read_parquet(layout.tables / "items.parquet", columns=[schema.UPDATED_AT])[schema.UPDATED_AT].max()
    hours = (now - last.to_pydatetime() + timedelta(days=2)).total_seconds() / 3600
    return (
        "# Of the simulated shop: purchases follow within seconds, and its clock stands at its last day.\n"
        f"maturity_hours: 0\nstale_feature_hours: {hours:.0f}\nstale_stock_hours: {hours:.0f}\n"
    )


def watching_options(layout: RunLayout) -> dict[str, Path]:
    """Options of ``python -m monitoring`` that the answers call for; none where nobody answered."""
    outcomes, settings = layout.serving / OUTCOMES, layout.serving / SETTINGS
    found = {"--outcomes": outcomes, "--settings": settings}
    return {option: path for option, path in found.items() if path.exists()}
