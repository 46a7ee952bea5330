"""Fits a model folder from a shop's tables, a training set and a trained encoder.

:func:`fit_model_folder` is the table of contents of all that is fitted: embeddings, the price model f(v), demand, the
value of stock, the fairness corridor, search, and the profile that monitoring compares with. A shop without pages gets
all but demand: its items stay at list.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import ConfigError
from fairtag.base.files import directory_atomic, save_arrays, write_json
from fairtag.base.money import currency
from fairtag.base.tables import Tables
from fairtag.base.text import item_texts
from fairtag.data.splits import PRODUCT_SALT, held_out
from fairtag.demand.config import DemandConfig
from fairtag.demand.demand_data import Assortment, DemandData
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.elasticity import check_elasticity, with_cross_check
from fairtag.demand.fit import fit_demand
from fairtag.demand.nests import near_identical
from fairtag.demand.prior import prior_demand
from fairtag.encoder.encoder import REPORT, EncoderDescription, TextEncoder, describe_encoder, load_encoder
from fairtag.encoder.out_of_fold import OUT_OF_FOLD, read_out_of_fold
from fairtag.encoder.vocabulary import whole_words
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
    ItemEstimates,
    PricingModel,
    load_pricing_model,
)
from fairtag.page.catalogue_pages import catalogue_pages
from fairtag.page.held_out import query_vectors, sample_pages, shadow_pages, shadow_quotes
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import from_document
from fairtag.price_model.learners import PriceModelConfig
from fairtag.price_model.price_model import MIN_ITEMS, PriceModel, fit_price_model
from fairtag.profile.builder import build_profile
from fairtag.training.corridors import place_corridors
from fairtag.training.covariates import choose_covariates, with_covariates
from fairtag.training.equal_items import with_equal_estimates
from fairtag.training.inputs import demand_inputs, fit_part, why_no_demand
from fairtag.training.page_values import page_values
from fairtag.training.search import fit_search
from fairtag.training.stock import unpriced_stock, value_stock

Progress = Callable[[str], None]

PROFILE_PAGES = 1_500  # training pages priced for the reference profile: about 36,000 quotes


@dataclass(frozen=True)
class Lineage:
    """Where a model folder comes from.

    Args:
        data_fingerprint: Fingerprint of the tables.
        code_version: Version of the code that built it.
        created_at: ISO 8601 time of the build.
        dataset: Name of the data set.
        run_id: Pipeline run; empty when there is none.
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
    demand: DemandConfig | None = None,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> Path:
    """Fit everything but the encoder and write the model folder, whole or not at all.

    Args:
        tables: The shop; its newest item snapshots are the catalogue.
        training_set: Impressions with their features as known when each page was shown, hold-out included; no rows
            where the shop has no pages.
        encoder_dir: Folder of the trained encoder, which is copied into the model folder.
        out: The model folder; replaced if it exists.
        lineage: Where the model folder comes from.
        policy: What the shop allows; that of :func:`shop_policy` when None.
        demand: Priors and checks of the demand model; the defaults when None.
        seed: Seed of every draw.
        progress: Called with a line for each part.

    Raises:
        DataError: There are no rows left to fit on.
        NotConverged: A fit stopped short of its optimum.
    """
    policy, config = policy or shop_policy(tables), demand or DemandConfig()
    catalogue = tables.latest_items()
    progress(f"encode {len(catalogue):,} items")
    encoder, description = load_encoder(encoder_dir), describe_encoder(encoder_dir)
    embeddings = encoder.encode(item_texts(catalogue), "item")
    why = why_no_demand(training_set)
    fitted = training_set.iloc[:0] if why else fit_part(training_set)
    progress("index the embeddings and the words, and fit the re-ranker")
    queries = [query for query in fitted[schema.QUERY].dropna().unique() if query]
    search = fit_search(
        catalogue,
        embeddings,
        tables.judgements,
        encoder,
        description,
        queries,
        seed,
        read_out_of_fold(encoder_dir),
        whole_words(encoder_dir),
    )
    as_served = search.reader(currency(policy.currency)).text
    progress("fit the price model f(v)")
    price_model = fit_prices(catalogue, embeddings, seed)
    prices = price_model.predict(embeddings, catalogue)
    if why:
        progress(f"no demand is learned, items stay at list price: {why}")
        model = prior_demand(Assortment.of(catalogue, embeddings), why, config)
        data, stock = None, unpriced_stock(catalogue, tables.orders)
    else:
        progress(f"fit demand on {len(training_set):,} impressions")
        data, model = _learn_demand(fitted, catalogue, embeddings, encoder, price_model, policy, as_served, config)
        progress("cross-check elasticities by double machine learning")
        model = with_cross_check(model, check_elasticity(model, data, config, seed=seed))
        progress("price the stock until it is replenished")
        stock = value_stock(fitted, data, model, catalogue, prices.price, policy, tables.orders)
    progress("value the pages and place the fairness corridors")
    nowhere = np.full(len(catalogue), np.nan)
    estimates = ItemEstimates(prices.price, prices.low, prices.high, nowhere, stock.shadow, stock.sales_rate, nowhere)
    unplaced = PricingModel(out, {}, policy, encoder, catalogue, embeddings, model, price_model, estimates)
    unplaced = with_equal_estimates(unplaced)
    estimates = replace(unplaced.estimates, page_value=page_values(unplaced, data))
    unplaced = replace(unplaced, estimates=estimates)
    estimates = replace(estimates, corridor_low=place_corridors(unplaced, data, seed=seed))
    facts = _facts(lineage, policy, len(catalogue), seed, description)
    with directory_atomic(out) as folder:
        # The report holds seconds: with it no two builds of one model would have one digest.
        shutil.copytree(encoder_dir, folder / ENCODER, ignore=shutil.ignore_patterns(REPORT, OUT_OF_FOLD))
        np.save(folder / EMBEDDINGS, embeddings, allow_pickle=False)
        catalogue.to_parquet(folder / CATALOGUE, index=False)
        save_arrays(folder, DEMAND, model.arrays(), model.metadata())
        save_arrays(folder, PRICE_MODEL, price_model.arrays(), price_model.metadata())
        save_arrays(folder, ESTIMATES, vars(estimates), {})
        search.save(folder / SEARCH)
        write_json(folder / POLICY, policy.to_json())
        write_manifest(folder, facts)
        progress("price training pages for the reference profile")
        write_profile(folder, fitted, seed)
        write_manifest(folder, facts)
    return out


