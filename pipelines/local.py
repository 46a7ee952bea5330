"""Runs the training pipeline on this machine with KFP's own local runner.

Each attempt works in a folder of its own, and its results are copied out whole: a killed attempt leaves nothing that
could be mistaken for a result, and steps that it finished are not repeated by the next (:mod:`pipelines.steps`). The
runner hands over no exception of a step, only its printed lines; the last error of ours among them is raised again
here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fairtag.base import errors
from fairtag.base.errors import DecisionRejected, FairtagError
from fairtag.base.files import directory_atomic, write_atomic
from pipelines.steps import own_steps

ATTEMPTS = "steps"
LOG = "pipeline.log"
# What is copied out of an attempt: name in the folder of the run, then step and output.
PUBLISHED: dict[str, tuple[str, str]] = {
    "DECISION.json": ("evaluate", "decision"),
    "DECISION.html": ("evaluate", "report"),
    "validation.html": ("validate", "report"),
    "validation": ("validate", "details"),
    "training_report.json": ("train", "encoder/training_report.json"),
    "tables": ("validate", "tables"),
    "training_set.parquet": ("training-set", "joined"),
    "model_folder": ("fit", "model_folder"),
}
STEP_ERROR = re.compile(r"^fairtag\.base\.errors\.(\w+): (.*)$")
OTHER_ERROR = re.compile(r"^[\w.]+(?:Error|Exception|Interrupt)\b:? ?.*$")
EXECUTING = re.compile(r"Executing task '([\w-]+)'")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class StepFailed(FairtagError):
    """A step ended with an error that is not of our own error tree.

    Args:
        step: Name of the step.
        message: Its last error line.
        log: Where all of its output is.
    """

    def __init__(self, step: str, message: str, log: Path) -> None:
        super().__init__(f"step {step} failed: {message or 'it left no message'}; its output is in {log}")
        self.step = step


@dataclass
class _Watcher(io.TextIOBase):
    """Reads the runner's output line by line: writes the log, reports progress and remembers the last error."""

    log: io.TextIOBase
    progress: Callable[[str, str], None]
    step: str = ""
    ours: FairtagError | None = None
    other: str = ""
    _rest: str = ""

    def write(self, text: str, /) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._line(line)
        return len(text)

    def _line(self, line: str) -> None:
        self.log.write(line + "\n")
        self.log.flush()
        plain = COLOUR.sub("", line).strip()
        if started := EXECUTING.search(plain):
            self.step, self.ours, self.other = started.group(1), None, ""
            self.progress(self.step, "")
        elif error := STEP_ERROR.match(plain):
            self.ours = _error(error.group(1), error.group(2))
        elif OTHER_ERROR.match(plain):
            self.other = plain
        elif plain.startswith(f"{self.step.replace('-', ' ')}:"):
            self.progress(self.step, plain.partition(":")[2].strip())


def run_pipeline(
    arguments: Mapping[str, Any],
    out: Path,
    progress: Callable[[str, str], None],
    runner: str = "process",
    *,
    repeat: bool = False,
) -> None:
    """Run every step in a process or a container of its own, and copy what a reader needs into ``out``.

    Args:
        arguments: Parameters of :func:`pipelines.training.training`.
        out: Folder of the run.
        progress: Called with (step, line) as the steps go.
        runner: ``process``, or ``docker`` for our images.
        repeat: Run every step, also those that a stopped run finished.

    Raises:
        FairtagError: A step's own error, raised again.
        StepFailed: A step broke in another way.
    """
    from pipelines.training import training

    attempts = out / ATTEMPTS
    if repeat:
        shutil.rmtree(attempts, ignore_errors=True)
    attempts.mkdir(parents=True, exist_ok=True)
    with (out / LOG).open("w") as log:
        watcher = _Watcher(log, progress)
        try:
            with (
                _own_containers(runner, out),
                _running(_runner(runner, arguments, out), attempts, watcher, str(arguments["code_version"])),
            ):
                training(**arguments)
        except RuntimeError as error:
            publish(attempts, out)
            failed = watcher.ours or StepFailed(watcher.step, watcher.other or str(error), out / LOG)
            if isinstance(failed, DecisionRejected):  # the pipeline came to its end
                shutil.rmtree(attempts, ignore_errors=True)
            raise failed from error
        except BaseException:  # stopped by a person
            publish(attempts, out)
            raise
        publish(attempts, out)
        shutil.rmtree(attempts, ignore_errors=True)


def _own_containers(runner: str, out: Path) -> contextlib.AbstractContextManager[None]:
    if runner != "docker":
        return contextlib.nullcontext()
    from pipelines.containers import ending_with_the_run

    return ending_with_the_run(out)


def _runner(name: str, arguments: Mapping[str, Any], out: Path) -> Any:
    from kfp import local

    if name == "docker":
        from pipelines.containers import docker_runner

        return docker_runner(arguments, out)
    return local.SubprocessRunner(use_venv=False)


@contextlib.contextmanager
def _running(runner: Any, attempts: Path, watcher: _Watcher, code_version: str) -> Iterator[None]:
    from kfp import local

    local.init(runner, pipeline_root=str(attempts), raise_on_error=True)
    handler = logging.StreamHandler(watcher)
    root = logging.getLogger()
    before = (root.handlers, root.level)
    root.handlers, root.level = [handler], logging.INFO
    try:
        with (
            own_steps(attempts, code_version),
            contextlib.redirect_stdout(watcher),
            contextlib.redirect_stderr(watcher),
        ):
            yield
    finally:
        root.handlers, root.level = before


def publish(attempts: Path, out: Path) -> None:
    """Copy the outputs of the newest attempt; each is whole in ``out``, or absent when the attempt did not make it."""
    runs = sorted((each for each in attempts.iterdir() if each.is_dir()), key=lambda folder: folder.stat().st_mtime)
    for name, (step, output) in PUBLISHED.items():
        source = runs[-1] / step / output if runs else None
        if source is None or not source.exists():
            _remove(out / name)  # of an earlier run: beside this one's results it would be read as theirs
        elif source.is_dir():
            with directory_atomic(out / name) as folder:
                shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            write_atomic(out / name, partial(shutil.copyfile, source))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _error(name: str, message: str) -> FairtagError:
    kind = getattr(errors, name, FairtagError)
    try:
        error = kind(message)
    except TypeError:  # an error that wants more than a message
        error = FairtagError(message)
    return error if isinstance(error, FairtagError) else FairtagError(message)
