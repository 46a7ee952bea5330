"""The tables of a shop, their columns and the rules of each column; the only module that names a column.

>>> column = table("items").column(LIST_PRICE)
>>> column.unit, column.above, column.required
('currency', 0, True)

Money in tables is in currency units; the API and the quote log use integer minor units.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["id", "text", "category", "money", "number", "integer", "share", "flag", "time", "ids", "numbers"]
Severity = Literal["critical", "warning"]

# Items
ITEM_ID = "item_id"
UPDATED_AT = "updated_at"
TITLE = "title"
DESCRIPTION = "description"
CATEGORY = "category"
BRAND = "brand"
URL = "url"
IMAGE = "image"
UNIT_COST = "unit_cost"
LIST_PRICE = "list_price"
MAP_PRICE = "map_price"
MSRP = "msrp"
COMPETITOR_PRICE = "competitor_price"
STOCK = "stock"
SALVAGE_VALUE = "salvage_value"
SHELF_LIFE_DAYS = "shelf_life_days"
# Users
USER_ID = "user_id"
RECENCY_DAYS = "recency_days"
ORDERS_90D = "orders_90d"
SPEND_90D = "spend_90d"
PROMOTION_RESPONSE = "promotion_response"
HISTORY_ITEMS = "history_items"
HISTORY_AGE_DAYS = "history_age_days"
# Impressions and orders
PAGE_ID = "page_id"
TS = "ts"
QUERY = "query"
RANK = "rank"
PRICE = "price"
CLICKED = "clicked"
PURCHASED = "purchased"
QUANTITY = "quantity"
PROPENSITY = "propensity"
WEIGHT = "weight"
IN_STOCK = "in_stock"
DISPLAY = "display"
FEATURE = "feature"
DEAL = "deal"
AD = "ad"
OWN_COVARIATE = "x_"  # a column of impressions that a shop adds for demand begins so
ORDER_ID = "order_id"
# Judgements
RELEVANCE = "relevance"
# Audit groups
ATTRIBUTE = "attribute"
GROUP = "group"
# Quote log (written by the endpoint) and outcomes (reported by the shop); money in integer minor units
QUOTE_ID = "quote_id"
MODEL_VERSION = "model_version"
TASK = "task"
USER_KEY = "user_key"
SIMILARITY = "similarity"
LIST_PRICE_MINOR = "list_price_minor"
PRICE_MINOR = "price_minor"
REFERENCE_PRICE_MINOR = "reference_price_minor"
UNIT_COST_MINOR = "unit_cost_minor"
LOW_MINOR = "low_minor"
HIGH_MINOR = "high_minor"
PURCHASE_PROBABILITY = "purchase_probability"
PERSONALISED = "personalised"
REASONS = "reasons"
JURISDICTION = "jurisdiction"
DISCLOSURE = "disclosure"
DEGRADED = "degraded"
CURRENCY = "currency"
EPOCH = "epoch"
FEATURE_AGE_SECONDS = "feature_age_seconds"
POLICY_VERSION = "policy_version"
EXPERIMENT = "experiment"
ARM = "arm"
GUEST_KEY = "guest_key"

# Feast's views and services in feature_repo, named here so that training, serving and monitoring agree
USER_VIEW = "user_behaviour"
ITEM_VIEW = "item_market"
TRAINING_SERVICE = "pricing_training"
SERVING_SERVICE = "pricing_serving"


@dataclass(frozen=True)
class Column:
    """One column: its kind, its unit and its valid values.

    Args:
        name: Column name.
        kind: Decides the type on disk (``ids`` and ``numbers`` are lists).
        unit: Unit of the values; empty if there is none.
        required: Whether a table without the column is refused.
        nullable: Whether a value may be missing.
        minimum: Smallest valid value.
        above: A valid value is strictly greater than this.
        maximum: Greatest valid value.
        severity: Whether a row that breaks a rule is quarantined (``critical``) or only reported (``warning``).
    """

    name: str
    kind: Kind
    unit: str = ""
    required: bool = True
    nullable: bool = False
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    severity: Severity = "critical"


@dataclass(frozen=True)
class Order:
    """A rule for two columns of a row: ``smaller <= larger`` where both are present."""

    smaller: str
    larger: str
    severity: Severity = "warning"


@dataclass(frozen=True)
class SameLength:
    """A rule for two lists of a row: they have the same length."""

    first: str
    second: str


@dataclass(frozen=True)
class SameWithin:
    """A rule for a column: rows with one value of another column have one value of it."""

    column: str
    group: str


@dataclass(frozen=True)
class OnceWithin:
    """A rule for a column: rows with one value of another column have each value of it once."""

    column: str
    group: str
    severity: Severity = "warning"


@dataclass(frozen=True)
class Together:
    """A rule for a flag and a number of a row: the flag holds where the number is above 0, and only there."""

    flag: str
    number: str
    severity: Severity = "warning"


@dataclass(frozen=True)
class Reference:
    """A rule for a column: its values exist in another table."""

    column: str
    table: str
    severity: Severity = "critical"


@dataclass(frozen=True)
class Table:
    """One table: its key, its columns, and the rules that span columns.

    A column that the contract does not name is refused, unless the table has a prefix for a shop's own and the column
    begins with it.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    orders: tuple[Order, ...] = ()
    references: tuple[Reference, ...] = ()
    required: bool = True
    lengths: tuple[SameLength, ...] = ()
    same: tuple[SameWithin, ...] = ()
    once: tuple[OnceWithin, ...] = ()
    together: tuple[Together, ...] = ()
    own_prefix: str = ""

    def column(self, name: str) -> Column:
        """The column of that name; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return tuple(column.name for column in self.columns)

    def takes(self, name: str) -> bool:
        """Whether the table may hold a column of that name: one of the contract's, or the shop's own covariate."""
        return name in self.names or bool(self.own_prefix and name.removeprefix(self.own_prefix) not in ("", name))

    def with_own(self, names: Iterable[str]) -> Table:
        """The contract with those of some columns that it takes and does not name: numbers without a gap."""
        own = [name for name in names if name not in self.names and self.takes(name)]
        if not own:
            return self
        return replace(self, columns=(*self.columns, *(Column(name, "number", required=False) for name in own)))

    @property
    def required_names(self) -> tuple[str, ...]:
        """Names of the columns without which the table is refused."""
        return tuple(column.name for column in self.columns if column.required)


ITEMS = Table(
    "items",
    (ITEM_ID, UPDATED_AT),
    (
        Column(ITEM_ID, "id"),
        Column(UPDATED_AT, "time", "UTC", required=False),
        Column(TITLE, "text"),
        Column(DESCRIPTION, "text", required=False, nullable=True),
        Column(CATEGORY, "category", required=False, nullable=True),
        Column(BRAND, "category", required=False, nullable=True),
        Column(URL, "text", "address of the product's page", required=False, nullable=True),
        Column(IMAGE, "text", "address of a picture", required=False, nullable=True),
        Column(UNIT_COST, "money", "currency", required=False, nullable=True, minimum=0),
        Column(LIST_PRICE, "money", "currency", above=0),
        Column(MAP_PRICE, "money", "currency", required=False, nullable=True, above=0),
        Column(MSRP, "money", "currency", required=False, nullable=True, above=0),
        Column(COMPETITOR_PRICE, "money", "currency", required=False, nullable=True, above=0),
        Column(STOCK, "number", "units", required=False, nullable=True, minimum=0),
        Column(SALVAGE_VALUE, "money", "currency a unit left at the end of its life", required=False, nullable=True),
        Column(
            SHELF_LIFE_DAYS, "number", "days until the stock must be gone", required=False, nullable=True, minimum=0
        ),
    ),
    orders=(Order(UNIT_COST, LIST_PRICE), Order(MAP_PRICE, LIST_PRICE), Order(LIST_PRICE, MSRP)),
)

USERS = Table(
    "users",
    (USER_ID, UPDATED_AT),
    (
        Column(USER_ID, "id"),
        Column(UPDATED_AT, "time", "UTC"),
        Column(RECENCY_DAYS, "number", "days", nullable=True, minimum=0),
        Column(ORDERS_90D, "number", "orders in 90 days", minimum=0),
        Column(SPEND_90D, "money", "currency in 90 days", minimum=0),
        Column(PROMOTION_RESPONSE, "share", "share of units bought below list", minimum=0, maximum=1),
        Column(HISTORY_ITEMS, "ids"),
        Column(HISTORY_AGE_DAYS, "numbers", "days"),
    ),
    required=False,
    lengths=(SameLength(HISTORY_ITEMS, HISTORY_AGE_DAYS),),
)

IMPRESSIONS = Table(
    "impressions",
    (PAGE_ID, ITEM_ID),
    (
        Column(PAGE_ID, "id"),
        Column(ITEM_ID, "id"),
        Column(TS, "time", "UTC"),
        Column(USER_ID, "id"),
        Column(QUERY, "text", nullable=True),
        Column(RANK, "integer", "position, 1 first", minimum=1),
        Column(PRICE, "money", "currency", above=0),
        Column(LIST_PRICE, "money", "currency", above=0),
        Column(CLICKED, "flag"),
        Column(PURCHASED, "flag"),
        Column(QUANTITY, "integer", "units", minimum=0),
        Column(
            PROPENSITY, "share", "probability of the shown price", required=False, nullable=True, above=0, maximum=1
        ),
        Column(IN_STOCK, "flag", required=False),
        Column(WEIGHT, "number", "visits that the page stands for", required=False, minimum=0),
        Column(DISPLAY, "number", "1 in a display, or how prominent", required=False),
        Column(FEATURE, "number", "1 in a leaflet or newsletter", required=False),
        Column(DEAL, "number", "1 with a deal beside the price, such as a gift", required=False),
        Column(AD, "number", "1 advertised", required=False),
    ),
    orders=(Order(PRICE, LIST_PRICE),),
    references=(Reference(ITEM_ID, "items"), Reference(USER_ID, "users", "warning")),
    required=False,
    same=(SameWithin(WEIGHT, PAGE_ID),),
    once=(OnceWithin(RANK, PAGE_ID),),
    together=(Together(PURCHASED, QUANTITY),),
    own_prefix=OWN_COVARIATE,
)

ORDERS = Table(
    "orders",
    (ORDER_ID, ITEM_ID),
    (
        Column(ORDER_ID, "id"),
        Column(ITEM_ID, "id"),
        Column(TS, "time", "UTC"),
        Column(USER_ID, "id"),
        Column(QUANTITY, "number", "units", above=0),
        Column(PRICE, "money", "currency a unit", above=0),
    ),
    references=(Reference(ITEM_ID, "items"), Reference(USER_ID, "users", "warning")),
    required=False,
)

# The judged text is part of the judgement, as judged products need not be in the catalogue.
JUDGEMENTS = Table(
    "judgements",
    (QUERY, ITEM_ID),
    (
        Column(QUERY, "text"),
        Column(ITEM_ID, "id"),
        Column(TITLE, "text"),
        Column(RELEVANCE, "share", "graded, 0 irrelevant to 1 exact", minimum=0, maximum=1),
    ),
    required=False,
)

# Read only by monitoring and evaluation reports; never joined to a pricing feature.
AUDIT_GROUPS = Table(
    "audit_groups",
    (USER_ID, ATTRIBUTE),
    (Column(USER_ID, "id"), Column(ATTRIBUTE, "category"), Column(GROUP, "category")),
    references=(Reference(USER_ID, "users", "warning"),),
    required=False,
)

# One row for each item of a quoted page. user_key and guest_key are keyed hashes; no id is ever written here.
QUOTES = Table(
    "quotes",
    (QUOTE_ID, ITEM_ID),
    (
        Column(QUOTE_ID, "id"),
        Column(TS, "time", "UTC"),
        Column(MODEL_VERSION, "id"),
        Column(TASK, "category"),
        Column(USER_KEY, "id", nullable=True),
        Column(QUERY, "text", nullable=True),
        Column(ITEM_ID, "id"),
        Column(CATEGORY, "category"),
        Column(RANK, "integer", "position, 1 first", minimum=1),
        Column(SIMILARITY, "share", minimum=0, maximum=1),
        Column(LIST_PRICE_MINOR, "integer", "minor units", above=0),
        Column(PRICE_MINOR, "integer", "minor units", above=0),
        Column(REFERENCE_PRICE_MINOR, "integer", "minor units", above=0),
        Column(UNIT_COST_MINOR, "integer", "minor units, absent when unknown", nullable=True, minimum=0),
        Column(LOW_MINOR, "integer", "minor units, lower bound in force", minimum=0),
        Column(HIGH_MINOR, "integer", "minor units, upper bound in force", above=0),
        Column(
            PURCHASE_PROBABILITY, "share", "absent where demand was not learned", nullable=True, minimum=0, maximum=1
        ),
        Column(PERSONALISED, "flag"),
        Column(REASONS, "ids"),
        Column(PROPENSITY, "share", "probability of the shown price", above=0, maximum=1),
        Column(JURISDICTION, "category", nullable=True),
        Column(DISCLOSURE, "text", nullable=True),
        Column(DEGRADED, "category", "cause, absent when whole", nullable=True),
        Column(CURRENCY, "category"),
        Column(EPOCH, "integer", "price days since 1970"),
        Column(FEATURE_AGE_SECONDS, "number", "seconds", nullable=True, minimum=0),
        Column(POLICY_VERSION, "integer", "version of the live policy", required=False, nullable=True, minimum=0),
        Column(EXPERIMENT, "category", "experiment that ran, absent where none did", required=False, nullable=True),
        Column(ARM, "category", "the customer's arm of it", required=False, nullable=True),
        Column(GUEST_KEY, "id", "a guest's session in an experiment, absent elsewhere", required=False, nullable=True),
    ),
    orders=(Order(PRICE_MINOR, LIST_PRICE_MINOR),),
    required=False,
)

# What the shop reports back: one row for each item bought from a quoted page.
OUTCOMES = Table(
    "outcomes",
    (QUOTE_ID, ITEM_ID),
    (
        Column(QUOTE_ID, "id"),
        Column(ITEM_ID, "id"),
        Column(TS, "time", "UTC"),
        Column(QUANTITY, "integer", "units", minimum=0),
        Column(PRICE_MINOR, "integer", "minor units a unit", above=0),
    ),
    references=(Reference(QUOTE_ID, "quotes"),),
    required=False,
)

TABLES: tuple[Table, ...] = (ITEMS, USERS, IMPRESSIONS, ORDERS, JUDGEMENTS, AUDIT_GROUPS)

# The allow-list of docs/pricing-model.md, section 4: behaviour that may change a price. Nothing else of a user may.
USER_PRICING_FEATURES: tuple[str, ...] = (RECENCY_DAYS, ORDERS_90D, SPEND_90D, PROMOTION_RESPONSE)

# Columns of impressions that the demand fit uses where they are there; rank and a shop's own where they are named.
COVARIATES: tuple[str, ...] = (DISPLAY, FEATURE, DEAL, AD)

# Columns of an item that an answer may show: texts, and none that costs or stock could be read from.
ITEM_TEXTS: tuple[str, ...] = (TITLE, DESCRIPTION, CATEGORY, BRAND, URL, IMAGE)

# Columns of an item that may change a price and vary over time.
ITEM_PRICING_FEATURES: tuple[str, ...] = (
    LIST_PRICE,
    UNIT_COST,
    MAP_PRICE,
    MSRP,
    COMPETITOR_PRICE,
    STOCK,
    SALVAGE_VALUE,
    SHELF_LIFE_DAYS,
)


def table(name: str) -> Table:
    """The table of that name; KeyError if there is none."""
    for candidate in (*TABLES, QUOTES, OUTCOMES):
        if candidate.name == name:
            return candidate
    raise KeyError(name)
