"""What an encoder learns from: judged pairs, prices, clicks and hard negatives, cleaned and tokenised once.

>>> judgements, items, impressions = without_hold_out(tables)              # doctest: +SKIP
>>> data = encoder_data(judgements, items, impressions, config, tokenise)  # doctest: +SKIP

Hard negatives are the items that BM25 would have shown for a query and nobody judged relevant. Karpukhin et al. 2020
(Dense Passage Retrieval) found one BM25 negative for each question worth more than many random ones. An item that
nobody judged may still be relevant, so they are off by default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.files import canonical_json, sha256_text, write_atomic
from fairtag.base.tables import Tables
from fairtag.base.text import item_texts, normalise
from fairtag.data.splits import PRODUCT_SALT, QUERY_SALT, held_out, time_split
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.encoder import Role, RoleText
from fairtag.search.word_index import WordIndex

SALT = "encoder"  # hash salt of the queries and items held out for the encoder's own scores, within its training rows
CONTRADICTION = 0.5  # judgements of one pair that differ by more than this contradict each other
MAX_CLICK_ROWS = 50_000  # impressions used for the click head; a longer log is sampled at random
CLICKED_RELEVANCE, BOUGHT_RELEVANCE = 0.7, 1.0  # grades of logged items where nothing was judged

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Tokenise = Callable[[Sequence[RoleText]], list[list[int]]]


@dataclass(frozen=True)
class Pairs:
    """Judged pairs: row numbers of the texts, and the grade in [0, 1]; (p,) each."""

    query: Ints
    item: Ints
    relevance: Floats

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True)
class Prices:
    """Items with a price: row numbers of the texts, and the log of the price in currency units; (m,) each."""

    item: Ints
    log_price: Floats

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True)
class Clicks:
    """Impressions: row numbers of the texts and log(price / list), (n,) each; outcome (n, 2): clicked, bought."""

    query: Ints
    item: Ints
    log_discount: Floats
    outcome: Floats

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True)
class HardNegatives:
    """Pairs that nobody judged relevant: row numbers of the texts of query and item, (n,) each."""

    query: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    item: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True)
class EncoderData:
    """Everything the training loop reads.

    Args:
        tokens: Token ids of each distinct text and role; the row numbers elsewhere point here.
        train: Pairs to learn from.
        held_out: Pairs of held-out queries, for scores only.
        prices: Items whose price is learnt.
        held_out_prices: Held-out items, for scores only.
        clicks: Impressions to learn from.
        counts: Rows read, dropped and merged, for the report.
        fingerprint: Hex SHA-256 of the texts and the tokenizer.
        hard_negatives: Negatives of the queries in ``train``; empty unless configured.
        texts: The distinct texts, normalised, in the order of ``tokens``.
    """

    tokens: list[Ints]
    train: Pairs
    held_out: Pairs
    prices: Prices
    held_out_prices: Prices
    clicks: Clicks
    counts: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    hard_negatives: HardNegatives = field(default_factory=HardNegatives)
    texts: list[str] = field(default_factory=list)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The heads that have rows to learn from."""
        has = {"relevance": len(self.train), "price": len(self.prices), "click": len(self.clicks)}
        return tuple(name for name, rows in has.items() if rows)


def without_hold_out(tables: Tables) -> tuple[pd.DataFrame | None, pd.DataFrame, pd.DataFrame | None]:
    """Judgements, items and impressions without the held-out queries, products and days of the evaluation.

    The heads must not learn the prices and grades that the decision is later made on.

    Args:
        tables: The shop.

    Impressions that cannot be split by time are left out.
    """
    items = tables.latest_items()
    items = items[~held_out(items[schema.ITEM_ID], PRODUCT_SALT)].reset_index(drop=True)
    judgements = tables.judgements
    if judgements is not None:
        judgements = judgements[~held_out(judgements[schema.QUERY], QUERY_SALT)].reset_index(drop=True)
    if tables.impressions.empty:
        return judgements, items, None
    try:
        early = time_split(tables.impressions).part(tables.impressions[schema.TS], "fit")
    except DataError:  # so few pages that none can be held out: nothing is learned from them either
        return judgements, items, None
    return judgements, items, tables.impressions[early].reset_index(drop=True)


