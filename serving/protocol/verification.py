"""Verifies a quote with the endpoint's keys and without the endpoint. Asks no network and makes no key."""

from __future__ import annotations

from pathlib import Path

from serving.keys import QUOTE_KEYS, USER_KEY, quote_keys, user_secret
from serving.page.quotes import QuoteBook, VerifiedQuote
from serving.settings import KeySettings


def key_settings(run_dir: Path | None = None) -> KeySettings:
    """Where the keys are: files or texts that the environment names, else those of an endpoint's run folder.

    Args:
        run_dir: The folder; what is not there is not used.
    """
    named = KeySettings()
    found = {"quote_keys_file": QUOTE_KEYS, "user_key_file": USER_KEY}
    if run_dir is None or named.quote_keys is not None or named.quote_keys_file is not None:
        return named
    return named.model_copy(update={name: run_dir / path for name, path in found.items() if (run_dir / path).is_file()})


def verify_quote(
    token: str, item_id: str, *, user_id: str | None, price_minor: int | None, settings: KeySettings
) -> VerifiedQuote:
    """What a quote promises for an item.

    Args:
        token: The ``quote`` of a page.
        item_id: Item at checkout.
        user_id: Customer at checkout, None if the page had none: then no user key is needed.
        price_minor: Price at checkout in minor units, None to ask for it.
        settings: Where the keys are.

    Raises:
        ConfigError: There are no keys, or they cannot be read.
        QuoteError: The quote is not honoured; the subclass says why.
    """
    secret = b"" if user_id is None else user_secret(settings)
    book = QuoteBook(quote_keys(settings), secret, lifetime=0, skew=settings.clock_skew_seconds)
    return book.verify(token, item_id=item_id, user_id=user_id, price_minor=price_minor)
