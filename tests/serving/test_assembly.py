"""What the assembly refuses, and that neither of the two things it loads side by side delays the other's refusal."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from fairtag.base.errors import ConfigError, ModelFolderError, ModelFolderMissing
from fairtag.base.files import read_json, write_json
from fairtag.encoder.encoder import DESCRIPTION
from fairtag.model.manifest import read_manifest, write_manifest
from serving.assembly import Assembly, load_model_core
from serving.metrics import Metrics
from serving.settings import ServingSettings


@pytest.mark.parametrize("refused", ["model_folder", "features"])
def test_a_refusal_does_not_wait_for_what_is_loaded_beside_it(
    settings: Callable[..., ServingSettings], refused: str
) -> None:
    released, ended = threading.Event(), threading.Event()

    def slow(_: Any) -> Any:
        released.wait(60)
        ended.set()

    def no_model_folder(_: Any) -> Any:
        raise ModelFolderMissing("no model folder")

    def no_features(_: Any) -> Any:
        raise ConfigError("no folder")

    try:
        with pytest.raises(
            (ModelFolderMissing, ConfigError), match="no model folder" if refused == "model_folder" else "no folder"
        ):
            Assembly(
                settings(),
                Metrics(CollectorRegistry()),
                load_core=no_model_folder if refused == "model_folder" else slow,
                open_reader=no_features if refused == "features" else slow,
            )
        assert not ended.is_set()
    finally:
        released.set()


def test_an_encoder_without_onnx_where_torch_is_absent_is_one_error_that_says_what_to_do(
    shop: Any, settings: Callable[..., ServingSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_folder = tmp_path / "torch-only"
    shutil.copytree(shop.model_folder, model_folder)
    description = model_folder / "encoder" / DESCRIPTION
    write_json(description, {**read_json(description), "serving": "torch"})
    facts = {k: v for k, v in read_manifest(model_folder).items() if k not in ("files", "digest", "version", "schema")}
    write_manifest(model_folder, facts)
    monkeypatch.delitem(sys.modules, "fairtag.encoder.model", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelFolderError, match=r"needs torch, which is not installed here; train .* export: auto"):
        load_model_core(settings(model_folder=model_folder))
