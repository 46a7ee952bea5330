"""The online store of a feature folder: read without the offline engine, refused in words where it does not open."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from redis.exceptions import TimeoutError as RedisTimeout

from fairtag.base.errors import ConfigError
from serving.stores.feast_store import open_reader

# What the endpoint's image lacks; dask it has, and does not need.
WITHOUT_ENGINES = """
import json, sys
from pathlib import Path
sys.modules.update(dict.fromkeys(("duckdb", "ibis", "dask")))
from serving.stores.feast_store import open_reader
reader = open_reader(Path(sys.argv[1]))
user = reader.user("user-3")
print(json.dumps([user.behaviour, user.history_items, list(reader.items(["item-002"])["list_price"])]))
"""


@pytest.fixture(scope="module")
def feast_folder(
    handmade: ModuleType, materialised: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The hand-made shop's features as the materialise step leaves them, on SQLite."""
    return materialised(tmp_path_factory.mktemp("features"), handmade.tables())


@pytest.mark.slow
def test_a_runs_own_folder_serves_where_its_offline_engine_is_not_installed(feast_folder: Path) -> None:
    assert "duckdb" in (feast_folder / "feature_store.yaml").read_text()
    line = [sys.executable, "-c", WITHOUT_ENGINES, str(feast_folder)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    behaviour, history, list_price = json.loads(done.stdout)
    assert behaviour["promotion_response"] == pytest.approx(0.9)
    assert (history, list_price) == (["item-001"], [102.0])


def test_the_store_says_when_it_was_filled_however_long_its_customers_were_away(
    feast_folder: Path, handmade: ModuleType
) -> None:
    visits = handmade.tables().users["updated_at"]
    assert time.time() - visits.max().timestamp() > 24 * 3600, "every customer was last here more than a day ago"
    filled = open_reader(feast_folder).filled_at()
    assert filled is not None
    assert 0 <= time.time() - filled < 3600


@pytest.mark.usefixtures("feast_folder")  # Feast is imported, with what it warns about
@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "there is no feature_store.yaml; run the features step, which writes it"),
        ("project: [", "describes no feature store"),
        ("", "describes no feature store"),
        ("project: 7\nregistry: r.db\nonline_store: {type: redis, connection_string: s3cret}", "project: "),
        ("project: fairtag\nregistry: r.db\nonline_store: {type: abacus}", "describes no feature store"),
        ("project: fairtag\nregistry: ${FAIRTAG_NOWHERE}", "FAIRTAG_NOWHERE is not set in the environment"),
        ("project: fairtag\nprovider: local\nregistry: r.db\noffline_store: {type: duckdb}", "was not applied"),
    ],
)
def test_a_folder_that_does_not_open_is_refused_in_words(tmp_path: Path, written: str | None, said: str) -> None:
    from serving.stores.feast_store import open_reader

    if written is not None:
        (tmp_path / "feature_store.yaml").write_text(written)
    with pytest.raises(ConfigError, match=r"feature_store|not applied") as refused:
        open_reader(tmp_path)
    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.usefixtures("feast_folder")
def test_a_damaged_registry_is_refused_in_words(feast_folder: Path, tmp_path: Path) -> None:
    from serving.stores.feast_store import open_reader

    (tmp_path / "feature_store.yaml").write_text((feast_folder / "feature_store.yaml").read_text())
    (tmp_path / "registry.db").write_bytes(b"no registry")
    with pytest.raises(ConfigError, match="does not open"):
        open_reader(tmp_path)


def test_a_redis_that_is_late_is_asked_once_and_its_thread_is_free_again(
    handmade: ModuleType, materialised: Callable[..., Path], road: Any, tmp_path: Path
) -> None:
    folder = materialised(tmp_path / "features", handmade.tables(), f"{road.address},socket_timeout=0.2")
    reader = open_reader(folder)
    assert reader.user("user-3") is not None
    road.slow(60.0)
    connections = road.connections
    with pytest.raises(RedisTimeout):
        reader.user("user-3")
    assert road.connections == connections, "no second try behind the first, on another connection"
    road.quick()
    assert reader.user("user-3") is not None
