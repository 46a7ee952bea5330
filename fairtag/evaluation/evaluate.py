"""The evaluation as a table of contents: score both models on one hold-out, run the gates, make the decision.

decision = evaluate(challenger, champion, tables, training_set)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import DecisionError, ModelFolderError
from fairtag.base.tables import Tables
from fairtag.data.splits import time_split
from fairtag.demand.calibration import Calibration
from fairtag.demand.demand_data import DemandData
from fairtag.evaluation.behaviour_gate import behaviour_gates, page_inputs
from fairtag.evaluation.budget_gate import budget_gates
from fairtag.evaluation.calibration_gate import (
    calibration_figures,
    calibration_gate,
    inputs_of,
    reliability_bins,
    score_demand,
)
from fairtag.evaluation.demand_gate import behaviour_gate, demand_gate, kept_gate, needed_purchases
from fairtag.evaluation.fairness_gate import (
    audit_quotes,
    cross_quotes,
    gap_gate,
    guarantees_gate,
    price_by_group,
    proxy_figures,
    proxy_findings,
    proxy_gate,
)
from fairtag.evaluation.held_out_demand import (
    HeldOutDemand,
    HeldOutModels,
    HeldOutPages,
    fit_held_out_models,
    predict_demand,
    read_pages,
)
from fairtag.evaluation.index_gate import index_figures
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.log_evidence import LogEvidence, held_out_prices, log_evidence
from fairtag.evaluation.notes import special_items
from fairtag.evaluation.price_gate import PriceAccuracy, price_gates, score_prices
from fairtag.evaluation.price_menu import METADATA_KEY, PriceMenu, price_menu_of
from fairtag.evaluation.relevance_gate import Relevance, relevance_gate, score_relevance
from fairtag.evaluation.search_gate import search_gate
from fairtag.evaluation.value_gate import (
    PolicyPrices,
    non_inferiority,
    offer_figures,
    uplift_figures,
    value_figures,
    value_gates,
)
from fairtag.model.decision import GateResult, make_decision
from fairtag.model.pricing_model import PricingModel, load_pricing_model
from fairtag.page.catalogue_pages import catalogue_pages
from fairtag.page.held_out import ShadowPage, query_vectors, sample_pages, shadow_pages, shadow_quotes
from fairtag.training.inputs import fit_part, why_no_demand

Floats = NDArray[np.float64]
Progress = Callable[[str], None]

SEARCHED = 500  # items that are searched for by their title: a share of 0.9 is then known within 0.03


@dataclass(frozen=True)
class ModelScores:
    """One model's scores on the hold-out, and the pages that it priced."""

    model: PricingModel
    relevance: Relevance
    prices: PriceAccuracy
    calibration: Calibration | None
    pages: list[ShadowPage]
    vectors: dict[str, NDArray[np.float32]]

    def policy(self, name: str, pages: HeldOutPages) -> PolicyPrices:
        """The model's prices for held-out impressions."""
        priced = {
            (shadow.page_id, item.item_id): item.price_minor for shadow in self.pages for item in shadow.page.items
        }
        keys = zip(pages.rows[schema.PAGE_ID], pages.rows[schema.ITEM_ID], strict=True)
        minor = np.array([priced[str(page), item] for page, item in keys], dtype=np.float64)
        return PolicyPrices(name, minor / self.model.policy.limits.minor_per_unit)

    def figures(self) -> dict[str, Any]:
        """Figures for the report."""
        return {
            "version": self.model.version,
            "relevance": self.relevance.figures(),
            "search_index": index_figures(self.model, self.vectors),
            "price": self.prices.figures(),
            "demand": {} if self.calibration is None else calibration_figures(self.calibration),
        }


