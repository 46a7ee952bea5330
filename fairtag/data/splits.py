"""Hold rows out of training, by time or by the hash of a key; every run makes the same choice.

>>> held_out(["oak chair", "desk lamp", "kettle"], QUERY_SALT, share=0.5).tolist()
[True, False, True]
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError

HOLD_OUT_SHARE = 0.25  # share of pages (by time), queries and products (by hash) that training never sees
TUNE_SHARE = 0.1  # share of pages just before the hold-out, for calibration
QUERY_SALT = "query"  # hash salt of held-out queries
PRODUCT_SALT = "product"  # hash salt of held-out products


@dataclass(frozen=True)
class TimeSplit:
    """Two times that split impressions: training, then from ``tune_from`` tuning, from ``hold_out_from`` hold-out."""

    tune_from: pd.Timestamp
    hold_out_from: pd.Timestamp

    def part(self, ts: pd.Series[pd.Timestamp], name: str) -> npt.NDArray[np.bool_]:
        """Mask of the rows in ``train``, ``tune``, ``fit`` (train and tune) or ``hold_out``, shape (n,)."""
        masks = {
            "train": ts < self.tune_from,
            "tune": (ts >= self.tune_from) & (ts < self.hold_out_from),
            "fit": ts < self.hold_out_from,
            "hold_out": ts >= self.hold_out_from,
        }
        return masks[name].to_numpy(dtype=bool)


def time_split(impressions: pd.DataFrame, hold_out: float = HOLD_OUT_SHARE, tune: float = TUNE_SHARE) -> TimeSplit:
    """Split by time, with the newest share ``hold_out`` of the pages held out; a page is never split.

    Raises:
        DataError: There are fewer than ten pages, or all have one timestamp.
    """
    pages = impressions.groupby(schema.PAGE_ID, sort=False)[schema.TS].max().sort_values()
    if len(pages) < 10 or pages.iloc[0] == pages.iloc[-1]:
        raise DataError(
            f"impressions: {len(pages)} pages over {pages.nunique()} times cannot be split by time; "
            "at least 10 pages over 2 times are needed",
            table="impressions",
            column=schema.TS,
            rule="at least ten pages over two instants",
            count=len(pages),
        )
    hold_out_from = pages.iloc[int(len(pages) * (1 - hold_out))]
    tune_from = pages.iloc[int(len(pages) * (1 - hold_out - tune))]
    return TimeSplit(tune_from=tune_from, hold_out_from=hold_out_from)


def held_out(keys: Iterable[str], salt: str, share: float = HOLD_OUT_SHARE) -> npt.NDArray[np.bool_]:
    """Mask of the keys whose salted hash falls into the share; a key is always on the same side, shape (n,)."""
    return np.fromiter((unit_hash(key, salt) < share for key in keys), dtype=bool)


def unit_hash(key: str, salt: str) -> float:
    """A number in [0, 1) that depends only on key and salt."""
    digest = hashlib.sha256(f"{salt}\x1f{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
