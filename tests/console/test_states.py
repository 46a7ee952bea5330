"""What pages say before there is anything to show, while a store is down, and where a version cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.pages import PAGES
from console.view import sentence

DOWN = "redis://127.0.0.1:1/0"


def state(html: str) -> str:
    """The bar of the live policy, its white space joined."""
    return " ".join(html.split('<p class="state">')[1].split("</p>", maxsplit=1)[0].split())


@pytest.fixture
def first_run(console, tmp_path: Path):
    """A console over a run that has made nothing yet."""
    folders = {name: tmp_path / "run" / name for name in ("model_folder", "tables", "reports", "ledger")}
    files = {"decision": tmp_path / "run" / "DECISION.json", "training_set": tmp_path / "run" / "set.parquet"}
    return console(**folders, **files, quotes=str(tmp_path / "run" / "quotes"))


def test_every_page_of_a_first_run_answers(first_run):
    assert {page.path: first_run.get(page.path).status_code for page in PAGES} == {page.path: 200 for page in PAGES}


@pytest.mark.parametrize("path", ["/prices", "/policy"])
def test_a_run_without_a_live_model_says_how_to_make_one(first_run, path):
    assert "no model is live there yet; `fairtag run` makes one." in first_run.see(path)


def test_an_empty_quote_log_is_said_to_be_empty(first_run):
    assert "0 quoted items in 0 files" in first_run.see("/operations")


def test_while_the_store_of_the_policy_is_down_nobody_is_told_that_prices_are_at_list(console):
    browser = console(policy_store=DOWN)
    said = state(browser.see("/"))
    assert "The live policy cannot be read here" in said
    assert "Endpoints keep what they read last" in said
    assert "Everything at list price:" not in said
    html = browser.see("/undo")
    assert "Nothing can be undone until it can be read" in html
    assert "does not answer" in browser.submit("/stop", status=503, what="all", why="x")


def test_a_version_that_cannot_be_trusted_is_said_to_put_everything_at_list(console, tmp_path: Path):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "000001.json").write_text("{")
    html = console().see("/operations")
    assert "Everything at list price:" in state(html)
    assert "restore it from a backup" in state(html)
    assert 'data-dialog="undo-dialog"' not in html


def test_operations_shows_everything_else_while_the_quote_log_cannot_be_read(console, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    html = console(quotes="s3://nowhere/quotes").see("/operations")
    assert "s3://nowhere/quotes: the quote log cannot be read" in html
    assert "lets this console in." in html
    assert "That is not a pass" in html


def test_a_message_becomes_a_sentence_and_an_address_stays_as_it_is():
    assert sentence("nobody has this token") == "Nobody has this token."
    assert sentence("redis://store: it does not answer.") == "redis://store: it does not answer."
    assert sentence("policy: not YAML") == "policy: not YAML."