def evaluate(
    challenger: Path,
    champion: Path | None,
    tables: Tables,
    training_set: pd.DataFrame,
    *,
    seed: int = 0,
    limits: EvaluationLimits | None = None,
    quotes_out: Callable[[pd.DataFrame], object] | None = None,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Score the challenger, and the champion if there is one, on the same hold-out.

    Args:
        challenger: Model folder that may replace the champion.
        champion: Model folder in force; None when there is none.
        tables: The shop.
        training_set: Impressions with their features, hold-out included. Where demand cannot be learned from it, pages
            of the catalogue stand in and nothing about prices is accepted.
        seed: Seed of every draw.
        limits: Thresholds; the defaults when None.
        quotes_out: Called with the challenger's shadow quotes, whose user_key is the raw user id.
        progress: Called with a line for each part.

    Returns:
        The decision document.

    Raises:
        ModelFolderError: A model folder is missing or was altered, or another version of this code made the champion.
        DecisionError: No item of the hold-out is in both catalogues.
    """
    limits = limits or EvaluationLimits()
    new = load_pricing_model(challenger)
    old = _champion(champion) if champion else None
    searched = catalogue_pages(new, min(limits.pages, SEARCHED), seed)
    hold_out = None if why_no_demand(training_set) else _hold_out(training_set, [new] + ([old] if old else []))
    sample = searched if hold_out is None else sample_pages(hold_out, limits.pages, seed)
    scored = _score(new, tables, training_set, hold_out, sample, progress)
    rival = _score(old, tables, training_set, hold_out, sample, progress) if old else None
    progress("fit held-out demand models")
    models = None if hold_out is None else fit_held_out_models(new, hold_out)
    demand = predict_demand(read_pages(new, sample, scored.vectors), models, seed) if models else None
    prices = scored.policy("challenger", demand.pages) if demand else None
    rival_prices = rival.policy("champion", demand.pages) if demand and rival else None
    quotes = shadow_quotes(scored.pages, with_users=True)
    if quotes_out:
        quotes_out(quotes)
    progress("audit shadow prices and test the model's behaviour")
    crossed = quotes.iloc[:0]
    if hold_out is not None:
        crossed = cross_quotes(new, hold_out, query_vectors(new, hold_out), limits, seed)
    proxies = proxy_findings(hold_out, tables.audit_groups, limits, seed)
    report = None if hold_out is None else audit_quotes(crossed, tables.audit_groups, seed)
    tried = page_inputs(new, scored.pages, scored.vectors)
    menu = price_menu_of(training_set, tables.metadata.get(METADATA_KEY), new.policy.limits.coin.smallest)
    needs = needed_purchases(new.policy, len(new.demand.categories), tables.orders)
    progress("compare the prices with those logged, with list and with the best uniform prices")
    evidence = _evidence(new, training_set, models, menu, limits, seed)
    drawn = evidence is not None
    gates: list[GateResult] = [
        relevance_gate(scored.relevance, rival.relevance if rival else None, limits.relevance_margin, seed),
        search_gate(new, searched, limits.items_found),
        *price_gates(scored.prices, limits.coverage, limits.coverage_slack, seed, weighs=new.policy.weighs_f),
        demand_gate(new, tables.orders),
        *([calibration_gate(scored.calibration, limits)] if scored.calibration else []),
        *value_gates(
            evidence,
            demand,
            {}
            if drawn or demand is None or models is None
            else held_out_prices(new, demand.pages, models, scored.vectors),
            limits,
            seed,
            has_champion=old is not None,
            personal=new.policy.personalise,
            why=menu.source,
            needs=needs,
        ),
        *([non_inferiority(demand, prices, rival_prices, limits.profit_margin, seed)] if demand and prices else []),
        behaviour_gate(training_set),
        guarantees_gate([quotes, crossed], new.policy.limits),
        gap_gate(report),
        proxy_gate(proxies, limits),
        *behaviour_gates(new, scored.pages, tried),
        *budget_gates(new, tried, list(scored.vectors), limits),
    ]
    gates.append(kept_gate(old, gates))
    metrics = {
        "evidence": "none" if hold_out is None else "observational" if menu.levels is None else "randomised prices",
        "price_menu": menu.source,
        "notes": special_items(new, training_set, limits.near_titles),
        "dataset": str(tables.metadata.get("dataset", "")),
        "provenance": tables.metadata.get("provenance", {}),
        "challenger": {
            **scored.figures(),
            **_offers(demand, prices),
            "groups_told_by_pricing_features_auc": proxy_figures(proxies),
        },
        "champion": {**rival.figures(), **_offers(demand, rival_prices)} if rival else None,
        "charts": {
            "calibration": [] if scored.calibration is None else reliability_bins(scored.calibration),
            "price_scatter": scored.prices.scatter() if scored.prices.true.size else None,
            "price_by_group": price_by_group(crossed, tables.audit_groups, report),
            "value": value_figures(evidence) if evidence else [],
            "uplift": _uplift(demand, prices, rival_prices, seed),
        },
    }
    return make_decision(
        challenger=_name(new),
        champion=_name(old) if old else None,
        data_fingerprint=tables.fingerprint(),
        gates=gates,
        metrics=metrics,
    )


def _champion(path: Path) -> PricingModel:
    """The model in force. One that cannot be read is an error: as if there were none, any challenger would pass."""
    try:
        model = load_pricing_model(path)
        _ = (
            model.search
        )  # elsewhere it is opened late: files that an older version of this code did not write must fail here
    except ModelFolderError as error:
        raise ModelFolderError(
            f"the champion cannot be read, so nothing can be compared with it ({error}); to evaluate the next model "
            "without a champion, take the alias champion from that version in the registry"
        ) from error
    return model


def _hold_out(training_set: pd.DataFrame, models: list[PricingModel]) -> pd.DataFrame:
    """Held-out impressions whose item is in every model's catalogue."""
    late = training_set[time_split(training_set).part(training_set[schema.TS], "hold_out")]
    for model in models:
        late = late[late[schema.ITEM_ID].isin(model.row_of)]
    if late.empty:
        raise DecisionError(
            "no held-out impression shows an item that is in every model's catalogue, so nothing can be evaluated; "
            "train on the tables that the hold-out comes from"
        )
    return late


def _score(
    model: PricingModel,
    tables: Tables,
    training_set: pd.DataFrame,
    hold_out: pd.DataFrame | None,
    sample: pd.DataFrame,
    progress: Progress,
) -> ModelScores:
    kind = "hold-out" if hold_out is not None else "catalogue"
    progress(f"score model {model.version} on {sample[schema.PAGE_ID].nunique():,} {kind} pages")
    calibration = None
    if hold_out is not None and model.demand.learned:
        held: DemandData = inputs_of(model, hold_out)
        if held.bought.any():
            calibration = score_demand(model, held, inputs_of(model, fit_part(training_set)))
    vectors = query_vectors(model, sample)
    return ModelScores(
        model=model,
        relevance=score_relevance(model, tables.judgements),
        prices=score_prices(model),
        calibration=calibration,
        pages=list(shadow_pages(model, sample, vectors)),
        vectors=vectors,
    )


def _evidence(
    model: PricingModel,
    training_set: pd.DataFrame,
    models: HeldOutModels | None,
    menu: PriceMenu,
    limits: EvaluationLimits,
    seed: int,
) -> LogEvidence | None:
    """What a randomised log says about the challenger's prices; None where no prices were drawn, or too few bought."""
    if models is None or menu.levels is None or schema.PROPENSITY not in training_set:
        return None
    launch = limits.launch
    return log_evidence(
        model,
        training_set,
        models,
        menu.levels,
        query_vectors(model, training_set),
        pages=launch.pages,
        folds=launch.folds,
        seed=seed,
        clip=launch.clip,
    )


def _uplift(
    demand: HeldOutDemand | None, challenger: PolicyPrices | None, champion: PolicyPrices | None, seed: int
) -> list[dict[str, Any]]:
    if demand is None or challenger is None:
        return []
    logged = demand.pages.rows[schema.PRICE].to_numpy(dtype=np.float64)
    policies = [challenger, *([champion] if champion else []), PolicyPrices("prices as logged", logged)]
    return uplift_figures(demand, policies, seed)


def _offers(demand: HeldOutDemand | None, prices: PolicyPrices | None) -> dict[str, Any]:
    return {"offers": offer_figures(demand.pages, prices)} if demand and prices else {}


def _name(model: PricingModel) -> dict[str, str]:
    return {"version": model.version, "model_digest": str(model.manifest["digest"])}