def encoder_data(
    judgements: pd.DataFrame | None,
    items: pd.DataFrame | None,
    impressions: pd.DataFrame | None,
    config: EncoderConfig,
    tokenise: Tokenise,
    *,
    tokenizer_fingerprint: str = "",
    cache: Path | None = None,
) -> EncoderData:
    """Clean the tables, hold queries and items out by hash, and tokenise each distinct text once.

    Without judgements the impressions stand in: 1 for bought, 0.7 for clicked, 0 for shown, averaged over impressions.

    Args:
        judgements: Graded pairs with the judged text.
        items: Catalogue, for prices and for the texts of impressions.
        impressions: Items shown, for the click head.
        config: Settings; the weights decide which tasks are built.
        tokenise: Gives the token ids of normalised texts, each with its role.
        tokenizer_fingerprint: Identifies the tokenizer with its settings and prefixes in the cache's key.
        cache: Folder of tokenised texts; None keeps none.

    Raises:
        DataError: There is nothing to learn from, or no judged pair is relevant.
    """
    counts: dict[str, int] = {}
    book = _TextBook()
    texts = dict(zip(items[schema.ITEM_ID], item_texts(items), strict=True)) if items is not None else {}
    shown = _impressions(impressions, texts, config.seed)
    judged = _clean_judgements(judgements, counts) if judgements is not None and len(judgements) else _grades(shown)
    pairs = _pairs(judged, book, config, counts)
    held = held_out(judged[schema.QUERY], SALT, config.validation.holdout_share)
    prices, held_prices = _prices(items, texts, book, config)
    clicks = _clicks(shown, book) if config.objective.click_weight > 0 else _clicks(shown.iloc[:0], book)
    negatives = HardNegatives()
    if config.batch.mined_negatives:
        judged_items = set(judgements[schema.ITEM_ID]) if judgements is not None else set()
        others = book.rows([text for item, text in texts.items() if item not in judged_items], "item")
        negatives = _hard_negatives(_take(pairs, ~held), others, book.texts, config)
        counts["mined_negatives"] = len(negatives)
    tokens, fingerprint = _tokens(book.texts, tokenise, tokenizer_fingerprint, cache)
    data = EncoderData(
        tokens,
        _take(pairs, ~held),
        _take(pairs, held),
        prices,
        held_prices,
        clicks,
        counts,
        fingerprint,
        negatives,
        texts=[text for _, text in book.texts],
    )
    if config.tuning.method != "none" and not data.tasks:
        raise DataError(
            "the encoder has nothing to learn from: no judgements, no priced items, no clicked impressions; give one "
            "of these, or set encoder.tuning.method to 'none'"
        )
    return data


class _TextBook:
    """Distinct texts, numbered as they come; a text that is both a query and an item has two numbers."""

    def __init__(self) -> None:
        self._rows: dict[RoleText, int] = {}

    @property
    def texts(self) -> list[RoleText]:
        return list(self._rows)

    def rows(self, texts: Sequence[str], role: Role) -> Ints:
        return np.array([self._rows.setdefault((role, text), len(self._rows)) for text in texts], dtype=np.int64)


def _clean_judgements(judgements: pd.DataFrame, counts: dict[str, int]) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            schema.QUERY: judgements[schema.QUERY].map(normalise),
            schema.TITLE: judgements[schema.TITLE].map(normalise),
            schema.RELEVANCE: judgements[schema.RELEVANCE].astype("float64"),
        }
    )
    usable = (frame[schema.QUERY] != "") & (frame[schema.TITLE] != "") & frame[schema.RELEVANCE].between(0.0, 1.0)
    kept = frame[usable].groupby([schema.QUERY, schema.TITLE], sort=False)[schema.RELEVANCE]
    merged = kept.mean().reset_index()
    spread = kept.max() - kept.min()
    counts["judgements"] = len(frame)
    counts["unusable"] = int((~usable).sum())
    counts["duplicates_merged"] = int(usable.sum()) - len(merged)
    counts["contradictory_pairs"] = int((spread > CONTRADICTION).sum())
    return merged


def _impressions(impressions: pd.DataFrame | None, texts: dict[str, str], seed: int) -> pd.DataFrame:
    columns = (schema.QUERY, schema.ITEM_ID, schema.PRICE, schema.LIST_PRICE, schema.CLICKED, schema.PURCHASED)
    if impressions is None or not texts:
        return pd.DataFrame({name: [] for name in (*columns, schema.TITLE)})
    rows = impressions.loc[impressions[schema.QUERY].notna(), list(columns)]
    if len(rows) > MAX_CLICK_ROWS:
        rows = rows.sample(MAX_CLICK_ROWS, random_state=seed).sort_index()
    rows = rows.assign(
        **{schema.TITLE: rows[schema.ITEM_ID].map(texts), schema.QUERY: rows[schema.QUERY].map(normalise)}
    )
    return rows[rows[schema.TITLE].notna() & (rows[schema.QUERY] != "")]


def _grades(shown: pd.DataFrame) -> pd.DataFrame:
    clicked, bought = shown[schema.CLICKED].astype(float), shown[schema.PURCHASED].astype(float)
    graded = shown.assign(**{schema.RELEVANCE: np.maximum(clicked * CLICKED_RELEVANCE, bought * BOUGHT_RELEVANCE)})
    return graded.groupby([schema.QUERY, schema.TITLE], sort=False)[schema.RELEVANCE].mean().reset_index()


