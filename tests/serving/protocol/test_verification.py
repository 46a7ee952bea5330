"""A quote verified away from the endpoint: with its keys, or not at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fairtag.base.errors import ConfigError, QuoteKeyUnknown, QuoteWrongPrice, QuoteWrongUser
from serving.keys import quote_keys
from serving.page.quotes import QuoteBook, key_settings, verify_quote
from serving.settings import ServingSettings


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Of an endpoint that has made its keys."""
    _book(tmp_path / "run")
    return tmp_path / "run"


def _book(run_dir: Path) -> QuoteBook:
    settings = ServingSettings(model_folder=run_dir, run_dir=run_dir)
    return QuoteBook(quote_keys(settings, run_dir), lifetime=900, skew=30)


def _quote(run_dir: Path, user_id: str | None = "u-17") -> str:
    book = _book(run_dir)
    return book.sign("q1", user_id, {"i1": 899}, currency="EUR", model_version="m1", now=time.time())


def test_the_run_folders_keys_verify_its_quotes(run_dir: Path) -> None:
    settings = key_settings(run_dir)
    quote = verify_quote(_quote(run_dir), "i1", user_id="u-17", price_minor=899, settings=settings)
    assert (quote.price_minor, quote.currency, quote.quote_id) == (899, "EUR", "q1")
    with pytest.raises(QuoteWrongPrice):
        verify_quote(_quote(run_dir), "i1", user_id="u-17", price_minor=898, settings=settings)
    with pytest.raises(QuoteWrongUser):
        verify_quote(_quote(run_dir), "i1", user_id="u-18", price_minor=None, settings=settings)


def test_another_endpoints_keys_do_not(run_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "secrets").mkdir(parents=True)
    text = (run_dir / "secrets" / "quote_keys.json").read_text().replace('"k1"', '"k2"')
    (other / "secrets" / "quote_keys.json").write_text(text)
    with pytest.raises(QuoteKeyUnknown):
        verify_quote(_quote(run_dir, None), "i1", user_id=None, price_minor=None, settings=key_settings(other))


def test_the_environment_comes_first(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quote = _quote(run_dir)
    monkeypatch.setenv("FAIRTAG_QUOTE_KEYS_FILE", str(run_dir / "secrets" / "quote_keys.json"))
    settings = key_settings(tmp_path / "nowhere")
    assert verify_quote(quote, "i1", user_id="u-17", price_minor=None, settings=settings).price_minor == 899


def test_no_keys_are_said_to_be_missing_and_none_are_made(tmp_path: Path, run_dir: Path) -> None:
    settings = key_settings(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="FAIRTAG_QUOTE_KEYS_FILE"):
        verify_quote(_quote(run_dir), "i1", user_id=None, price_minor=None, settings=settings)
    assert not (tmp_path / "nowhere").exists()


def test_a_quote_to_a_guest_is_honoured_for_nobody_in_particular(run_dir: Path) -> None:
    settings = key_settings(run_dir)
    token = _quote(run_dir, None)
    assert verify_quote(token, "i1", user_id=None, price_minor=None, settings=settings).item_id == "i1"
    with pytest.raises(QuoteWrongUser):
        verify_quote(token, "i1", user_id="u-17", price_minor=None, settings=settings)
