"""The shop behind the pages: its customers, its catalogue, and the live model for what-if.

Everything is read on first use. The model follows its folder: when another one goes live, it is loaded again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from fairtag.base import schema
from fairtag.base.errors import ConfigError, ModelFolderMissing
from fairtag.base.files import load_arrays
from fairtag.base.money import Currency, currency
from fairtag.model.manifest import MANIFEST, read_manifest
from fairtag.model.pricing_model import CATALOGUE, ESTIMATES, PricingModel, load_pricing_model
from fairtag.policy.context import UserContext
from fairtag.policy.disclosure import DEFAULT, read_disclosures

SUGGESTIONS = 8
SAMPLE_QUERIES = 5_000  # of the shop's customers that suggestions know, the most frequent


@dataclass(frozen=True)
class CustomerCard:
    """A customer as a person picks one.

    Args:
        user_id: The shop's id.
        words: What is known of them, in words.
    """

    user_id: str
    words: str


class Shop:
    """A shop's folders.

    Args:
        model_folder: The live model; None where the console has only an endpoint.
        tables: The shop's tables; None likewise.
    """

    def __init__(self, model_folder: Path | None, tables: Path | None) -> None:
        self._folder, self._tables = model_folder, tables
        self._lock = threading.Lock()
        self._model: PricingModel | None = None

    @property
    def has_model(self) -> bool:
        """Whether there is a model folder to look into."""
        return self._folder is not None and (self._folder / MANIFEST).is_file()

    @property
    def missing(self) -> str:
        """Why there is no model to look into; empty where there is one."""
        try:
            self.live_folder()
        except (ConfigError, ModelFolderMissing) as error:
            return str(error)
        return ""

    def live_folder(self) -> Path:
        """The folder of the live model.

        Raises:
            ConfigError: This console was not told where it is.
            ModelFolderMissing: No model is live there.
        """
        if self._folder is None:
            raise ConfigError(
                "this needs the model's folder: start the console with a run, or set FAIRTAG_CONSOLE_MODEL_FOLDER"
            )
        if not self.has_model:
            raise ModelFolderMissing(f"{self._folder}: no model is live there yet; `fairtag run` makes one")
        return self._folder.resolve()

    def model(self) -> PricingModel:
        """The live model, loaded on first use and again when another one is live; takes seconds then.

        Raises:
            ConfigError: This console was not told where it is.
            ModelFolderError: It cannot be loaded.
        """
        folder = self.live_folder()
        with self._lock:
            version = str(read_manifest(folder)["version"])
            if self._model is None or self._model.version != version:
                self._model = load_pricing_model(folder)
            return self._model

    @property
    def coin(self) -> Currency | None:
        """The shop's currency, as the model states it; None without a model folder."""
        return currency(str(read_manifest(self._folder)["currency"])) if self.has_model and self._folder else None

    @cached_property
    def items(self) -> pd.DataFrame:
        """The catalogue of the model that is live when it is first asked for; empty without a model folder."""
        if not self.has_model or self._folder is None:
            return pd.DataFrame(columns=[schema.ITEM_ID, schema.TITLE, schema.CATEGORY, schema.BRAND])
        return pd.read_parquet(self._folder / CATALOGUE)

    @cached_property
    def _sales_rates(self) -> np.ndarray:
        """Units a day of each row of the catalogue, read without the rest of the model: the first page waits for it."""
        assert self._folder is not None, "a model folder was looked for before"
        arrays, _ = load_arrays(self._folder, ESTIMATES)
        return np.asarray(arrays["sales_rate"])

    @property
    def live_version(self) -> str:
        """Version of the live model, from its manifest alone; empty without a model folder."""
        return str(read_manifest(self._folder)["version"]) if self.has_model and self._folder else ""

    @cached_property
    def users(self) -> pd.DataFrame:
        """The newest row of each customer, by id; empty where the shop has no such table."""
        path = None if self._tables is None else self._tables / "users.parquet"
        if path is None or not path.is_file():
            return pd.DataFrame(columns=list(schema.USERS.names)).set_index(schema.USER_ID)
        frame = pd.read_parquet(path).sort_values(schema.UPDATED_AT)
        return frame.drop_duplicates(schema.USER_ID, keep="last").set_index(schema.USER_ID).sort_index()

    def user(self, user_id: str | None, place: str | None, *, opted_out: bool) -> UserContext:
        """A customer as pricing sees them, with what the tables know; a guest where there is no id."""
        known = user_id in self.users.index if user_id else False
        if not known or opted_out:
            return UserContext(user_id or None, opted_out=opted_out, jurisdiction=place or None)
        row = self.users.loc[user_id]
        behaviour = {name: float(row[name]) for name in schema.USER_PRICING_FEATURES if pd.notna(row[name])}
        return UserContext(
            user_id,
            behaviour or None,
            [str(item) for item in row[schema.HISTORY_ITEMS]],
            [float(age) for age in row[schema.HISTORY_AGE_DAYS]],
            opted_out=False,
            jurisdiction=place or None,
        )

    def in_words(self, user_id: str) -> str:
        """What is known of a customer, in words."""
        if user_id not in self.users.index:
            return "not in the shop's table of customers"
        row, coin = self.users.loc[user_id], self.coin
        spend = float(row[schema.SPEND_90D])
        money = f"{spend:,.0f}" if coin is None else coin.text(round(spend * coin.minor_per_unit))
        orders, sale = row[schema.ORDERS_90D], row[schema.PROMOTION_RESPONSE]
        count = f"{orders:.0f} order{'' if orders == 1 else 's'}"
        return f"{count}, {money} in 90 days, {100 * sale:.0f} % bought below list"

    def examples(self) -> list[CustomerCard]:
        """Customers worth comparing: who buys most below list, who least, who spends most, and who has not bought."""
        users = self.users
        if users.empty:
            return []
        active = users[users[schema.ORDERS_90D] > 0]
        active = users if active.empty else active
        chosen = [
            active[schema.PROMOTION_RESPONSE].idxmax(),
            active[schema.PROMOTION_RESPONSE].idxmin(),
            users[schema.SPEND_90D].idxmax(),
            users[schema.ORDERS_90D].idxmin(),
        ]
        return [CustomerCard(str(user), self.in_words(str(user))) for user in dict.fromkeys(chosen)]

    def customers(self, text: str, most: int = SUGGESTIONS) -> list[CustomerCard]:
        """Customers whose id contains a text."""
        ids = [str(user) for user in self.users.index if text.lower() in str(user).lower()][:most]
        return [CustomerCard(user, self.in_words(user)) for user in ids]

    def suggestions(self, text: str, most: int = SUGGESTIONS) -> list[str]:
        """What a customer may be about to type: searches of others, categories and titles that hold every word."""
        words = text.lower().split()
        if not words:
            return []
        found: dict[str, None] = {}
        for shown, lower in self._phrases:
            if all(word in lower for word in words):
                found[shown] = None
                if len(found) == most:
                    break
        return list(found)

    def popular(self, most: int) -> list[str]:
        """Items to show where nothing is searched for: those that sell best, at first two of each category."""
        if not self.has_model:
            return []
        items = self.items.assign(rate=self._sales_rates)
        if schema.STOCK in items:
            items = items[~(items[schema.STOCK] <= 0)]
        best = items.sort_values("rate", ascending=False, kind="stable")
        varied = best.groupby(schema.CATEGORY, dropna=False).head(2)
        chosen = pd.concat([varied, best.drop(index=varied.index)])  # a shop of few categories fills the page as well
        return [str(item) for item in chosen[schema.ITEM_ID].head(most)]

    def popular_queries(self, most: int) -> list[str]:
        """What customers searched for most."""
        return [shown for shown, _ in self._queries[:most]]

    def list_prices(self, item: str) -> list[tuple[str, float]]:
        """List prices of an item as the shop's table has them: day and currency units, oldest first."""
        path = None if self._tables is None else self._tables / "items.parquet"
        if path is None or not path.is_file():
            return []
        columns = [schema.ITEM_ID, schema.UPDATED_AT, schema.LIST_PRICE]
        frame = pd.read_parquet(path, columns=columns, filters=[(schema.ITEM_ID, "==", item)])
        frame = frame.sort_values(schema.UPDATED_AT)
        return [
            (f"{at:%Y-%m-%d}", float(price))
            for at, price in zip(frame[schema.UPDATED_AT], frame[schema.LIST_PRICE], strict=True)
        ]

    def categories(self) -> list[str]:
        """The shop's categories, in order."""
        return sorted({str(name) for name in self.items[schema.CATEGORY].dropna()})

    @cached_property
    def places(self) -> list[str]:
        """Places that the disclosure table has a rule for."""
        return sorted({rule.jurisdiction for rule in read_disclosures().rules} - {DEFAULT})

    @cached_property
    def _queries(self) -> list[tuple[str, str]]:
        path = None if self._tables is None else self._tables / "impressions.parquet"
        if path is None or not path.is_file() or schema.QUERY not in pq.read_schema(path).names:
            return []
        frame = pd.read_parquet(path, columns=[schema.PAGE_ID, schema.QUERY]).drop_duplicates(schema.PAGE_ID)
        counts = frame[schema.QUERY].dropna().value_counts()
        return [(str(query), str(query).lower()) for query in counts.index[:SAMPLE_QUERIES]]

    @cached_property
    def _phrases(self) -> list[tuple[str, str]]:
        names = [*self.categories(), *(str(title) for title in self.items[schema.TITLE].dropna())]
        return [*self._queries, *((name, name.lower()) for name in names)]
