"""The pages of an experiment and what was bought from them, read from the quote log and the shop's outcomes.

    log = ExperimentLog("runs/demo/serving/quotes", "runs/demo/serving/outcomes")
    pages = log.read("learned-1")

A file that was read is not read again, as it never changes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fairtag.base import schema
from fairtag.base.errors import UnavailableError

QUOTED: Final = (
    schema.QUOTE_ID,
    schema.ITEM_ID,
    schema.TS,
    schema.USER_KEY,
    schema.GUEST_KEY,
    schema.EPOCH,
    schema.CATEGORY,
    schema.LIST_PRICE_MINOR,
    schema.PRICE_MINOR,
    schema.UNIT_COST_MINOR,
    schema.CURRENCY,
    schema.EXPERIMENT,
    schema.ARM,
)
BOUGHT: Final = (schema.QUOTE_ID, schema.ITEM_ID, schema.TS, schema.QUANTITY, schema.PRICE_MINOR)
KEY: Final = [schema.QUOTE_ID, schema.ITEM_ID]


@dataclass(frozen=True)
class ExperimentPages:
    """The pages of one experiment.

    Args:
        quotes: One row a quoted item, columns :data:`QUOTED`, oldest first.
        outcomes: One row a bought item of these pages, columns :data:`BOUGHT`.
        unreadable: Files that could not be read.
    """

    quotes: pd.DataFrame
    outcomes: pd.DataFrame
    unreadable: tuple[str, ...] = ()


class ExperimentLog:
    """Reads the pages of experiments; any thread may ask.

    Args:
        quotes: fsspec URL of the quote log.
        outcomes: fsspec URL of the outcomes; None where nobody reports them.
    """

    def __init__(self, quotes: str, outcomes: str | None = None) -> None:
        self._quotes, self._outcomes = quotes, outcomes
        self._lock = threading.Lock()
        self._frames: dict[str, pd.DataFrame] = {}

    def read(self, name: str) -> ExperimentPages:
        """The pages of an experiment, each row once; empty frames where there are none.

        Args:
            name: Of the experiment.

        Raises:
            UnavailableError: The store does not answer.
        """
        with self._lock:
            quotes, bad = self._table(self._quotes, QUOTED, schema.EXPERIMENT)
            outcomes, worse = self._table(self._outcomes, BOUGHT, schema.QUOTE_ID)
        mine = quotes[quotes[schema.EXPERIMENT] == name].drop_duplicates(KEY)
        bought = outcomes[outcomes[schema.QUOTE_ID].isin(mine[schema.QUOTE_ID].unique())].drop_duplicates(KEY)
        return ExperimentPages(
            mine.sort_values(schema.TS, kind="stable", ignore_index=True),
            bought.reset_index(drop=True),
            (*bad, *worse),
        )

    def _table(self, url: str | None, columns: tuple[str, ...], needed: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """The rows of all files that have a value in a column, and the files that cannot be read."""
        frames, bad = [pd.DataFrame(columns=list(columns))], []
        for file in _files(url):
            if file not in self._frames:
                try:
                    self._frames[file] = _read(url or "", file, columns, needed)
                except (OSError, pa.ArrowException, ValueError):
                    bad.append(file.rpartition("/")[2])
                    continue
            if len(self._frames[file]):
                frames.append(self._frames[file])
        found = pd.concat(frames[1:], ignore_index=True) if frames[1:] else frames[0]
        return found.assign(**{schema.TS: pd.to_datetime(found[schema.TS], utc=True).dt.floor("us")}), tuple(bad)


def _files(url: str | None) -> list[str]:
    if url is None:
        return []
    try:
        store, folder = fsspec.url_to_fs(url)
        found = store.find(folder) if store.exists(folder) else []
    except Exception as error:  # the libraries of object stores have kinds of their own
        raise UnavailableError(f"{url}: the log cannot be read ({type(error).__name__})") from error
    return sorted(name for name in found if name.endswith(".parquet"))


def _read(url: str, name: str, columns: tuple[str, ...], needed: str) -> pd.DataFrame:
    """The rows of a file with a value in a column; of a file from before there was that column, none."""
    store, _ = fsspec.url_to_fs(url)
    with store.open(name, "rb") as stream:
        file = pq.ParquetFile(stream)
        there = [column for column in columns if column in file.schema_arrow.names]
        if needed not in there:
            return pd.DataFrame(columns=list(columns))
        table = file.read(columns=there)
        rows: pd.DataFrame = table.filter(pc.is_valid(table[needed])).to_pandas()
        return rows.reindex(columns=list(columns))
