"""Pages of the shop's own quote log as impressions, so that a preview can price what customers looked at last week.

    replay = quoted_replay(model, "runs/demo/serving/quotes", days=7, now=datetime.now(UTC))

The log holds no data of customers, only a keyed hash of who they are: replayed prices are those that anybody gets. List
price and cost are those of the quote, everything else of the market is the catalogue's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from fairtag.base import schema
from fairtag.base.errors import MissingDataError, UnavailableError
from fairtag.evaluation.policy_replay import PAGES, PolicyReplay, replay_of
from fairtag.model.pricing_model import PricingModel
from fairtag.policy.context import MARKET_COLUMNS

READ: Final = (
    schema.QUOTE_ID,
    schema.TS,
    schema.ITEM_ID,
    schema.RANK,
    schema.USER_KEY,
    schema.QUERY,
    schema.LIST_PRICE_MINOR,
    schema.PRICE_MINOR,
    schema.UNIT_COST_MINOR,
    schema.CURRENCY,
)
OPENED: Final = re.compile(r"(\d{8}T\d{6})")  # when a file was opened, in its name
OPEN_FOR: Final = timedelta(days=1)  # no file of the log takes rows for longer


def quoted_replay(
    model: PricingModel, url: str, *, days: float, now: datetime, pages: int = PAGES, seed: int = 0
) -> PolicyReplay:
    """The pages that were quoted in the last days, ready for previews; takes seconds.

    Args:
        model: The model that serves.
        url: fsspec URL of the quote log.
        days: How far back.
        now: The present.
        pages: Most pages; drawn from all that were quoted.
        seed: Seed of the draw.

    Raises:
        MissingDataError: Nothing that this model prices was quoted.
        UnavailableError: The log cannot be read.
    """
    quotes = read_quotes(url, now - timedelta(days=days))
    log = f"pages quoted in the last {'day' if days == 1 else f'{days:g} days'}"
    return replay_of(model, quoted_impressions(model, quotes), pages=pages, seed=seed, log=log)


def read_quotes(url: str, since: datetime) -> pd.DataFrame:
    """The quotes of a log from an instant on, columns :data:`READ`.

    Args:
        url: fsspec URL of the folder.
        since: With a time zone.

    Raises:
        MissingDataError: There is none.
        UnavailableError: The store does not answer, or a file cannot be read.
    """
    try:
        store, folder = fsspec.url_to_fs(url)
        files = [name for name in store.find(folder) if name.endswith(".parquet")] if store.exists(folder) else []
        frames = [_read(store, name, since) for name in sorted(files) if _may_hold(name, since)]
    except Exception as error:  # the libraries of object stores have kinds of their own
        raise UnavailableError(f"{url}: the quote log cannot be read ({type(error).__name__}: {error})") from error
    found = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(READ))
    if found.empty:
        raise MissingDataError(f"{url}: nobody was quoted since {since:%Y-%m-%d %H:%M}; replay the hold-out instead")
    return found.drop_duplicates([schema.QUOTE_ID, schema.ITEM_ID])


def quoted_impressions(model: PricingModel, quotes: pd.DataFrame) -> pd.DataFrame:
    """Quotes as rows of a training set, as far as a replay of prices needs them.

    Args:
        model: The model that prices them again; items that it does not know are left out.
        quotes: Columns :data:`READ`.

    Raises:
        MissingDataError: None is in the model's currency and catalogue.
    """
    own = quotes[schema.ITEM_ID].isin(model.row_of) & (quotes[schema.CURRENCY] == model.policy.currency)
    quotes = quotes[own].sort_values([schema.TS, schema.QUOTE_ID, schema.RANK], kind="stable", ignore_index=True)
    if quotes.empty:
        raise MissingDataError("no quote is about an item of the model in its currency; replay the hold-out instead")
    rows = np.array([model.row_of[item] for item in quotes[schema.ITEM_ID]], dtype=np.int64)
    market, unit = model.market.rows(rows), model.policy.limits.minor_per_unit
    guests = "guest of " + quotes[schema.QUOTE_ID].astype(str)
    amounts = {name: getattr(market, name) for name in MARKET_COLUMNS}
    amounts[schema.LIST_PRICE] = quotes[schema.LIST_PRICE_MINOR].to_numpy(dtype=np.float64) / unit
    amounts[schema.UNIT_COST] = quotes[schema.UNIT_COST_MINOR].to_numpy(dtype=np.float64, na_value=np.nan) / unit
    nobody = [()] * len(quotes)
    return pd.DataFrame(
        {
            schema.PAGE_ID: quotes[schema.QUOTE_ID].astype(str),
            schema.TS: quotes[schema.TS],
            schema.USER_ID: quotes[schema.USER_KEY].astype(object).where(quotes[schema.USER_KEY].notna(), guests),
            schema.ITEM_ID: quotes[schema.ITEM_ID],
            schema.QUERY: quotes[schema.QUERY].astype(object).where(quotes[schema.QUERY].notna(), ""),
            schema.PRICE: quotes[schema.PRICE_MINOR].to_numpy(dtype=np.float64) / unit,
            schema.HISTORY_ITEMS: nobody,
            schema.HISTORY_AGE_DAYS: nobody,
            **amounts,
            **dict.fromkeys(schema.USER_PRICING_FEATURES, np.nan),
        }
    )


def _may_hold(name: str, since: datetime) -> bool:
    """Whether a file may hold rows from an instant on, by the time in its name."""
    opened = OPENED.search(name.rpartition("/")[2])
    if opened is None:
        return True
    return datetime.strptime(opened.group(1), "%Y%m%dT%H%M%S").replace(tzinfo=UTC) >= since - OPEN_FOR


def _read(store: fsspec.AbstractFileSystem, name: str, since: datetime) -> pd.DataFrame:
    with store.open(name, "rb") as stream:
        frame: pd.DataFrame = pq.ParquetFile(stream).read(columns=list(READ)).to_pandas()
    frame[schema.TS] = pd.to_datetime(frame[schema.TS], utc=True).dt.floor("us")
    return frame[frame[schema.TS] >= since]
