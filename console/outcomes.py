"""Purchases of the storefront, as the shop's outcomes that monitors read (docs/data.md)."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import fsspec
import pandas as pd

from console.sessions import Line
from fairtag.base import schema
from fairtag.base.errors import UnavailableError
from fairtag.base.tables import coerce


class OutcomeLog:
    """A folder of outcomes: each checkout is a Parquet file of its own.

    Args:
        url: fsspec URL of the folder.
        now: The time of a purchase.
    """

    def __init__(self, url: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._url, self._now = url.rstrip("/"), now

    def record(self, lines: Sequence[Line]) -> str:
        """Write what was bought; returns the name of the file.

        Raises:
            UnavailableError: The store takes no file.
        """
        at = self._now()
        rows = {
            schema.QUOTE_ID: [line.quote_id for line in lines],
            schema.ITEM_ID: [line.item_id for line in lines],
            schema.TS: pd.to_datetime([at] * len(lines), utc=True).floor("us"),
            schema.QUANTITY: [line.quantity for line in lines],
            schema.PRICE_MINOR: [line.price_minor for line in lines],
        }
        name = f"outcomes-{at:%Y%m%dT%H%M%S}-console-{uuid.uuid4().hex[:8]}.parquet"
        content = io.BytesIO()
        coerce(pd.DataFrame(rows), schema.OUTCOMES).to_parquet(content, index=False, compression="zstd")
        try:
            store, folder = fsspec.url_to_fs(self._url)
            store.makedirs(folder, exist_ok=True)
            with store.transaction, store.open(f"{folder}/{name}", "wb") as stream:  # it appears whole or not at all
                stream.write(content.getvalue())
        except Exception as error:  # the libraries of object stores have kinds of their own
            raise UnavailableError(
                f"{self._url}: the purchase cannot be recorded ({type(error).__name__}); nothing was bought"
            ) from error
        return name
