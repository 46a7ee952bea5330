"""The materialise step: what it leaves in the feature folder."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from fairtag.base import schema
from fairtag.base.tables import write_tables
from fairtag.simulator.simulation import SimulatedShop


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_registry_says_when_the_store_was_filled_and_not_how_new_its_rows_are(
    market: SimulatedShop, tmp_path: Path
) -> None:
    from components.materialise import materialise
    from serving.stores.feast_store import open_reader

    shop = market.tables
    newest = max(shop.users[schema.UPDATED_AT].max(), shop.items[schema.UPDATED_AT].max()).to_pydatetime()
    assert datetime.now(UTC) - newest > timedelta(days=1)
    write_tables(shop, tmp_path / "tables")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's and ibis' own deprecations
        materialise.python_func(
            tables=SimpleNamespace(path=tmp_path / "tables"),
            metrics=SimpleNamespace(log_metric=lambda *_: None),
            features=str(tmp_path / "features"),
            environment="local",
            redis="",
            registry="",
        )
    filled = open_reader(tmp_path / "features").filled_at()
    assert filled is not None
    assert abs(datetime.now(UTC).timestamp() - filled) < 600
