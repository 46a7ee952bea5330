"""Processes that end with this one, however it ends: by Ctrl-C, by SIGTERM, by kill -9.

    with attached([sys.executable, "-m", "monitoring", "all"]) as process:
        process.wait()

Each runs in a process group of its own, so that what it started ends with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from pipelines import attached as wrapper

TERMINATED = 128 + signal.SIGTERM  # exit code, as shells count it


@contextlib.contextmanager
def attached(line: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a command that does not outlive this process; what is left of it at the end of the block is killed.

    Args:
        line: The command.
        **options: Of :class:`subprocess.Popen`.

    Yields:
        The process. ``terminate`` asks the command itself to stop.
    """
    theirs, ours = os.pipe()  # no other child inherits our end
    try:
        command = [sys.executable, "-I", str(Path(wrapper.__file__)), str(theirs), *line]
        process = subprocess.Popen(command, pass_fds=(theirs,), start_new_session=True, **options)  # noqa: S603 - our own module
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: no permission for a group that is gone
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Leave the block by ``SystemExit`` on SIGTERM, so that screens, locks and children are put in order."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