def _pairs(judged: pd.DataFrame, book: _TextBook, config: EncoderConfig, counts: dict[str, int]) -> Pairs:
    relevance = judged[schema.RELEVANCE].to_numpy(dtype=np.float32)
    counts["pairs"] = len(judged)
    counts["positive_pairs"] = int((relevance >= config.objective.positive_relevance).sum())
    counts["one_class"] = int(len(relevance) > 0 and float(np.ptp(relevance)) == 0.0)
    if counts["one_class"] and not counts["positive_pairs"] and config.tuning.method != "none":
        raise DataError(
            f"judgements: all {len(judged)} pairs have relevance {relevance[0]:g}, below "
            f"{config.objective.positive_relevance:g}; the encoder needs relevant pairs: add them, or set "
            f"encoder.tuning.method to 'none'",
            table="judgements",
            column=schema.RELEVANCE,
            rule="at least one relevant pair",
            count=len(judged),
            examples=judged[schema.QUERY].head(3).tolist(),
        )
    query, item = book.rows(judged[schema.QUERY].tolist(), "query"), book.rows(judged[schema.TITLE].tolist(), "item")
    return Pairs(query, item, relevance)


def _hard_negatives(train: Pairs, others: Ints, texts: list[RoleText], config: EncoderConfig) -> HardNegatives:
    """Negatives of the training queries, among the items judged for any of them and the items never judged.

    A judged item takes part with its judged text only: under its catalogue text it would not be known as relevant.
    """
    relevant: dict[int, set[int]] = {}
    for query, item, relevance in zip(train.query.tolist(), train.item.tolist(), train.relevance.tolist(), strict=True):
        if relevance > config.objective.negative_relevance:
            relevant.setdefault(query, set()).add(item)
    pool = np.unique(np.concatenate([train.item, others])).tolist()
    queries = np.unique(train.query).tolist()
    found = mine_negatives(
        {row: texts[row][1] for row in queries},
        {row: texts[row][1] for row in pool},
        relevant,
        config.batch.mined_negatives,
    )
    return HardNegatives(*found)


def mine_negatives(
    queries: Mapping[int, str], pool: Mapping[int, str], relevant: Mapping[int, Set[int]], most: int
) -> tuple[Ints, Ints]:
    """The best items of each query by BM25 that are not relevant to it.

    Args:
        queries: Query texts by row.
        pool: Item texts by row.
        relevant: Rows of the items that are relevant to a query, by the query's row.
        most: Items for each query; fewer where fewer share a word with it.

    Returns:
        (n,) rows of queries and (n,) rows of items, query by query, best first.
    """
    rows = list(pool)
    index = WordIndex.build(list(pool.values()))
    found: list[tuple[int, int]] = []
    for query, text in queries.items():
        excluded = relevant.get(query, frozenset())
        ranked = [rows[place] for place in index.search(text, most + len(excluded)).tolist()]
        found.extend((query, item) for item in [item for item in ranked if item not in excluded][:most])
    both = np.array(found, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _prices(
    items: pd.DataFrame | None, texts: dict[str, str], book: _TextBook, config: EncoderConfig
) -> tuple[Prices, Prices]:
    none = Prices(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
    if items is None or config.objective.price_weight == 0:
        return none, none
    priced = items[(items[schema.LIST_PRICE] > 0) & np.isfinite(items[schema.LIST_PRICE])]
    rows = book.rows([texts[key] for key in priced[schema.ITEM_ID]], "item")
    log_price = np.log(priced[schema.LIST_PRICE].to_numpy(dtype=np.float64)).astype(np.float32)
    held = held_out(priced[schema.ITEM_ID].astype(str), SALT, config.validation.holdout_share)
    return Prices(rows[~held], log_price[~held]), Prices(rows[held], log_price[held])


def _clicks(shown: pd.DataFrame, book: _TextBook) -> Clicks:
    outcome = shown[[schema.CLICKED, schema.PURCHASED]].to_numpy(dtype=np.float32)
    if not outcome.any():
        shown, outcome = shown.iloc[:0], outcome[:0]  # a log without a click cannot teach a probability
    ratio = shown[schema.PRICE].to_numpy(dtype=np.float64) / shown[schema.LIST_PRICE].to_numpy(dtype=np.float64)
    return Clicks(
        book.rows(shown[schema.QUERY].tolist(), "query"),
        book.rows(shown[schema.TITLE].tolist(), "item"),
        np.log(ratio).astype(np.float32),
        outcome,
    )


def _tokens(texts: list[RoleText], tokenise: Tokenise, tokenizer: str, cache: Path | None) -> tuple[list[Ints], str]:
    fingerprint = sha256_text(canonical_json([tokenizer, [list(text) for text in texts]]))
    file = cache / f"tokens-{fingerprint[:32]}.npz" if cache else None
    if file is not None and file.is_file():
        with np.load(file, allow_pickle=False) as stored:
            return np.split(stored["ids"].astype(np.int64), stored["ends"][:-1]), fingerprint
    tokens = [np.asarray(ids, dtype=np.int64) for ids in tokenise(texts)]
    if file is not None and tokens:
        ends = np.cumsum([len(ids) for ids in tokens])
        write_atomic(file, lambda path: np.savez(path, ids=np.concatenate(tokens).astype(np.int32), ends=ends))
    return tokens, fingerprint


def _take(pairs: Pairs, mask: NDArray[np.bool_]) -> Pairs:
    return Pairs(pairs.query[mask], pairs.item[mask], pairs.relevance[mask])
