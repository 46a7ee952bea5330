"""The steps of a run on this machine: each in a process that ends with the run, and each done once.

A step whose parameters, code and input files are those of a step that a stopped run finished is not run again: its
outputs are taken over. The steps that act outside their own folder (features, registry, the live model, and the
evaluation against the champion) always run.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fairtag.base.errors import ConfigError
from fairtag.base.files import canonical_json, read_json, sha256_file, sha256_text, write_json
from pipelines.processes import attached

PURE = ("ingest", "validate", "training-set", "train", "fit")  # functions of their inputs
MARK = "finished.json"  # beside the outputs of a finished step
RUN_NAMES = ("pipeline_run",)  # parameters that name the run and shape nothing else


@contextlib.contextmanager
def own_steps(attempts: Path, code_version: str) -> Iterator[None]:
    """Let KFP's local runner start its steps here.

    Args:
        attempts: Folder of the attempts, those of stopped runs included.
        code_version: Version of the code; another version repeats every step.

    Raises:
        ConfigError: The installed KFP has no such runner.
    """
    from kfp.local import subprocess_task_handler as runner

    before = getattr(runner, "run_local_subprocess", None)
    if before is None:
        raise ConfigError("this version of kfp starts its local steps otherwise; install the pinned one: make install")

    def run(full_command: list[str]) -> int:
        return _run_step(full_command, attempts, code_version)

    runner.run_local_subprocess = run
    try:
        yield
    finally:
        runner.run_local_subprocess = before


def _run_step(line: Sequence[str], attempts: Path, code_version: str) -> int:
    """Take a finished step's outputs over, or run the command; its exit code."""
    given = json.loads(line[line.index("--executor_input") + 1])
    folder = Path(given["outputs"]["outputFile"]).parent
    name = folder.name
    key = _key(line, given, code_version) if name in PURE else ""
    if key and (finished := _finished(attempts, name, key)):
        when = str(read_json(finished / MARK)["at"])
        _take_over(finished, folder)
        print(f"{name.replace('-', ' ')}: reused, the same inputs and code gave it at {when}")
        return 0
    code = run_command(line)
    if key and code == 0:
        write_json(folder / MARK, {"key": key, "at": datetime.now(UTC).isoformat(timespec="seconds")})
    return code


def run_command(line: Sequence[str]) -> int:
    """Run a step's command in a process of its own, print what it prints, and return its exit code."""
    with attached(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1) as process:
        for text in process.stdout or ():
            print(text, end="")
        return process.wait()


def _key(line: Sequence[str], given: Mapping[str, Any], code_version: str) -> str:
    """Digest of what shapes a step's outputs: its code, its parameters and the content of its input files."""
    inputs = given.get("inputs", {})
    parameters = {name: value for name, value in inputs.get("parameterValues", {}).items() if name not in RUN_NAMES}
    artifacts = {
        name: [content_digest(Path(each["uri"])) for each in listed["artifacts"]]
        for name, listed in inputs.get("artifacts", {}).items()
    }
    function = line[line.index("--function_to_execute") + 1]
    return sha256_text(canonical_json([function, code_version, parameters, artifacts]))


def content_digest(path: Path) -> str:
    """Hex SHA-256 of a file, or of all files of a folder with their names."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return sha256_text(canonical_json({file.relative_to(path).as_posix(): sha256_file(file) for file in files}))


def _finished(attempts: Path, name: str, key: str) -> Path | None:
    """The folder of a step that finished with this key in an earlier attempt."""
    for mark in attempts.glob(f"*/{name}/{MARK}"):
        with contextlib.suppress(ValueError, OSError):  # a torn mark is none
            if read_json(mark)["key"] == key:
                return mark.parent
    return None


def _take_over(finished: Path, folder: Path) -> None:
    """Move a finished step's folder to its place in this attempt; KFP's note of its outputs names the new place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rmdir()
    finished.rename(folder)
    note = folder / "executor_output.json"
    if note.is_file():
        note.write_text(note.read_text().replace(json.dumps(str(finished))[1:-1], json.dumps(str(folder))[1:-1]))
