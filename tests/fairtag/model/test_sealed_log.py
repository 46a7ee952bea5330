"""A sealed log is long and quick: an append reads no line again, and nothing behind its head changes unseen."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fairtag.base.chained_log import ChainedLog
from fairtag.base.errors import DataError, UnavailableError
from fairtag.model.sealed_log import SealedLog
from fairtag.model.signature import key_id

KEY, NEXT = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
LINES = 40


def open_log(folder: Path, key: Ed25519PrivateKey | None = KEY, **more) -> SealedLog:
    return SealedLog(folder / "log.jsonl", "log", "test/2", "test-head/1", b"test\n", key=key, remedy="sign it", **more)


@pytest.fixture(params=[KEY, None], ids=["signed", "unsigned"])
def log(request, tmp_path: Path) -> SealedLog:
    found = open_log(tmp_path, request.param)
    for number in range(LINES):
        found.append({"number": number, "why": "because"})
    return found


def reopened(log: SealedLog, folder: Path) -> SealedLog:
    return open_log(folder, log._key)


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The whole checks of a log from now on."""
    found: list[str] = []
    whole = ChainedLog.documents
    monkeypatch.setattr(ChainedLog, "documents", lambda self: found.append("all") or whole(self))
    return found


def test_an_append_reads_no_line_again_in_this_process_or_in_another(log, tmp_path, reads):
    assert log.append({"number": LINES}).entries == LINES + 1
    assert reopened(log, tmp_path).append({"number": LINES + 1}).entries == LINES + 2
    assert [entry["number"] for entry in reopened(log, tmp_path).newest(3)] == [LINES + 1, LINES, LINES - 1]
    assert reads == []
    assert [entry["number"] for entry in log.entries()] == list(range(LINES + 2))


def test_the_newest_entries_are_the_last_however_long_they_are_and_no_more_than_there_are(tmp_path):
    log = open_log(tmp_path)
    assert log.newest(5) == []
    for number in range(4):
        log.append({"number": number, "why": "long " * 9_000})
    assert [entry["number"] for entry in log.newest(2)] == [3, 2]
    assert [entry["number"] for entry in log.newest(9)] == [3, 2, 1, 0]


def altered(file: Path, line: int, old: str, new: str) -> None:
    """Change a line in place and set its time back: the size and what anybody may set are as before."""
    before, lines = file.stat(), file.read_text().splitlines()
    assert len(old) == len(new)
    lines[line] = lines[line].replace(old, new)
    file.write_text("".join(f"{each}\n" for each in lines))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("line", [0, LINES // 2, LINES - 1])
def test_a_line_that_was_altered_in_place_is_found_at_the_next_action(log, tmp_path, line):
    altered(tmp_path / "log.jsonl", line, "because", "besides")
    for found in (log, reopened(log, tmp_path)):
        for act in (lambda found=found: found.append({"number": 0}), found.head, found.entries, lambda: log.newest(2)):
            with pytest.raises(DataError, match="altered"):
                act()


def test_lines_that_were_cut_off_and_a_file_that_is_gone_are_found(log, tmp_path):
    file = tmp_path / "log.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("".join(f"{each}\n" for each in lines[:-2]))
    with pytest.raises(DataError, match=f"2 of {LINES}"):
        log.append({"number": 0})
    file.unlink()
    with pytest.raises(DataError, match=f"{LINES} of {LINES}"):
        log.append({"number": 0})


def test_a_file_that_took_the_place_of_the_log_is_read_from_the_first_line_on(log, tmp_path, reads):
    file = tmp_path / "log.jsonl"
    copy = tmp_path / "copy"
    copy.write_bytes(file.read_bytes())
    copy.replace(file)
    assert log.append({"number": LINES}).entries == LINES + 1
    assert reads == ["all"]
    assert log.append({"number": LINES}).entries == LINES + 2
    assert reads == ["all"], "once it was checked it is known"


def test_a_state_of_the_file_that_no_key_signed_is_believed_by_nobody(tmp_path):
    log = open_log(tmp_path)
    for number in range(3):
        log.append({"number": number, "why": "because"})
    altered(tmp_path / "log.jsonl", 0, "because", "besides")
    head = tmp_path / "log.head.json"
    document = json.loads(head.read_text())
    found = (tmp_path / "log.jsonl").stat()
    document["left"] = {"inode": found.st_ino, "size": found.st_size, "changed_ns": found.st_ctime_ns}
    for forged in (document, {name: value for name, value in document.items() if name != "left"}):
        head.write_text(json.dumps(forged))
        with pytest.raises(DataError, match=r"not signed with the log's key.*sign it"):
            log.append({"number": 3})


def test_a_line_that_a_crash_kept_out_of_the_head_is_dropped_and_one_it_cut_off_too(log, tmp_path):
    file = tmp_path / "log.jsonl"
    ChainedLog(file, "test/2").append({"number": "lost"})
    assert len(log.entries()) == LINES
    log.append({"number": "next"})
    with file.open("a") as stream:
        stream.write('{"number": "cut')
    log.append({"number": "last"})
    assert [entry["number"] for entry in log.entries()][LINES:] == ["next", "last"]


def test_a_log_of_before_there_was_a_head_gets_one_and_then_needs_it(tmp_path):
    before = ChainedLog(tmp_path / "log.jsonl", "test/1")
    before.append({"number": 0})
    log = open_log(tmp_path)
    assert log.head().entries == 1
    log.append({"number": 1})
    assert (log.head().entries, log.head().signed_by) == (2, key_id(KEY.public_key()))
    (tmp_path / "log.head.json").unlink()
    with pytest.raises(DataError, match="the head of the log is gone"):
        log.append({"number": 2})


def test_a_key_that_was_replaced_counts_as_long_as_it_is_trusted(tmp_path):
    open_log(tmp_path).append({"number": 0})
    with pytest.raises(DataError, match="not signed with the log's key"):
        open_log(tmp_path, NEXT).append({"number": 1})
    trusted = {key_id(KEY.public_key()): KEY.public_key()}
    assert open_log(tmp_path, NEXT, trusted=trusted).append({"number": 1}).entries == 2
    assert open_log(tmp_path, NEXT).head().signed_by == key_id(NEXT.public_key())
    assert open_log(tmp_path).seal().signed_by == key_id(KEY.public_key()), "by somebody who trusts the log"


def test_a_folder_that_takes_nothing_is_said_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="takes no entry"):
        open_log(tmp_path / "file" / "folder").append({"number": 0})


def _append_many(folder: Path, writer: int) -> None:
    log = open_log(folder)
    for number in range(25):
        log.append({"writer": writer, "number": number})
        log.head()


@pytest.mark.slow
def test_several_processes_append_to_one_log_and_read_it_while_others_write(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(tmp_path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    entries = open_log(tmp_path).entries()
    for writer in range(3):
        assert [entry["number"] for entry in entries if entry["writer"] == writer] == list(range(25))
