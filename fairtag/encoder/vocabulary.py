"""The words that an encoder reads as a whole: what the spelling of a query is not corrected away from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fairtag.encoder.encoder import TOKENIZER

_BEGINS = ("▁", "Ġ")  # mark the beginning of a word in SentencePiece and in byte-level vocabularies
_INSIDE = "##"  # marks the inside of a word in WordPiece


def whole_words(encoder_dir: Path) -> frozenset[str]:
    """Case-folded words that are one token of an encoder; none where its folder has no such vocabulary.

    An encoder's vocabulary holds the frequent words of the texts it was pre-trained on: a dictionary in its languages
    without the misspellings, which it reads in pieces.
    """
    file = encoder_dir / TOKENIZER
    if not file.is_file():
        return frozenset()
    model: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["model"]
    vocabulary = model.get("vocab") or {}
    tokens = [entry[0] for entry in vocabulary] if isinstance(vocabulary, list) else list(vocabulary)
    marked = any(token.startswith(_BEGINS) for token in tokens)
    whole = (token.lstrip("".join(_BEGINS)) for token in tokens if token.startswith(_BEGINS) or not marked)
    return frozenset(token.casefold() for token in whole if token.isalpha() and not token.startswith(_INSIDE))
