"""One benchmark or study in a process of its own, under a time limit: what fails or hangs takes no other with it.

Knows how a command is run and ended; nothing of what it measures.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Args:
        name: Benchmark or study.
        code: Exit code; None where it was ended for taking too long.
        seconds: How long it ran.
    """

    name: str
    code: int | None
    seconds: float

    @property
    def problem(self) -> str:
        """What went wrong, in words; empty when nothing did."""
        if self.code is None:
            return f"{self.name}: ended after {self.seconds:.0f} s, its limit"
        return f"{self.name}: exit code {self.code} after {self.seconds:.0f} s" if self.code else ""


def run_apart(arguments: list[str], name: str, limit: float) -> Ended:
    """Run ``python -m benchmarks ARGUMENTS`` and wait at most ``limit`` seconds; it and its children are then ended."""
    start = time.monotonic()
    command = [sys.executable, "-m", "benchmarks", *arguments]
    # The command is this interpreter and names of this package; a session of its own is what can be ended whole.
    with subprocess.Popen(command, cwd=Path.cwd(), start_new_session=True) as process:  # noqa: S603
        try:
            code: int | None = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
    return Ended(name, code, time.monotonic() - start)
