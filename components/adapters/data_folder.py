"""A shop's files where a step reads them: a folder as it is, or a copy of one on an object store.

with data_folder("s3://fairtag-data/my-shop") as folder:
    shop = load("csv", folder)
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import fsspec

from fairtag.base.errors import FairtagError, MissingDataError, UnavailableError

SCHEME = "://"  # what an address has and a path has not


@contextlib.contextmanager
def data_folder(data: str, begins: str = "") -> Iterator[Path | None]:
    """The folder of a shop's files for as long as the block runs.

    A copied file is as old as the one on the store: a catalogue without times is as old as its file.

    Args:
        data: A path, or the fsspec URL of a folder; empty for none.
        begins: Of a store, only files whose names begin so are copied.

    Raises:
        MissingDataError: Nothing is stored at the address.
        UnavailableError: The store did not answer or refused access.
    """
    if SCHEME not in data:
        yield Path(data) if data else None
        return
    with tempfile.TemporaryDirectory() as scratch:
        _copy(data, Path(scratch), begins)
        yield Path(scratch)


def _copy(url: str, folder: Path, begins: str) -> None:
    try:
        store, source = fsspec.url_to_fs(url)
        files = store.find(source.rstrip("/"))
        if not files:
            raise MissingDataError(f"data: {url}: nothing is stored there; name the folder that holds the tables")
        for file in files:
            inside = Path(file).relative_to(source.rstrip("/"))
            if not inside.parts or not inside.parts[0].startswith(begins):
                continue
            target = folder / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(file, str(target))
            with contextlib.suppress(NotImplementedError):  # a store without times: the copy's own stands
                written: datetime = store.modified(file)
                os.utime(target, (written.timestamp(), written.timestamp()))
    except FileNotFoundError as error:
        raise MissingDataError(
            f"data: {url}: nothing is stored there; name the folder that holds the tables"
        ) from error
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, FairtagError):
            raise
        raise UnavailableError(f"data: {url}: cannot read it ({type(error).__name__}: {error})") from error
