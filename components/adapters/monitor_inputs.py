"""What the monitors of a cluster read of a shop, on an object store: tables, audit groups and outcomes.

Each has an address of its own, so that each can have readers of its own: audit groups go where the fairness job alone
may read. :func:`publish_tables` writes what the stock job needs, and nothing of any customer but order lines.

    publish_tables(tables, "s3://fairtag-tables/latest")
    publish_audit_groups(tables, "s3://fairtag-audit/latest")
    publish_outcomes(read_outcomes(Path("my-shop")), "s3://fairtag-outcomes")
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError, UnavailableError
from fairtag.base.files import sha256_file
from fairtag.base.tables import METADATA, Tables, coerce, write_tables
from fairtag.data.folders import read_file

SUFFIXES = (".parquet", ".csv", ".csv.gz")


def publish_tables(tables: Tables, url: str) -> int:
    """Write the items and the order lines; whatever else the contract asks for goes without rows.

    Args:
        tables: The shop's tables.
        url: fsspec URL of the folder; files of an earlier call are replaced one by one.

    Returns:
        Rows written.

    Raises:
        UnavailableError: The store did not answer or refused access.
    """
    least = replace(
        tables, users=tables.users.iloc[:0], impressions=tables.impressions.iloc[:0], judgements=None, audit_groups=None
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_tables(least, Path(scratch) / "tables")
        files = sorted(folder.iterdir(), key=lambda file: file.name == METADATA)  # last: it says that there are tables
        for file in files:
            put(file, f"{url.rstrip('/')}/{file.name}")
    return len(least.items) + len(least.orders)


def publish_audit_groups(tables: Tables, url: str) -> int:
    """Write the audit groups, if the shop has any.

    Returns:
        Rows written.

    Raises:
        UnavailableError: The store did not answer or refused access.
    """
    groups = tables.audit_groups
    if groups is None or groups.empty:
        return 0
    _put_frame(groups, f"{url.rstrip('/')}/{schema.AUDIT_GROUPS.name}.parquet")
    return len(groups)


def publish_outcomes(outcomes: pd.DataFrame, url: str) -> int:
    """Write the outcomes as a file whose name is made of its content, so that the same ones are never there twice.

    Returns:
        Rows written.

    Raises:
        UnavailableError: The store did not answer or refused access.
    """
    if outcomes.empty:
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "outcomes.parquet"
        ordered = outcomes.sort_values([schema.QUOTE_ID, schema.ITEM_ID], kind="stable").reset_index(drop=True)
        ordered.to_parquet(file, index=False, coerce_timestamps="us")
        first = f"{ordered[schema.TS].min():%Y%m%dT%H%M%S}"
        put(file, f"{url.rstrip('/')}/outcomes-{first}-{sha256_file(file)[:12]}.parquet")
    return len(ordered)


def read_outcomes(path: Path) -> pd.DataFrame:
    """Read a shop's outcomes: a file, or ``outcomes.parquet``, ``.csv`` or ``.csv.gz`` in its folder of tables.

    Returns:
        Rows of ``schema.OUTCOMES``; none where the folder has no such file.

    Raises:
        DataError: The file cannot be read, or a row breaks the contract; the message names column, rule and value.
    """
    candidates = [path] if not path.is_dir() else [path / f"outcomes{suffix}" for suffix in SUFFIXES]
    file = next((each for each in candidates if each.exists()), None)
    if file is None:
        if not path.is_dir():
            raise DataError(f"{path}: there is no such file; name one with the columns of {schema.OUTCOMES.name}")
        return pd.DataFrame({name: [] for name in schema.OUTCOMES.names})
    outcomes = coerce(read_file(file), schema.OUTCOMES)
    for column in schema.OUTCOMES.columns:
        _check_column(outcomes, column, file)
    return outcomes


def put(file: Path, url: str) -> None:
    """Copy a file to any fsspec URL.

    Raises:
        UnavailableError: The store did not answer or refused access.
    """
    try:
        store, target = fsspec.url_to_fs(url)
        if "file" in store.protocol:
            store.makedirs(target.rpartition("/")[0], exist_ok=True)  # an object store has no folders
        store.put_file(str(file), target)
    except (OSError, ValueError, ImportError) as error:
        raise UnavailableError(f"{url}: cannot write it ({type(error).__name__}: {error})") from error


def _put_frame(frame: pd.DataFrame, url: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "table.parquet"
        frame.to_parquet(file, index=False, coerce_timestamps="us")
        put(file, url)


def _check_column(outcomes: pd.DataFrame, column: schema.Column, file: Path) -> None:
    values = outcomes[column.name]
    broken, rule = values.isna(), "must not be absent"
    if not broken.any() and column.kind == "integer":
        numbers = values.to_numpy(dtype=np.float64)
        least = column.minimum if column.minimum is not None else column.above
        above = column.above is not None
        broken = pd.Series(numbers <= column.above if above else numbers < (least or 0.0), index=values.index)
        rule = f"must be {'>' if above else '>='} {least:g}"
    if broken.any():
        value = values[broken].iloc[0]
        raise DataError(
            f"{file}: outcomes.{column.name}: {value!r} in {int(broken.sum()):,} of {len(values):,} rows; it {rule}",
            table=schema.OUTCOMES.name,
            column=column.name,
            rule=rule,
            count=int(broken.sum()),
        )
