"""Brings files to where the jobs read them: ``python -m monitoring.fetch URL=PATH ...``.

A pod's first container runs it, so that the jobs themselves read plain folders and need no store of objects.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import fsspec

from fairtag.base.errors import ConfigError, FairtagError, MissingDataError, UnavailableError


def fetch(url: str, path: Path) -> int:
    """Copy a file, or a folder with all below it.

    Args:
        url: Any fsspec URL; a folder is copied whole.
        path: Where it comes to lie; its parents are made.

    Returns:
        Number of files copied.

    Raises:
        MissingDataError: There is nothing at the URL.
        UnavailableError: The store did not answer, or refused.
    """
    try:
        store, source = fsspec.url_to_fs(url)
        files = store.find(source)
        if not files:
            raise MissingDataError(f"{url}: nothing is there")
        for file in files:
            target = path if file == source else path / Path(file).relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(file, str(target))
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, FairtagError):
            raise
        raise UnavailableError(f"{url}: cannot be read ({type(error).__name__}: {error})") from error
    return len(files)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch every ``URL=PATH``; the exit code is 3 where one cannot be had, as a job that could not tell."""
    try:
        for pair in sys.argv[1:] if arguments is None else arguments:
            url, mark, path = pair.rpartition("=")
            if not (mark and url and path):
                raise ConfigError(f"{pair!r} is refused; write URL=PATH")
            print(f"{url}: {fetch(url, Path(path))} files to {path}")
    except FairtagError as error:
        print(f"could not tell: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
