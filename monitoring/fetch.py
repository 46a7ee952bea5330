"""Copies files to where the jobs read them: ``python -m monitoring.fetch URL=PATH ...``.

An init container runs it, so that the jobs read plain folders and need no client of an object store. What is not there
yet is said and left out: the job knows whether it waits for its first input or misses one that it had.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import fsspec

from fairtag.base.errors import ConfigError, FairtagError, MissingDataError, UnavailableError
from fairtag.base.types import Status
from monitoring.job_report import exit_code


def fetch(url: str, path: Path) -> int:
    """Copy a file, or a folder with everything below it.

    Args:
        url: Any fsspec URL.
        path: Destination; missing parent folders are created.

    Returns:
        Number of files copied.

    Raises:
        MissingDataError: Nothing is stored at the URL.
        UnavailableError: The store did not answer or refused access.
    """
    try:
        store, source = fsspec.url_to_fs(url)
        files = store.find(source)
        if not files:
            raise MissingDataError(f"{url}: nothing is stored at this address")
        for file in files:
            target = path if file == source else path / Path(file).relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(file, str(target))
    except FileNotFoundError as error:
        raise MissingDataError(f"{url}: nothing is stored at this address") from error
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, FairtagError):
            raise
        raise UnavailableError(f"{url}: cannot read it ({type(error).__name__}: {error})") from error
    return len(files)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch every ``URL=PATH``; the exit code is 3 (cannot tell) if one cannot be fetched."""
    try:
        for pair in sys.argv[1:] if arguments is None else arguments:
            url, mark, path = pair.rpartition("=")
            if not (mark and url and path):
                raise ConfigError(f"{pair!r}: write URL=PATH")
            if url.startswith("$("):  # Kubernetes leaves the name of a variable that is not set as it is
                print(f"{url} is not set yet: nothing is fetched to {path}")
                continue
            try:
                print(f"{url}: {fetch(url, Path(path))} files to {path}")
            except MissingDataError as missing:
                print(f"{missing}; {path} stays absent")
    except FairtagError as error:
        print(f"cannot tell: {error}", file=sys.stderr)
        return exit_code(Status.UNKNOWN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