def _learn_demand(
    fitted: pd.DataFrame,
    catalogue: pd.DataFrame,
    embeddings: NDArray[np.float32],
    encoder: TextEncoder,
    price_model: PriceModel,
    policy: PricingPolicy,
    as_served: Callable[[str], str],
    config: DemandConfig,
) -> tuple[DemandData, DemandModel]:
    """The training pages as the demand model reads them, and the model, with the covariates that can be told apart."""
    config, covariates = choose_covariates(fitted, config)
    nest = near_identical(embeddings, pd.factorize(catalogue[schema.CATEGORY])[0], config.nest_similarity)
    data = demand_inputs(fitted, catalogue, embeddings, encoder, price_model, policy, as_served, config, nest)
    return data, with_covariates(fit_demand(data, config), covariates)


def _facts(
    lineage: Lineage, policy: PricingPolicy, items: int, seed: int, encoder: EncoderDescription
) -> dict[str, Any]:
    """What the manifest says beside digests."""
    return {
        **vars(lineage),
        "currency": policy.currency,
        "items": items,
        "seed": seed,
        "encoder": {
            "base": encoder.base,
            "serving": encoder.serving,
            "pooling": encoder.pooling,
            "prefixes": {"query": encoder.query_prefix, "item": encoder.item_prefix},
        },
    }


def shop_policy(tables: Tables, changes: str | Mapping[str, Any] = "{}") -> PricingPolicy:
    """The default policy in the shop's currency, with a document of what differs (:mod:`fairtag.policy.shop_policy`).

    Pins, exclusions, promotions and a stop move no model: they count where the policy is live.

    Raises:
        ConfigError: A name is unknown, a value is outside its range, or the policy is in another currency than the
            tables.
    """
    given = json.loads(changes) if isinstance(changes, str) else dict(changes)
    policy = from_document(given).pricing(PricingPolicy())
    code = tables.metadata.get("currency")
    if code is None or code == policy.currency:
        return policy
    if "currency" in given:
        raise ConfigError(
            f"policy.currency is {policy.currency}, the tables are in {code} (their metadata.json says so); "
            "state one currency in both, or leave it out of the policy"
        )
    return policy.in_currency(str(code))


def fit_prices(catalogue: pd.DataFrame, embeddings: NDArray[np.float32], seed: int) -> PriceModel:
    """Fit f(v) on the products that are not held out, or on all where these would be fewer than 20."""
    used = ~held_out(catalogue[schema.ITEM_ID], PRODUCT_SALT)
    if used.sum() < MIN_ITEMS:  # too few to hold any out: nothing could be told from them
        used = np.ones(len(catalogue), dtype=bool)
    return fit_price_model(embeddings[used], catalogue[used].reset_index(drop=True), PriceModelConfig(seed=seed))


def write_profile(folder: Path, fitted: pd.DataFrame, seed: int) -> None:
    """Price a sample of training pages with the finished model and save their distribution, for monitoring.

    Without training pages those of the catalogue stand in: each item searched for by its title.
    """
    model = load_pricing_model(folder, verify=False)
    pages = catalogue_pages(model, PROFILE_PAGES, seed) if fitted.empty else fitted
    sample = sample_pages(pages, PROFILE_PAGES, seed)
    vectors = query_vectors(model, sample)
    quotes = shadow_quotes(
        list(shadow_pages(model, sample, vectors)), with_users=True
    )  # users are hashed by the profile
    embedded = np.stack(list(vectors.values())).astype(np.float64) if vectors else None
    build_profile(sample, quotes, embedded, seed=seed).save(folder / PROFILE)
