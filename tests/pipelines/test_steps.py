"""A step that a stopped run finished is taken over where code, parameters and input files are the same."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import steps

# What KFP starts, without KFP: it writes an output and the note of its outputs.
BODY = """
import json, pathlib, sys
given = json.loads(sys.argv[sys.argv.index("--executor_input") + 1])
out = pathlib.Path(given["outputs"]["outputFile"])
out.parent.mkdir(parents=True, exist_ok=True)
(out.parent / "tables").write_text("made")
out.write_text(json.dumps({"artifacts": {"tables": {"artifacts": [{"uri": str(out.parent / "tables")}]}}}))
print("made it")
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[int, Path]]:
    """Runs a step in an attempt; returns its exit code and its folder."""
    (tmp_path / "input").write_text("data")
    body = tmp_path / "step.py"
    body.write_text(BODY)

    def in_process(line: list[str]) -> int:
        return subprocess.run([sys.executable, str(body), *line], check=False, stdout=subprocess.DEVNULL).returncode

    def one(attempt: str, name: str = "ingest", version: str = "v1", **parameters: Any) -> tuple[int, Path]:
        folder = tmp_path / "attempts" / attempt / name
        artifacts = {"raw": {"artifacts": [{"uri": str(tmp_path / "input")}]}}
        given = {
            "inputs": {"parameterValues": parameters, "artifacts": artifacts},
            "outputs": {"outputFile": str(folder / "executor_output.json")},
        }
        line = ["--executor_input", json.dumps(given), "--function_to_execute", name]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(steps, "run_command", in_process)
            return steps._run_step(line, tmp_path / "attempts", version), folder

    return one


def test_the_same_step_is_taken_over_and_says_so(
    run: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, first = run("one", seed=1, pipeline_run="a")
    code, second = run("two", seed=1, pipeline_run="b")
    assert code == 0
    assert "ingest: reused, the same inputs and code gave it at " in capsys.readouterr().out
    assert (second / "tables").read_text() == "made"
    assert not first.exists()
    (artifact,) = json.loads((second / "executor_output.json").read_text())["artifacts"]["tables"]["artifacts"]
    assert artifact["uri"] == str(second / "tables")


@pytest.mark.parametrize(
    ("change", "what"),
    [({"seed": 2}, "parameter"), ({"seed": 1, "version": "v2"}, "code"), ({"seed": 1, "edit": "other"}, "input file")],
)
def test_another_parameter_code_or_input_file_repeats_the_step(
    run: Callable[..., tuple[int, Path]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    what: str,
) -> None:
    _, first = run("one", seed=1)
    if text := change.pop("edit", None):
        (tmp_path / "input").write_text(text)
    run("two", **change)
    assert "reused" not in capsys.readouterr().out, what
    assert first.exists()


@pytest.mark.parametrize("name", ["evaluate", "materialise", "register", "deploy"])
def test_a_step_that_acts_outside_its_folder_is_always_run(
    run: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run("one", name, seed=1)
    run("two", name, seed=1)
    assert "reused" not in capsys.readouterr().out


def test_a_step_that_was_stopped_half_way_is_not_taken_over(
    run: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, first = run("one", seed=1)
    (first / steps.MARK).write_text('{"key": ')  # torn
    run("two", seed=1)
    assert "reused" not in capsys.readouterr().out
