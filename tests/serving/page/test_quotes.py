from __future__ import annotations

import base64
import json
import time

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairtag.base.errors import (
    ConfigError,
    QuoteError,
    QuoteExpired,
    QuoteKeyUnknown,
    QuoteNotYetValid,
    QuoteTampered,
    QuoteWrongItem,
    QuoteWrongPrice,
    QuoteWrongUser,
)
from serving.keys import QuoteKeys, parse_quote_keys, quote_keys, user_keys
from serving.page.customers import Pseudonyms
from serving.page.quotes import ALGORITHM, QuoteBook
from serving.protocol.payload import PageRequest
from serving.settings import ServingSettings

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
SECRET = bytes(range(2, 34))
KEYS = QuoteKeys("new", {"old": OLD, "new": NEW})
BOOK = QuoteBook(KEYS, lifetime=900, skew=30)
PRICES = {"drill": 1999, "saw": 2999}


def token(book: QuoteBook = BOOK, *, user: str | None = "anna", now: float | None = None) -> str:
    return book.sign("q1", user, PRICES, currency="EUR", model_version="m1", now=time.time() if now is None else now)


def test_an_honest_quote_is_honoured() -> None:
    quote = BOOK.verify(token(), item_id="saw", user_id="anna", price_minor=2999)
    assert (quote.quote_id, quote.price_minor, quote.currency, quote.model_version) == ("q1", 2999, "EUR", "m1")
    assert quote.expires_at.timestamp() == pytest.approx(time.time() + 900, abs=5)


def test_the_price_may_be_asked_for() -> None:
    assert BOOK.verify(token(), item_id="drill", user_id="anna").price_minor == 1999


def test_a_quote_names_nobody() -> None:
    assert b"anna" not in base64.urlsafe_b64decode(token().split(".")[1] + "==")


def test_each_reason_not_to_honour_is_its_own_error() -> None:
    with pytest.raises(QuoteWrongUser):
        BOOK.verify(token(), item_id="saw", user_id="bert")
    with pytest.raises(QuoteWrongUser):
        BOOK.verify(token(), item_id="saw", user_id=None)
    with pytest.raises(QuoteWrongUser):
        BOOK.verify(token(user=None), item_id="saw", user_id="anna")
    with pytest.raises(QuoteWrongItem):
        BOOK.verify(token(), item_id="hammer", user_id="anna")
    for other in (1, 2998, 3000):  # what is dearer than promised is no more honoured than what is cheaper
        with pytest.raises(QuoteWrongPrice):
            BOOK.verify(token(), item_id="saw", user_id="anna", price_minor=other)


def test_a_quote_lives_its_time_and_the_skew() -> None:
    assert BOOK.verify(token(now=time.time() - 920), item_id="saw", user_id="anna")
    with pytest.raises(QuoteExpired):
        BOOK.verify(token(now=time.time() - 935), item_id="saw", user_id="anna")
    assert BOOK.verify(token(now=time.time() + 25), item_id="saw", user_id="anna")
    with pytest.raises(QuoteNotYetValid):
        BOOK.verify(token(now=time.time() + 40), item_id="saw", user_id="anna")


def test_keys_rotate_without_breaking_quotes_in_customers_hands() -> None:
    before = QuoteBook(QuoteKeys("old", {"old": OLD}), lifetime=900, skew=30)
    issued = token(before)
    assert BOOK.verify(issued, item_id="saw", user_id="anna")
    after = QuoteBook(QuoteKeys("new", {"new": NEW}), lifetime=900, skew=30)
    with pytest.raises(QuoteKeyUnknown):
        after.verify(issued, item_id="saw", user_id="anna")


def test_a_quote_signed_with_another_key_under_our_name_is_tampered() -> None:
    forged = QuoteBook(QuoteKeys("new", {"new": bytes(32)}), lifetime=900, skew=30)
    with pytest.raises(QuoteTampered):
        BOOK.verify(token(forged), item_id="saw", user_id="anna")


def test_an_unsigned_quote_is_tampered() -> None:
    claims = jwt.decode(token(), NEW, [ALGORITHM], issuer="fairtag")
    unsigned = jwt.encode(claims, None, "none", headers={"kid": "new"})
    with pytest.raises(QuoteTampered):
        BOOK.verify(unsigned, item_id="saw", user_id="anna")


