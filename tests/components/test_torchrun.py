"""Training as a process group: started and ended around the one training function, its result where the step looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import distributed

from components import torchrun
from fairtag.base.tables import write_tables
from fairtag.data import load
from fairtag.encoder.config import preset
from fairtag.simulator.simulation import ShopSize
from pipelines.endpoint import free_port


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun's environment of a group of one."""
    environment = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.slow
def test_the_group_trains_into_the_folder_where_the_pipeline_looks_first(
    alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = load("synthetic", None, seed=0, size=ShopSize(items=120, users=150, impressions=4_800))
    write_tables(shop, tmp_path / "tables")
    seen: list[tuple[Path, bool]] = []

    def train(config: Any, judgements: Any, items: Any, out: Path, *, impressions: Any) -> None:
        seen.append((out, distributed.is_initialized()))
        out.mkdir(parents=True)
        (out / "training_report.json").write_text("{}")

    monkeypatch.setattr(torchrun, "train_encoder", train)
    line = ["--tables", str(tmp_path / "tables"), "--checkpoints", str(tmp_path / "work"), "--preset", "demo"]
    assert torchrun.main(line) == 0
    config = preset("demo", {"seed": 0})
    step = tmp_path / "work" / config.fingerprint()[:12] / shop.fingerprint()[:12]
    assert seen == [(step, True)]
    assert not distributed.is_initialized()
    assert torchrun.main(line) == 0
    assert len(seen) == 1, "what lies there is not trained again"


def test_a_failed_training_leaves_no_group_behind(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = load("synthetic", None, seed=0, size=ShopSize(items=120, users=150, impressions=4_800))
    write_tables(shop, tmp_path / "tables")

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(torchrun, "train_encoder", fail)
    with pytest.raises(ZeroDivisionError):
        torchrun.main(["--tables", str(tmp_path / "tables"), "--checkpoints", str(tmp_path)])
    assert not distributed.is_initialized()
