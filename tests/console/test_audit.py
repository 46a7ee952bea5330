"""The audit log of a console: what happens where it was altered, and how it is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.__main__ import main
from console.audit import FILE, AuditLog
from fairtag.policy.live_policy import open_store


@pytest.fixture
def altered(console, tmp_path: Path):
    """A browser at a console whose log somebody has altered."""
    browser = console()
    browser.see("/")
    browser.submit("/stop", what="all", why="costs are wrong")
    file = tmp_path / "state" / FILE
    file.write_text(file.read_text().replace("costs", "words"))
    return browser


def test_where_it_was_altered_nothing_is_done_but_a_stop(altered, tmp_path: Path):
    store = open_store(tmp_path / "policy")
    html = altered.submit("/undo", status=409, why="costs are right again")
    assert "it was altered; restore it" in html
    assert store.newest() == 1
    html = altered.submit("/stop", what="personal", why="to be sure")
    assert "Version 2" in html
    assert "It is not in the audit log" in html
    assert store.newest() == 2


def test_operations_says_so_and_shows_everything_else(altered):
    html = altered.see("/operations")
    assert "it was altered; restore it" in html
    assert "That is not a pass" in html


def test_a_user_gets_in_to_stop_prices_though_the_log_takes_no_entry(console, tmp_path: Path):
    from console.users import add_user

    token = add_user(tmp_path / "users.json", "ada", "merchandiser")
    (tmp_path / "state").write_text("no folder")
    browser = console(users_file=tmp_path / "users.json")
    browser.see("/login")
    html = browser.submit("/login", token=token, next="/prices")
    assert "It is not in the audit log" in html
    browser.see("/prices")
    assert "Version 1" in browser.submit("/stop", what="all", why="at once")


def test_one_command_checks_every_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    log = AuditLog(tmp_path)
    for number in range(3):
        log.note("ada", "admin", "stop/stop", "done", {"why": f"reason {number}"})
    assert main(["audit", str(tmp_path)]) == 0
    assert "audit log: 3 entries" in capsys.readouterr().out
    assert [entry.fields["why"] for entry in log.newest(2)] == ["reason 2", "reason 1"]
    file = tmp_path / FILE
    file.write_text(file.read_text().replace("reason 1", "reason 7"))
    assert main(["audit", str(tmp_path)]) != 0
    assert "altered" in capsys.readouterr().err
    assert main(["audit", str(tmp_path / "nowhere")]) == 2
