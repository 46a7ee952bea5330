"""From tables, a training set and an encoder to a model folder: embeddings, f(v), demand, reference prices, profile.

Knows the order of the fits and what each may see; nothing of pipelines, feature stores or the clock.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.files import directory_atomic, save_arrays, write_json
from fairtag.base.tables import Tables
from fairtag.base.text import item_texts
from fairtag.data.splits import PRODUCT_SALT, held_out, time_split
from fairtag.demand.demand_data import Assortment, DemandData, demand_data
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.elasticity import check_elasticity, with_cross_check
from fairtag.demand.fit import DemandConfig, fit_demand
from fairtag.demand.intents import impression_similarity
from fairtag.encoder.encoder import TextEncoder, load_encoder
from fairtag.encoder.folder import REPORT, describe_encoder
from fairtag.encoder.out_of_fold import UNSEEN, read_unseen
from fairtag.model.manifest import write_manifest
from fairtag.model.pricing_model import (
    CATALOGUE,
    DEMAND,
    EMBEDDINGS,
    ENCODER,
    ESTIMATES,
    POLICY,
    PRICE_MODEL,
    PROFILE,
    SEARCH,
    load_pricing_model,
)
from fairtag.page.held_out import query_vectors, sample_pages, shadow_pages, shadow_quotes
from fairtag.policy.context import MarketContext
from fairtag.policy.guardrails import price_bounds
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.price_model.learners import PriceModelConfig
from fairtag.price_model.price_model import PriceModel, fit_price_model, reference_price
from fairtag.profile.builder import build_profile
from fairtag.stock.shadow_prices import counted_cost, floor_cost
from fairtag.training.corridors import fit_corridor, sample_shoppers
from fairtag.training.search import fit_search
from fairtag.training.stock import StockValue, value_stock

Floats = NDArray[np.float64]
Progress = Callable[[str], None]

FIXED_SHARE = 0.02  # range of cost over list within which the one was made from the other, rounding to cents included
PROFILE_PAGES = 1_500  # training pages priced for the reference profile: about 36,000 quotes


@dataclass(frozen=True)
class Lineage:
    """Where a model folder comes from.

    Args:
        data_fingerprint: Fingerprint of the tables.
        code_version: Version of the code that built it.
        created_at: ISO 8601 instant, given by the caller.
        dataset: Name of the data set.
        run_id: Pipeline run, empty where there is none.
    """

    data_fingerprint: str
    code_version: str
    created_at: str
    dataset: str = ""
    run_id: str = ""


def fit_model_folder(
    tables: Tables,
    training_set: pd.DataFrame,
    encoder_dir: Path,
    out: Path,
    *,
    lineage: Lineage,
    policy: PricingPolicy | None = None,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> Path:
    """Fit everything that is not the encoder and write the model folder, whole or not at all.

    Args:
        tables: The shop; its newest item snapshots are the catalogue.
        training_set: Impressions with the features as they were when each page was shown.
        encoder_dir: Folder of the trained encoder; it is copied into the model folder.
        out: The model folder; replaced when it exists.
        lineage: Where the model folder comes from.
        policy: How prices are chosen; the currency comes from the tables' metadata when None.
        seed: Seed of every draw.
        progress: Told what is being done.

    Raises:
        DataError: Nothing is left to fit on.
        NotConverged: A fit stopped short of its optimum.
    """
    policy = policy or PricingPolicy(currency=str(tables.metadata.get("currency", "USD")))
    catalogue = tables.latest_items()
    progress(f"encode {len(catalogue):,} items")
    encoder = load_encoder(encoder_dir)
    embeddings = encoder.encode(item_texts(catalogue), "item")
    progress("fit the price model f(v)")
    price_model = fit_prices(catalogue, embeddings, seed)
    progress(f"fit demand on {len(training_set):,} impressions")
    known = fit_part(training_set)
    data = demand_inputs(known, catalogue, embeddings, encoder, price_model, policy)
    demand = fit_demand(data, DemandConfig())
    progress("cross-check elasticities by double machine learning")
    demand = with_cross_check(demand, check_elasticity(demand, data, seed=seed))
    if not policy.similarity_in_price:
        demand = demand.without_similarity()
    progress("price the stock until it is replenished")
    prices = price_model.predict(embeddings, catalogue)
    stock = value_stock(known, data, demand, catalogue, prices.price, policy, tables.orders)
    estimates = {
        "f": prices.price,
        "f_low": prices.low,
        "f_high": prices.high,
        "corridor_low": corridor_low(catalogue, prices.price, stock, demand, data, policy, seed),
        "shadow": stock.shadow,
        "sales_rate": stock.sales_rate,
    }
    progress("index the embeddings and the words, and fit the re-ranker")
    queries = [query for query in known[schema.QUERY].dropna().unique() if query]
    description = describe_encoder(encoder_dir)
    unseen = read_unseen(encoder_dir)
    search = fit_search(catalogue, embeddings, tables.judgements, encoder, description, queries, seed, unseen)
    with directory_atomic(out) as folder:
        # The report holds seconds: with it no two builds of one model would have one digest.
        shutil.copytree(encoder_dir, folder / ENCODER, ignore=shutil.ignore_patterns(REPORT, UNSEEN))
        np.save(folder / EMBEDDINGS, embeddings, allow_pickle=False)
        catalogue.to_parquet(folder / CATALOGUE, index=False)
        save_arrays(folder, DEMAND, demand.arrays(), demand.metadata())
        save_arrays(folder, PRICE_MODEL, price_model.arrays(), price_model.metadata())
        save_arrays(folder, ESTIMATES, estimates, {})
        search.save(folder / SEARCH)
        write_json(folder / POLICY, policy.to_json())
        prefixes = {"query": description.query_prefix, "item": description.item_prefix}
        facts = {**vars(lineage), "currency": policy.currency, "items": len(catalogue), "seed": seed}
        facts["encoder"] = {
            "base": description.base,
            "serving": description.serving,
            "pooling": description.pooling,
            "prefixes": prefixes,
        }
        write_manifest(folder, facts)
        progress("price training pages for the reference profile")
        write_profile(folder, known, seed)
        write_manifest(folder, facts)
    return out


def fit_part(training_set: pd.DataFrame) -> pd.DataFrame:
    """The impressions that a fit may see: all before the hold-out."""
    part: pd.DataFrame = training_set[time_split(training_set).part(training_set[schema.TS], "fit")]
    return part


def fit_prices(catalogue: pd.DataFrame, embeddings: NDArray[np.float32], seed: int) -> PriceModel:
    """f(v) on the products that are not held out."""
    kept = ~held_out(catalogue[schema.ITEM_ID], PRODUCT_SALT)
    return fit_price_model(embeddings[kept], catalogue[kept].reset_index(drop=True), PriceModelConfig(seed=seed))


def demand_inputs(
    impressions: pd.DataFrame,
    catalogue: pd.DataFrame,
    embeddings: NDArray[np.float32],
    encoder: TextEncoder,
    price_model: PriceModel,
    policy: PricingPolicy,
) -> DemandData:
    """Impressions as the demand model reads them, with similarity and reference price as the endpoint computes them."""
    row_of = {item: row for row, item in enumerate(catalogue[schema.ITEM_ID])}
    rows = impressions[impressions[schema.ITEM_ID].isin(row_of)]
    queries = sorted({query for query in rows[schema.QUERY].dropna() if query})
    vectors = dict(zip(queries, encoder.encode(queries, "query"), strict=True)) if queries else {}
    market = MarketContext.of(rows)
    f = price_model.predict(embeddings, catalogue).price[rows[schema.ITEM_ID].map(row_of).to_numpy(dtype=np.int64)]
    return demand_data(
        rows.assign(**{schema.UNIT_COST: cost_instrument(rows)}),
        Assortment.of(catalogue, embeddings),
        similarity=impression_similarity(rows, vectors, embeddings, row_of, alpha=policy.intent_alpha),
        reference=reference_price(f, market.list_price, market.competitor_price, policy.reference_weights),
    )


def cost_instrument(rows: pd.DataFrame) -> Floats:
    """Unit cost as an instrument of the price, money (n,): NaN throughout where it is a fixed share of the list price.

    Such a cost was derived from the price by a stated margin; it would carry the price's own endogeneity back in.
    """
    cost = rows[schema.UNIT_COST].to_numpy(dtype=np.float64)
    share = cost / rows[schema.LIST_PRICE].to_numpy(dtype=np.float64)
    if np.nanmax(share, initial=0.0) - np.nanmin(share, initial=np.inf) < FIXED_SHARE:
        return np.full(cost.shape, np.nan)
    return cost


def corridor_low(
    catalogue: pd.DataFrame,
    f: Floats,
    stock: StockValue,
    demand: DemandModel,
    data: DemandData,
    policy: PricingPolicy,
    seed: int,
) -> Floats:
    """The lowest price of the corridor of each catalogue row, money (N,).

    The corridor stands where the mean profit over sampled customers is largest; every price, the fallback to list
    included, is held inside it by the guardrails.
    """
    market = MarketContext.of(catalogue)
    cost, ageing = counted_cost(market, stock.sales_rate)
    bounds = price_bounds(
        policy.limits,
        list_price=market.list_price,
        unit_cost=floor_cost(cost, ageing),
        map_price=market.map_price,
        msrp=market.msrp,
        competitor_price=market.competitor_price,
    )
    return fit_corridor(
        demand,
        sample_shoppers(demand, data, seed=seed),
        reference=reference_price(f, market.list_price, market.competitor_price, policy.reference_weights),
        cost=cost,
        lo=bounds.lo,
        hi=bounds.hi,
        rho=policy.limits.corridor_ratio,
    )


def write_profile(folder: Path, known: pd.DataFrame, seed: int) -> None:
    """Price a sample of training pages with the finished model and keep what they looked like."""
    model = load_pricing_model(folder, verify=False)
    sample = sample_pages(known, PROFILE_PAGES, seed)
    vectors = query_vectors(model, sample)
    quotes = shadow_quotes(
        list(shadow_pages(model, sample, vectors)), with_users=True
    )  # hashed to buckets in the profile
    embedded = np.stack(list(vectors.values())).astype(np.float64) if vectors else None
    build_profile(sample, quotes, embedded, seed=seed).save(folder / PROFILE)


def summary(model: DemandModel) -> dict[str, Any]:
    """What a summary shows of the demand fit."""
    slopes = model.coefficients()
    return {"beta": slopes["beta"], "kappa": slopes["kappa"], "not_priced": int((~model.correction.priced).sum())}
