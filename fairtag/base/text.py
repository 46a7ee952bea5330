"""Texts as the encoder and the word index read them: normal form, item text, words; and figures as people read them."""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Iterable

import pandas as pd

from fairtag.base import schema

MAX_CHARACTERS = 2000  # far more than an encoder's window of 512 tokens; bounds the cost of a hostile text
_RAW_CHARACTERS = 4 * MAX_CHARACTERS  # read before markup is removed, which shortens the text
_JOINERS = "\u200c\u200d"  # zero-width joiners form emoji and Persian words; all other format characters are dropped
_BLOCK = re.compile(r"<(script|style)\b[^>]*>.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
# Chinese, Japanese and Thai have no spaces between words: each character counts as a word.
_SPACELESS = r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_WORD = re.compile(rf"{_SPACELESS}|(?:(?!{_SPACELESS})[^\W_])+")


def normalise(text: object, max_characters: int = MAX_CHARACTERS) -> str:
    """One line of plain text: no markup, no control or direction characters, NFKC, at most ``max_characters``.

    Entities are decoded and tags dropped, but a bare ``<`` as in "bolts < 10 mm" stays. Lone surrogates, which no
    tokenizer accepts, are dropped. Without markup the function is idempotent.

    >>> normalise("<b>Oak&nbsp;chair</b>,  2 m² < 3 m²")
    'Oak chair , 2 m2 < 3 m2'

    Args:
        text: Any text; None and NaN give the empty text.
        max_characters: Greatest length of the result, in characters.
    """
    if text is None or text is pd.NA or (isinstance(text, float) and math.isnan(text)):
        return ""
    raw = str(text)[:_RAW_CHARACTERS]
    if "<" in raw:
        raw = _TAG.sub(" ", _BLOCK.sub(" ", raw))
    if "&" in raw:
        raw = _ENTITY.sub(lambda match: html.unescape(match.group()), raw)
        raw = _TAG.sub(" ", _BLOCK.sub(" ", raw))  # markup that was escaped itself
    if not (raw.isascii() and raw.isprintable()):
        raw = unicodedata.normalize("NFKC", "".join(map(_plain, raw)))
    return " ".join(raw.split())[:max_characters].rstrip()


def _plain(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else " "
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    if category in ("Cs", "Cn", "Co") or (category == "Cf" and character not in _JOINERS):
        return ""
    return character


def shorten(text: str, most_bytes: int, more: str = " …") -> str:
    """A text that fits a number of bytes of UTF-8, cut between words; a word that alone is too long is cut within.

    >>> shorten("drift is urgent: price level, unit cost", 28)
    'drift is urgent: price …'

    Args:
        text: Any text.
        most_bytes: Greatest length, in bytes; at least that of ``more``.
        more: What stands at the end of a text that was cut.
    """
    if len(text.encode()) <= most_bytes:
        return text
    room = text.encode()[: most_bytes - len(more.encode())].decode(errors="ignore")  # no half character at its end
    whole, _, _ = room.rpartition(" ")
    return (whole or room).rstrip(" ,;:") + more


def tokens(text: object) -> list[str]:
    """Case-folded words and numbers of a text; in scripts without spaces, each character is a word.

    >>> tokens("Oak chair, 2-seater")
    ['oak', 'chair', '2', 'seater']
    """
    return _WORD.findall(normalise(text).casefold())


def item_text(title: object, description: object = None, category: object = None, brand: object = None) -> str:
    """The text of an item for the encoder, title first, as a short encoder window cuts the end.

    A brand or category that the title already contains is not repeated.

    >>> item_text("Acme oak chair", description="Solid oak.", category="furniture", brand="Acme")
    'Acme oak chair. furniture. Solid oak.'
    """
    parts = [normalise(title)]
    for extra in (brand, category):
        word = normalise(extra)
        if word and word.casefold() not in parts[0].casefold():
            parts.append(word)
    parts.append(normalise(description))
    return normalise(". ".join(part for part in parts if part))


def item_texts(items: pd.DataFrame) -> list[str]:
    """:func:`item_text` of each row of an items table; description, category and brand may be absent."""
    names = (schema.TITLE, schema.DESCRIPTION, schema.CATEGORY, schema.BRAND)
    blank: list[object] = [None] * len(items)
    columns: list[Iterable[object]] = [items[name].tolist() if name in items.columns else blank for name in names]
    return [item_text(*row) for row in zip(*columns, strict=True)]


EXACT = 1e4  # from here on a figure is a whole number with separators
TINY = 1e-4  # below this, a power of ten is clearer than the zeros


def figure(value: float) -> str:
    """A number with four significant digits; a large one as a whole number with separators.

    >>> [figure(value) for value in (0.0414712, 12.5, 12869.7, 253_500_000)]
    ['0.04147', '12.5', '12,870', '253,500,000']
    """
    if not math.isfinite(value) or (value and abs(value) < TINY):
        return f"{value:.4g}"
    return f"{value:,.0f}" if abs(value) >= EXACT else f"{value:.4g}"
