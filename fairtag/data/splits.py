"""Which rows are held out, decided by time or by the hash of a key, the same in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError

HOLD_OUT_SHARE = 0.25  # share of pages, by time, and of queries and products, by hash, that training never sees
TUNE_SHARE = 0.1  # share of pages just before the hold-out, for calibration
QUERY_SALT = "query"  # judged queries are held out by this salt
PRODUCT_SALT = "product"  # products are held out by this salt


@dataclass(frozen=True)
class TimeSplit:
    """Two instants that cut the impressions: train before ``tune_from``, tune to ``hold_out_from``, then hold-out."""

    tune_from: pd.Timestamp
    hold_out_from: pd.Timestamp

    def part(self, ts: pd.Series[pd.Timestamp], name: str) -> npt.NDArray[np.bool_]:
        """Mask of the rows in ``train``, ``tune``, ``fit`` (train and tune) or ``hold_out``."""
        masks = {
            "train": ts < self.tune_from,
            "tune": (ts >= self.tune_from) & (ts < self.hold_out_from),
            "fit": ts < self.hold_out_from,
            "hold_out": ts >= self.hold_out_from,
        }
        return masks[name].to_numpy(dtype=bool)


def time_split(impressions: pd.DataFrame, hold_out: float = HOLD_OUT_SHARE, tune: float = TUNE_SHARE) -> TimeSplit:
    """Cut by time so that the newest ``hold_out`` of the pages are held out; a page is never cut in two.

    Raises:
        DataError: There are fewer than ten pages, or all have one timestamp.
    """
    pages = impressions.groupby(schema.PAGE_ID, sort=False)[schema.TS].max().sort_values()
    if len(pages) < 10 or pages.iloc[0] == pages.iloc[-1]:
        raise DataError(
            f"impressions: {len(pages)} pages over {pages.nunique()} instants cannot be split by time; needs 10 over 2",
            table="impressions",
            column=schema.TS,
            rule="at least ten pages over two instants",
            count=len(pages),
        )
    hold_out_from = pages.iloc[int(len(pages) * (1 - hold_out))]
    tune_from = pages.iloc[int(len(pages) * (1 - hold_out - tune))]
    return TimeSplit(tune_from=tune_from, hold_out_from=hold_out_from)


def held_out(keys: Iterable[str], salt: str, share: float = HOLD_OUT_SHARE) -> npt.NDArray[np.bool_]:
    """Mask of the keys whose salted hash falls in the held-out share; the same key is always on the same side."""
    return np.fromiter((unit_hash(key, salt) < share for key in keys), dtype=bool)


def unit_hash(key: str, salt: str) -> float:
    """A number in [0, 1) that depends on key and salt alone."""
    digest = hashlib.sha256(f"{salt}\x1f{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
