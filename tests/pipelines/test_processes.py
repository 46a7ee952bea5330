"""What a run starts ends with it: on Ctrl-C, on SIGTERM, and on kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.processes import attached

PARENT = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background
from pipelines.processes import attached, ending_on_sigterm
child = [sys.executable, "-c", sys.argv[2], sys.argv[1]]
with ending_on_sigterm(), attached(child) as process:
    process.wait()
"""
# A step that starts a process of its own, as a training step does, and takes no notice of a polite signal.
CHILD = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1] + ".part", "w") as file:
    file.write(f"{os.getpid()} {grandchild.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(600)
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _gone(pids: list[int], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads the process table of Linux")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_step_and_what_it_started_end_with_the_run_however_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    note = tmp_path / "pids"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(note), CHILD], stderr=subprocess.DEVNULL, start_new_session=True
    )
    end = time.monotonic() + 60
    while not note.is_file():
        assert time.monotonic() < end
        time.sleep(0.02)
    pids = [int(pid) for pid in note.read_text().split()]
    try:
        assert all(_alive(pid) for pid in pids)
        parent.send_signal(number)
        assert _gone(pids)
        code = parent.wait(30)
        assert code == (143 if number == signal.SIGTERM else -number)
    finally:
        for pid in filter(_alive, [parent.pid, *pids]):
            os.kill(pid, signal.SIGKILL)


def test_a_command_says_its_own_exit_code_and_output() -> None:
    line = [sys.executable, "-c", "print('said'); raise SystemExit(7)"]
    with attached(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert (process.stdout.read(), process.wait()) == ("said\n", 7)


def test_a_polite_stop_reaches_the_command_itself() -> None:
    line = [sys.executable, "-c", "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); "
            "print('up', flush=True); time.sleep(600)"]  # fmt: skip
    with attached(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 3
