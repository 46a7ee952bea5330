"""The trigger's ledger: it only grows, shows what was altered or cut off, and survives a crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fairtag.base.chained_log import START
from fairtag.base.errors import DataError
from fairtag.base.files import canonical_json, sha256_text
from fairtag.model.sealed_log import Head, SealedLog
from monitoring.__main__ import main
from monitoring.trigger.ledger import Entry, Ledger

HEAD = "ledger.head.json"
NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def entry(event: str, request: str) -> Entry:
    return Entry(NOW.isoformat(), event, request, "why")


@pytest.fixture
def filled(tmp_path: Path) -> Callable[..., Path]:
    """Writes a ledger of three entries; the file."""

    def make(key: Ed25519PrivateKey | None = None) -> Path:
        written = Ledger(tmp_path / "ledger.jsonl", key)
        for number in range(3):
            written.append(entry("skipped", f"r{number}"))
        return tmp_path / "ledger.jsonl"

    return make


def test_the_ledger_shows_when_it_was_altered(filled: Callable[..., Path]) -> None:
    file = filled()
    lines = file.read_text().splitlines()
    for altered in (
        [lines[0], lines[1].replace("why", "because"), lines[2]],
        [lines[0], lines[2]],
        [lines[1], lines[0], lines[2]],
        [lines[0], "{", lines[2]],
    ):
        file.write_text("\n".join(altered) + "\n")
        with pytest.raises(DataError, match="altered"):
            Ledger(file).entries()


def test_the_last_entries_cannot_be_taken_away(filled: Callable[..., Path]) -> None:
    file = filled()
    lines = file.read_text().splitlines()
    for left in (2, 1, 0):
        file.write_text("".join(line + "\n" for line in lines[:left]))
        with pytest.raises(DataError, match=rf"the last entries are missing \({3 - left} of 3\)"):
            Ledger(file).entries()
        with pytest.raises(DataError, match="missing"):
            Ledger(file).append(entry("due", "r3"))
    file.unlink()
    with pytest.raises(DataError, match="3 of 3"):
        Ledger(file).entries()
    file.write_text("\n".join(lines) + "\n")
    (file.parent / HEAD).unlink()
    with pytest.raises(DataError, match="head of the ledger is gone"):
        Ledger(file).entries()


def test_nobody_without_the_key_makes_a_head(filled: Callable[..., Path]) -> None:
    file = filled(KEY)
    head, lines = file.parent / HEAD, file.read_text().splitlines()
    document = json.loads(head.read_text())
    cut = {**document, "entries": 2, "digest": json.loads(lines[1])["digest"]}
    file.write_text("\n".join(lines[:2]) + "\n")
    for forged in (cut, {name: value for name, value in cut.items() if name != "signature"}, {}):
        head.write_text(json.dumps(forged))
        with pytest.raises(DataError, match="not signed with the ledger's key"):
            Ledger(file, KEY).entries()
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    head.write_text(json.dumps(document))
    file.write_text("\n".join(lines) + "\n")
    assert len(Ledger(file, KEY).entries()) == len(Ledger(file).entries()) == 3, "a reader needs no key"
    with pytest.raises(DataError, match="not signed"):
        Ledger(file, other).entries()


def test_entries_that_no_trigger_wrote_are_not_read(filled: Callable[..., Path]) -> None:
    file = filled()
    previous = json.loads(file.read_text().splitlines()[-1])["digest"]
    for number in range(2):  # the chain can be continued without a key
        body = {**json.loads(file.read_text().splitlines()[0]), "request": f"forged{number}", "previous": previous}
        body.pop("digest")
        previous = sha256_text(canonical_json(body))
        with file.open("a") as stream:
            stream.write(canonical_json({**body, "digest": previous}) + "\n")
        if number == 0:
            assert [found.request for found in Ledger(file).entries()] == ["r0", "r1", "r2"]
    with pytest.raises(DataError, match="not those of its head"):
        Ledger(file).entries()


def test_a_line_that_a_crash_cut_off_is_dropped_and_the_ledger_goes_on(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(entry("due", "r0"))
    with (tmp_path / "ledger.jsonl").open("a") as stream:
        stream.write('{"at": "2026')
    assert len(ledger.entries()) == 1
    ledger.append(entry("started", "r0"))
    assert [found.event for found in ledger.entries()] == ["due", "started"]


@pytest.mark.parametrize("before", [0, 2])
def test_a_crash_between_entry_and_head_leaves_the_ledger_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", KEY)
    for number in range(before):
        ledger.append(entry("skipped", f"r{number}"))
    real, writes = SealedLog._write_head, []

    def dies(self: SealedLog, head: Head) -> None:
        if head.entries > before:
            writes.append(head)
            raise KeyboardInterrupt
        real(self, head)

    monkeypatch.setattr(SealedLog, "_write_head", dies)
    with pytest.raises(KeyboardInterrupt):
        ledger.append(entry("due", "lost"))
    monkeypatch.setattr(SealedLog, "_write_head", real)
    assert len(writes) == 1
    assert len(ledger.entries()) == before, "the append never returned"
    ledger.append(entry("due", "again"))
    assert [found.request for found in ledger.entries()][before:] == ["again"]


def test_a_ledger_from_before_there_was_a_head_gets_one(tmp_path: Path) -> None:
    file, previous = tmp_path / "ledger.jsonl", START
    for number in range(2):
        body: dict[str, Any] = {
            "schema": "fairtag.trigger-ledger/1",
            "at": NOW.isoformat(),
            "event": "due",
            "request": f"r{number}",
        }
        body |= {"reason": "", "fingerprints": [], "checks": {}, "run": "", "detail": {}, "previous": previous}
        previous = sha256_text(canonical_json(body))
        with file.open("a") as stream:
            stream.write(canonical_json({**body, "digest": previous}) + "\n")
    ledger = Ledger(file, KEY)
    assert len(ledger.entries()) == 2
    ledger.append(entry("started", "r0"))
    assert (ledger.head().entries, bool(ledger.head().signed_by)) == (3, True)


def test_a_key_is_brought_to_a_ledger_by_one_command(
    filled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = filled()
    line = ["ledger", "--ledger", str(file.parent)]
    assert main(line) == 0
    assert "ledger: 3 entries" in (said := capsys.readouterr().out)
    assert "not signed" in said
    assert main([*line, "--sign"]) == 3, "there is no key yet"
    pem = file.parent / "key.pem"
    pem.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setenv("FAIRTAG_MONITORING_LEDGER_KEY", str(pem))
    assert main(line) == 3
    assert "--sign" in capsys.readouterr().err
    assert main([*line, "--sign"]) == 0
    assert "signed by" in capsys.readouterr().out
    assert main(line) == 0
