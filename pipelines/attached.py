"""Runs a command that ends with the process that started it: ``python attached.py FD COMMAND...``.

FD is the reading end of a pipe whose other end only that process holds. However it ends, by a signal or by kill -9, the
system closes its end; then the command is asked to stop, and after a grace its whole process group is killed. It stands
alone: it is run as a file, without this package.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

GRACE_SECONDS = 5.0


def main(arguments: list[str]) -> int:
    """Run the command; its exit code, or 128 and the signal that ended it."""
    pipe, line = int(arguments[0]), arguments[1:]
    command = subprocess.Popen(line)  # noqa: S603 - what our own caller wrote

    def stop(_signal: int, _frame: FrameType | None) -> None:
        command.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(pipe, command), daemon=True).start()
    code = command.wait()
    return code if code >= 0 else 128 - code


def _end_with(pipe: int, command: "subprocess.Popen[bytes]") -> None:
    """Wait until the other end of the pipe is closed, then end the command and everything it started."""
    os.read(pipe, 1)
    command.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
