"""What a base encoder's own folder says of how it was taught, a directory's or one of the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

from fairtag.base.errors import ConfigError
from fairtag.base.files import read_json
from fairtag.encoder.folder import resolve_base


def published_json(base: str, name: str, instead: str) -> tuple[Path, Any] | None:
    """A JSON file of a base's folder, with where it lies; None where the base has no such file.

    Args:
        base: ``minilm``, a directory or a hub id.
        name: Path within the folder.
        instead: The settings that make reading it needless, for the error.

    Raises:
        ConfigError: Whether there is one could not be learnt, or it is no JSON.
    """
    file = _file(resolve_base(base), name, instead)
    if file is None:
        return None
    try:
        return file, read_json(file)
    except ValueError as error:
        raise ConfigError(f"base encoder {base!r}: {file} is not readable as JSON ({error})") from error


T = TypeVar("T")


def family_of(base: str, families: tuple[tuple[str, T], ...], otherwise: T) -> T:
    """What a base's family was taught with, by the start of its name, in small letters.

    Args:
        base: ``minilm``, a directory or a hub id.
        families: Patterns of names, with what is wanted.
        otherwise: For a name that none of them matches.
    """
    name = _name(base)
    return next((known for start, known in families if re.match(rf"(?:{start})(?![a-z0-9])", name)), otherwise)


def _name(base: str) -> str:
    parts = Path(base).parts
    hub = [part.rpartition("--")[2] for part in parts if part.startswith("models--")]  # a folder of the hub's cache
    return (hub[-1] if hub else Path(base).name).casefold()


def _file(where: str, name: str, instead: str) -> Path | None:
    if Path(where).is_dir():
        file = Path(where) / name
        return file if file.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(where, name))
    except EntryNotFoundError:  # the model has no such file, or offline, it is not in this machine's cache
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"base encoder {where!r}: whether it has {name} could not be read; give {instead}") from error
