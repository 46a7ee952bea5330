"""The bearer key that commands send to an endpoint: read once, checked, and never shown.

A module of its own, so that the command line starts without the HTTP client.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from fairtag.base.errors import ConfigError

VARIABLE = "FAIRTAG_API_KEY"

Key = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar=VARIABLE,
        metavar="KEY",
        help="Bearer key, where the endpoint asks for one; in the variable no other user of this machine sees it.",
    ),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", metavar="FILE", help="File that holds the bearer key; it wins.")
]


def read_key(file: Path | None, key: str | None = None) -> str | None:
    """The key to send; None where none was given.

    Args:
        file: File whose first word is the key, as the endpoint's own ``FAIRTAG_API_KEYS_FILE``; it wins.
        key: The key itself; by default that of the environment variable ``FAIRTAG_API_KEY``.

    Raises:
        ConfigError: The file cannot be read, or no header can carry the key. The message never shows a key.
    """
    source = f"--key-file {file}" if file else f"--api-key or {VARIABLE}"
    text = _first_word(file) if file else key if key is not None else os.environ.get(VARIABLE) or None
    if text is None:
        return None
    if not re.fullmatch(r"[!-~]+", text):
        raise ConfigError(f"{source}: (not shown) is refused; a key is one word of visible ASCII characters")
    return text


def _first_word(file: Path) -> str:
    try:
        return next(iter(file.read_text(encoding="utf-8").split()), "")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--key-file {file}: cannot be read ({type(error).__name__}); name a readable file"
        ) from error