def test_a_quote_whose_price_was_lowered_is_tampered() -> None:
    head, body, signature = token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["itm"]["saw"] = 1
    cheap = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    with pytest.raises(QuoteTampered):
        BOOK.verify(f"{head}.{cheap}.{signature}", item_id="saw", user_id="anna")


@pytest.mark.parametrize("missing", ["sub", "exp", "itm", "jti"])
def test_a_claim_cannot_be_left_out(missing: str) -> None:
    claims = jwt.decode(token(), NEW, [ALGORITHM], issuer="fairtag")
    del claims[missing]
    with pytest.raises(QuoteTampered):
        BOOK.verify(jwt.encode(claims, NEW, ALGORITHM, headers={"kid": "new"}), item_id="saw", user_id="anna")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10_000), st.characters(min_codepoint=33, max_codepoint=126))
def test_no_changed_character_survives(position: int, character: str) -> None:
    good = FIXED
    at = position % len(good)
    changed = good[:at] + character + good[at + 1 :]
    if _same_bytes(changed, good):
        return
    with pytest.raises(QuoteError):
        BOOK.verify(changed, item_id="saw", user_id="anna")


FIXED = token()


def _same_bytes(one: str, other: str) -> bool:
    """Base64 has spare bits in its last character: two texts may be one signature."""
    try:
        return [base64.urlsafe_b64decode(p + "==") for p in one.split(".")] == [
            base64.urlsafe_b64decode(p + "==") for p in other.split(".")
        ]
    except ValueError:
        return False


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_no_text_is_more_than_a_refusal(text: str) -> None:
    with pytest.raises(QuoteError):
        BOOK.verify(text, item_id="saw", user_id="anna")


def test_the_embedded_default_makes_its_keys_once_and_for_its_owner(tmp_path) -> None:
    settings_ = ServingSettings(model_folder=tmp_path, run_dir=tmp_path / "run")
    first, secret = quote_keys(settings_, settings_.run_dir), user_keys(settings_, settings_.run_dir)
    assert quote_keys(settings_, settings_.run_dir) == first
    assert user_keys(settings_, settings_.run_dir) == secret
    for file in (tmp_path / "run" / "secrets").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    other = ServingSettings(model_folder=tmp_path, run_dir=tmp_path / "other")
    assert quote_keys(other, other.run_dir).keys != first.keys


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{}", "must be JSON"),
        ("no json", "must be JSON"),
        ('{"active": "a", "keys": {}}', "not among"),
        ('{"active": "a", "keys": {"a": "abcd"}}', "2 bytes"),
        ('{"active": "a", "keys": {"a": "zz"}}', "hexadecimal"),
    ],
)
def test_bad_quote_keys_are_refused(text: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        parse_quote_keys(text, "test")


def test_no_secret_shows_in_a_repr(tmp_path) -> None:
    settings_ = ServingSettings(model_folder=tmp_path, user_key=SECRET.hex())
    assert SECRET.hex() not in repr(settings_)
    assert OLD.hex() not in repr(KEYS)
    assert repr(OLD) not in repr(KEYS)


def claims_of(quote: str) -> dict[str, object]:
    return jwt.decode(quote, NEW, [ALGORITHM], issuer="fairtag")


def test_a_quote_tells_nobody_which_row_of_the_log_is_its_customers() -> None:
    """Whoever may ask for pages could otherwise turn a list of ids into the pseudonyms of a stolen log."""
    subjects = [
        claims_of(BOOK.sign(f"q{number}", user, PRICES, currency="EUR", model_version="m1", now=time.time()))["sub"]
        for number in range(3)
        for user in ("anna", "bert")
    ]
    assert len(set(subjects)) == 6, "another one with each quote, so that two quotes do not name one customer"
    names = Pseudonyms([SECRET]).visitor(PageRequest(query="x", user_id="anna"))
    assert not {names.user_key, *names.names} & set(subjects)
    assert names.user_key not in (*names.names, None)


def test_a_clock_that_was_set_back_refuses_no_valid_quote() -> None:
    patient = QuoteBook(KEYS, lifetime=900, skew=30, step_back=3_600)
    assert patient.verify(token(now=time.time() + 3_500), item_id="saw", user_id="anna")
    with pytest.raises(QuoteNotYetValid):
        patient.verify(token(now=time.time() + 3_700), item_id="saw", user_id="anna")
