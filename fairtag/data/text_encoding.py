"""Which encoding a text file has, as far as its bytes show it; what they do not show is said, and never guessed.

UTF-8, UTF-16 and UTF-32 show themselves. A text that is none of them is read as Windows' own for Western Europe,
cp1252, in which nearly every byte is a letter: so a text of another part of the world is known by letters that stand
where no language of Western Europe has them.

>>> foreign_text("Gr\u00f6\u00dfe, caf\u00e9, 2 \u00bd m\u00b2") is None
True
>>> foreign_text("P\u0159\u00edli\u0161 \u017elu\u0165ou\u010dk\u00fd".encode("iso8859-2").decode("cp1252"))
Foreign(shown='u\u00bbo', maybe='iso8859-2')
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_BOMS = (  # the longer first: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LETTER = r"[^\W\d_]"
_NO_ASCII = re.compile(r"[^\W\d_\x00-\x7f]")
_IN_A_ROW = re.compile(r"[^\W\d_\x00-\x7f]{3,}")
FEWEST = 4  # letters that are no ASCII, below which a text does not tell
# Signs inside a word and what they may be: letters of Polish or Japanese, of Czech or Slovak, of a Mac; euros.
_INSIDE = (
    (re.compile(f"{_LETTER}[\u00a5\u00a3\u00af\u00b3\u00b9\u00bc\u00be\u00bf]{_LETTER}|\u0192"), "cp1250"),
    (re.compile(f"{_LETTER}[\u00bb\u00ab\u00aa\u00ba]{_LETTER}|(?<!\\w)\u00b9{_LETTER}{{2}}"), "iso8859-2"),
    (re.compile(f"{_LETTER}[\u00a7\u2020\u2021\u02c6\u02dc]{_LETTER}|[a-z][\u0160\u017d\u0178][a-z]"), "mac-roman"),
    (re.compile("\\d ?\u00a4|\u00a4 ?\\d"), "iso8859-15"),
)
# Letters that no language of Western Europe has in one text: one of the first and one of the second, none of the third.
_TOGETHER = (
    ("\u00fe\u00de\u00f0", "\u00fc\u00e7\u00dc\u00c7", "", "cp1254"),  # Turkish; Icelandic has neither of the second
    ("\u00f5", "\u00f6\u00fc\u00fb", "\u00e4", "cp1250"),  # Hungarian; Estonian has the third
    ("\u00fb", "\u00e1\u00ed\u00f3\u00f6\u00fa", "", "cp1250"),  # Hungarian; French has none of the second
    ("\u00f8", "\u0161\u017e\u0160\u017d\u00fd", "\u00e6\u00f0", "cp1250"),  # Czech; Faroese has the third
    ("\u00fd", "\u00e8\u00ec\u00f9", "", "cp1250"),  # Czech
    ("\u00e8", "\u00e6\u00f0", "", "cp1250"),  # Croatian
)


@dataclass(frozen=True)
class Foreign:
    """What shows that a text is none of Western Europe.

    Args:
        shown: A part of it, as cp1252 reads it.
        maybe: An encoding that it may have.
    """

    shown: str
    maybe: str


def marked_encoding(raw: bytes) -> str | None:
    """The encoding that a byte order mark names, or that zeros beside the letters of the header show."""
    found = next((name for mark, name in _BOMS if raw.startswith(mark)), None)
    if found is None and len(raw) > 3 and 0 in raw[:2]:
        return "utf-16-be" if raw[0] == 0 else "utf-16-le"
    return found


def is_partly_utf8(raw: bytes) -> bool:
    """Whether bytes that are no UTF-8 as a whole hold as many letters of UTF-8 as others."""
    lossy = raw.decode("utf-8", errors="replace")
    broken = lossy.count("\ufffd")
    return sum(not character.isascii() for character in lossy) - broken >= broken


def foreign_text(text: str) -> Foreign | None:
    """What shows that a text, read as cp1252, is none of Western Europe; None where nothing does.

    Args:
        text: Decoded as cp1252.
    """
    letters, together = _NO_ASCII.findall(text), _IN_A_ROW.findall(text)
    if len(letters) >= FEWEST and 2 * sum(map(len, together)) > len(letters):  # Cyrillic, Greek, Chinese
        return Foreign(together[0], "cp1251")
    for pattern, maybe in _INSIDE:
        if found := pattern.search(text):
            return Foreign(found.group(), maybe)
    there = set(letters)
    for first, second, third, maybe in _TOGETHER:
        if there & set(first) and there & set(second) and not there & set(third):
            word = re.search(rf"\w*[{first}]\w*", text)
            return Foreign(word.group() if word else first, maybe)
    return None
