"""The pipeline on KFP's local runner: a model that is not good enough stops there, and broken parts say what broke."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from kfp.dsl import executor_main

from fairtag.base.errors import DataError, DecisionRejected, NonFiniteLoss
from fairtag.base.tables import Tables
from fairtag.data import load
from fairtag.model.decision import read_decision
from fairtag.model.manifest import read_manifest, verify_files
from fairtag.simulator.simulation import ShopSize
from pipelines.cli import main
from pipelines.local import COLOUR, PUBLISHED, _Watcher, publish

# An encoder as it came and without export: seconds; what is tried here is the pipeline, not what it learns.
SMALL = (
    "--items",
    "120",
    "--users",
    "150",
    "--impressions",
    "4800",
    "--max-steps",
    "0",
    "--encoder",
    '{"export": "none"}',
    "--evaluation",
    '{"model_bytes": 1000}',  # no model is so small
)
pytestmark = [
    pytest.mark.timeout(900),  # processes that each import the libraries anew, on a machine that may be busy
]
SIZE = ShopSize(items=120, users=150, impressions=4_800)


def command(*arguments: str) -> list[str]:
    """The command line in a process of its own, as a person or a script calls it."""
    return [sys.executable, "-m", "pipelines.cli", *arguments]


def fairtag(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command run to its end."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=600)


PRINT = print


def _in_this_process(full_command: list[str]) -> int:
    """A step as KFP's local runner starts it, without the new interpreter that it starts it in."""
    source = full_command[full_command.index("--executor_input") - 1]
    options = full_command[full_command.index("--executor_input") :]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        (Path(folder) / "step.py").write_text(source)
        patch.setattr("builtins.print", PRINT)  # the runner's indents, and torch finds no such function by its name
        patch.setattr(sys, "argv", ["executor_main", "--component_module_path", f"{folder}/step.py", *options])
        try:
            executor_main.executor_main()
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            return 1
    return 0


@dataclass
class Ended:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """A command whose steps run in this process: a step's interpreter and imports take longer than its work here.

    That steps work in processes of their own is tried by the runs above.
    """

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr("pipelines.steps.run_command", _in_this_process)
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries' own, as in the processes of a real run
            code = main(list(arguments))
        return Ended(code, *capsys.readouterr())

    return run


def _csv(tables: Tables, folder: Path) -> Path:
    folder.mkdir()
    for name, frame in tables.frames().items():
        lists = {
            column: frame[column].map(lambda row: json.dumps(list(row)))
            for column in frame.columns
            if name == "users" and column.startswith("history")
        }
        frame.assign(**lists).to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A run that was killed while it fitted, with all its processes: its folder, and what lay there."""
    out = tmp_path_factory.mktemp("run") / "small"
    run = subprocess.Popen(command("run", "--out", str(out), *SMALL), start_new_session=True, stdout=subprocess.DEVNULL)
    log, end = out / "pipeline.log", time.monotonic() + 300
    while not (log.is_file() and "Executing task 'fit'" in COLOUR.sub("", log.read_text())):
        assert run.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    os.kill(run.pid, signal.SIGKILL)  # the run alone: its step must end by itself
    run.wait(30)
    while found := [pid for pid in _processes() if str(out) in pid]:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return out, {path.name for path in out.iterdir()}


def _processes() -> list[str]:
    """The command line of every process of this machine."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(file.read_bytes().decode(errors="replace"))
    return lines


