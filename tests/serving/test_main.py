"""``python -m serving`` that cannot start: one line that says why, and an end without delay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fairtag.model.manifest import write_manifest

PATIENCE = 60.0  # seconds from the last word to the end, on a machine however busy


@pytest.fixture
def altered(tmp_path: Path, accepted: Callable[[Path], None]) -> Path:
    """A model folder of one file that is not what its manifest says."""
    model_folder = tmp_path / "model_folder"
    model_folder.mkdir()
    (model_folder / "policy.json").write_text("{}")
    write_manifest(model_folder, {"code_version": "test"})
    accepted(model_folder)
    (model_folder / "policy.json").write_text('{"personalise": true}')
    return model_folder


@pytest.mark.slow
def test_a_refused_model_folder_ends_the_process_while_the_feature_store_is_still_opening(
    altered: Path, tmp_path: Path
) -> None:
    (tmp_path / "feature_store.yaml").write_text("project: fairtag")
    hanging = tmp_path / "hanging"
    hanging.mkdir()
    (hanging / "feast.py").write_text("import threading\nthreading.Event().wait()\n")  # opening the store never ends
    path = os.pathsep.join([str(hanging), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = ["--model-folder", str(altered), "--feature-repo", str(tmp_path), "--run-dir", str(tmp_path / "run")]
    line = [sys.executable, "-m", "serving", *options, "--http-port", "0", "--grpc-port", "-1"]
    with subprocess.Popen(
        line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        assert process.stderr is not None
        try:
            said = next(text for text in process.stderr if '"ERROR"' in text)
            assert process.wait(PATIENCE) == 6
        finally:
            process.kill()
        assert "Traceback" not in process.stderr.read()
    assert "the model folder was altered or not copied whole" in json.loads(said)["message"]


def test_options_that_mean_nothing_are_said_and_end_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    from serving.__main__ import main

    assert main(["--model-folder", "x", "--http-port", "70000"]) == 2
    assert "http_port: " in capsys.readouterr().err