@pytest.fixture(scope="module")
def rejected(killed: tuple[Path, set[str]]) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The same run again, to its end, with a limit that no model keeps: it must end in a rejection."""
    out, _ = killed
    return out, fairtag("run", "--out", str(out), *SMALL)


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_could_be_taken_for_a_result(killed: tuple[Path, set[str]]) -> None:
    _, left = killed
    assert not left & {*PUBLISHED, "run.json", "live", "models", "registry"}


@pytest.mark.slow
def test_a_rejected_model_is_neither_registered_nor_live_and_the_exit_code_says_so(
    rejected: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    from components.adapters.mlflow import Registry

    out, done = rejected
    assert done.returncode == 5, done.stdout + done.stderr
    for step in ("ingest", "validate", "train", "training-set"):
        assert re.search(rf"^ *{step} .*reused, the same inputs and code gave it at", done.stdout, re.MULTILINE), step
    assert not re.search(r"^ *(fit|evaluate) .*reused", done.stdout, re.MULTILINE)
    decision = read_decision(out / "DECISION.json")
    assert not decision["accepted"]
    assert "the decision is rejected" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert Registry.local(out / "registry").versions() == []
    assert not (out / "live").exists()
    assert not (out / "models").exists()


@pytest.mark.slow
def test_what_a_reader_needs_lies_whole_under_the_folder_of_the_run(
    rejected: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = rejected
    verify_files(out / "model_folder", read_manifest(out / "model_folder"))
    assert (
        read_decision(out / "DECISION.json")["challenger"]["model_digest"]
        == read_manifest(out / "model_folder")["digest"]
    )
    for name in ("DECISION.html", "validation.html", "validation/docs/index.html", "training_set.parquet"):
        assert (out / name).is_file()
    assert not (out / "steps").exists()
    for shown in ("Validated", "Decision: rejected", "impressions"):
        assert shown in done.stdout


@pytest.mark.slow
def test_the_same_run_again_is_not_run_again_and_says_the_same(
    rejected: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, first = rejected
    before = (out / "pipeline.log").stat().st_mtime_ns
    again = fairtag("run", "--out", str(out), *SMALL)
    assert (again.returncode, again.stderr) == (5, first.stderr)
    assert (out / "pipeline.log").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_same_inputs_make_the_same_model_folder(
    rejected: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, quick: Callable[..., Ended]
) -> None:
    out, _ = rejected
    assert quick("run", "--out", str(tmp_path / "twin"), *SMALL).returncode == 5
    first, second = read_manifest(out / "model_folder"), read_manifest(tmp_path / "twin" / "model_folder")
    assert first["files"] == second["files"]
    assert first["digest"] == second["digest"]


@pytest.mark.slow
def test_a_table_with_too_many_broken_rows_stops_the_run_with_table_rule_count_and_examples(
    tmp_path: Path, quick: Callable[..., Ended]
) -> None:
    tables = load("synthetic", seed=0, size=SIZE)
    items = tables.items.copy()
    items.loc[items.index[::5], "unit_cost"] = -1.0
    data = _csv(dataclasses.replace(tables, items=items), tmp_path / "data")
    done = quick("run", "--dataset", "csv", "--data", str(data), "--out", str(tmp_path / "run"))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "items: " in done.stderr
    assert "'>= 0' of unit_cost" in done.stderr
    assert "-1.0" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "run" / "validation.html").is_file()
    assert (tmp_path / "run" / "validation" / "quarantine" / "items.parquet").is_file()
    assert not (tmp_path / "run" / "model_folder").exists()
    assert not (tmp_path / "run" / "DECISION.json").exists()


def test_a_missing_column_stops_the_run_at_the_border(tmp_path: Path, quick: Callable[..., Ended]) -> None:
    tables = load("synthetic", seed=0, size=SIZE)
    data = _csv(dataclasses.replace(tables, items=tables.items.drop(columns="list_price")), tmp_path / "data")
    done = quick("run", "--dataset", "csv", "--data", str(data), "--out", str(tmp_path / "run"))
    assert done.returncode == 3
    assert "items: column list_price is missing" in done.stderr


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run_before_anything_is_fitted(
    tmp_path: Path, quick: Callable[..., Ended]
) -> None:
    rates = {"learning_rate": 1e30, "head_learning_rate": 1e30, "clip_norm": 1e30}
    settings = json.dumps({"optimiser": rates, "export": "none"})
    out = tmp_path / "run"
    done = quick("run", "--out", str(out), *SMALL, "--max-steps", "6", "--encoder", settings)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "loss" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (out / "model_folder").exists()
    assert not (out / "live").exists()


def _watch(tmp_path: Path, *lines: str) -> tuple[_Watcher, list[tuple[str, str]]]:
    seen: list[tuple[str, str]] = []
    with (tmp_path / "log").open("w") as log:
        watcher = _Watcher(log, lambda step, line: seen.append((step, line)))
        for text in lines:
            watcher.write(text)
    return watcher, seen


def test_lines_of_a_step_become_progress_and_its_last_error_is_ours_again(tmp_path: Path) -> None:
    watcher, seen = _watch(
        tmp_path,
        "12:00:00.1 - INFO - Executing task \x1b[96m'training-set'\x1b[0m\n",
        "    training set: 12 impres",
        "sions\n    Traceback (most recent call last):\n",
        "    fairtag.base.errors.DataError: items: broken: 3 rows\n",
    )
    assert seen == [("training-set", ""), ("training-set", "12 impressions")]
    assert isinstance(watcher.ours, DataError)
    assert str(watcher.ours) == "items: broken: 3 rows"


@pytest.mark.parametrize(("name", "kind"), [("NonFiniteLoss", NonFiniteLoss), ("DecisionRejected", DecisionRejected)])
def test_each_error_of_the_tree_comes_back_as_itself(tmp_path: Path, name: str, kind: type[Exception]) -> None:
    watcher, _ = _watch(tmp_path, f"fairtag.base.errors.{name}: because\n")
    assert type(watcher.ours) is kind


def test_an_error_of_an_earlier_step_is_not_laid_at_the_door_of_a_later_one(tmp_path: Path) -> None:
    watcher, _ = _watch(tmp_path, "fairtag.base.errors.DataError: a\nExecuting task 'fit'\nMemoryError: no room\n")
    assert (watcher.ours, watcher.step, watcher.other) == (None, "fit", "MemoryError: no room")


def test_an_error_that_wants_more_than_a_message_still_says_it(tmp_path: Path) -> None:
    watcher, _ = _watch(tmp_path, "fairtag.base.errors.RequestError: page_size: 0 is refused\n")
    assert str(watcher.ours) == "page_size: 0 is refused"


def test_results_of_an_earlier_run_are_not_left_beside_those_of_a_failed_one(tmp_path: Path) -> None:
    (tmp_path / "DECISION.json").write_text("{}")
    (tmp_path / "model_folder").mkdir()
    attempt = tmp_path / "steps" / "attempt-1" / "validate"
    attempt.mkdir(parents=True)
    (attempt / "report").write_text("<p>")
    publish(tmp_path / "steps", tmp_path)
    assert (tmp_path / "validation.html").read_text() == "<p>"
    assert not (tmp_path / "DECISION.json").exists()
    assert not (tmp_path / "model_folder").exists()


def test_a_path_that_the_local_runner_would_rewrite_is_refused(tmp_path: Path, quick: Callable[..., Ended]) -> None:
    done = quick("run", "--out", str(tmp_path / "python3"), *SMALL)
    assert done.returncode == 2
    assert "python3" in done.stderr
