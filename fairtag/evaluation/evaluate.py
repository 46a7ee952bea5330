"""The evaluation as a table of contents: score both models on one hold-out, run the gates, make the decision."""

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
from fairtag.evaluation import calibration_gate as demand_part
from fairtag.evaluation.behaviour_gate import behaviour_gates, requests
from fairtag.evaluation.budget_gate import budget_gates
from fairtag.evaluation.fairness_gate import (
    audit_shadow,
    crossed_quotes,
    gap_gate,
    price_by_group,
    promises_gate,
    proxy_figures,
)
from fairtag.evaluation.held_out_demand import Judgement, Trial, fit_judges, judge, make_trial
from fairtag.evaluation.index_gate import index_figures
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.price_gate import PriceAccuracy, price_gates, score_prices
from fairtag.evaluation.relevance_gate import Relevance, relevance_gate, score_relevance
from fairtag.evaluation.value_gate import PolicyPrices, offer_figures, uplift_figures, value_gates
from fairtag.model.decision import GateResult, make_decision
from fairtag.model.pricing_model import PricingModel, load_pricing_model
from fairtag.page.held_out import ShadowPage, query_vectors, sample_pages, shadow_pages, shadow_quotes
from fairtag.training.inputs import fit_part

__all__ = ["EvaluationLimits", "evaluate"]

Floats = NDArray[np.float64]
Progress = Callable[[str], None]

PRICE_MENU = "price_menu"  # metadata: the levels of list price that logged prices were drawn from


@dataclass(frozen=True)
class Scored:
    """One model on the hold-out."""

    model: PricingModel
    relevance: Relevance
    prices: PriceAccuracy
    calibration: Calibration
    pages: list[ShadowPage]
    vectors: dict[str, NDArray[np.float32]]

    def policy(self, name: str, trial: Trial) -> PolicyPrices:
        """The model's prices on the trial's impressions."""
        priced = {
            (shadow.page_id, item.item_id): (item.price_minor, item.low_minor)
            for shadow in self.pages
            for item in shadow.page.items
        }
        keys = zip(trial.rows[schema.PAGE_ID], trial.rows[schema.ITEM_ID], strict=True)
        money = np.array([priced[str(page), item] for page, item in keys], dtype=np.float64)
        money /= self.model.policy.limits.minor_per_unit
        return PolicyPrices(name, money[:, 0], money[:, 1])

    def figures(self) -> dict[str, Any]:
        """What the report shows of it."""
        return {
            "version": self.model.version,
            "relevance": self.relevance.figures(),
            "search_index": index_figures(self.model, self.vectors),
            "price": self.prices.figures(),
            "demand": demand_part.figures(self.calibration),
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
    """Score the challenger, and the champion where there is one, on the same hold-out.

    Args:
        challenger: Model folder on trial.
        champion: Model folder in force, None when there is none.
        tables: The shop.
        training_set: Impressions with their features, hold-out included.
        seed: Seed of every draw.
        limits: Thresholds.
        quotes_out: Given the challenger's shadow quotes, whose user_key holds the user id: hash it before it is kept.
        progress: Told what is being done.

    Returns:
        The decision document.

    Raises:
        ModelFolderError: A model folder is missing, was altered, or is a champion of another version of this code.
        DecisionError: No item of the hold-out is in both catalogues.
    """
    limits = limits or EvaluationLimits()
    new = load_pricing_model(challenger)
    old = _champion(champion) if champion else None
    hold_out = _hold_out(training_set, [new] + ([old] if old else []))
    sample = sample_pages(hold_out, limits.pages, seed)
    scored = _score(new, tables, training_set, hold_out, sample, progress)
    rival = _score(old, tables, training_set, hold_out, sample, progress) if old else None
    progress("fit independent judges on the hold-out")
    judgement = _judgement(scored, hold_out, sample, seed)
    prices = scored.policy("challenger", judgement.trial) if judgement else None
    rival_prices = rival.policy("champion", judgement.trial) if judgement and rival else None
    quotes = shadow_quotes(scored.pages, with_users=True)
    if quotes_out:
        quotes_out(quotes)
    progress("audit shadow prices and try the model's behaviour")
    crossed = crossed_quotes(new, hold_out, query_vectors(new, hold_out), limits, seed)
    report = audit_shadow(crossed, tables.audit_groups, seed)
    tried = requests(new, scored.pages, scored.vectors)
    menu = _menu(tables)
    gates: list[GateResult] = [
        relevance_gate(scored.relevance, rival.relevance if rival else None, limits.relevance_margin, seed),
        *price_gates(scored.prices, limits.coverage, limits.coverage_slack, seed),
        demand_part.demand_gate(scored.calibration, limits),
        *value_gates(judgement, prices, rival_prices, menu, limits, seed),
        promises_gate([quotes, crossed], new.policy.limits),
        gap_gate(report),
        *behaviour_gates(new, scored.pages, tried),
        *budget_gates(new, tried, list(scored.vectors), limits),
    ]
    metrics = {
        "evidence": "randomised prices" if menu is not None else "observational",
        "dataset": str(tables.metadata.get("dataset", "")),
        "provenance": tables.metadata.get("provenance", {}),
        "challenger": {
            **scored.figures(),
            **_offers(judgement, prices),
            "groups_told_by_pricing_features_auc": proxy_figures(hold_out, tables.audit_groups, seed),
        },
        "champion": {**rival.figures(), **_offers(judgement, rival_prices)} if rival else None,
        "charts": {
            "calibration": demand_part.bins(scored.calibration),
            "price_scatter": scored.prices.scatter(),
            "price_by_group": price_by_group(crossed, tables.audit_groups, report),
            "uplift": _uplift(judgement, prices, rival_prices, seed),
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
    """The model in force; one that cannot be read is never taken for none, which would let any challenger in."""
    try:
        model = load_pricing_model(path)
        _ = model.search  # opened late elsewhere: what an older version of this code did not write must show here
    except ModelFolderError as error:
        raise ModelFolderError(
            f"the champion cannot be read, so nothing can be held against it ({error}); to judge the next model by its "
            "own gates alone, take the alias champion from that version in the registry"
        ) from error
    return model


def _hold_out(training_set: pd.DataFrame, models: list[PricingModel]) -> pd.DataFrame:
    """Impressions after the cut whose item every model knows."""
    late = training_set[time_split(training_set).part(training_set[schema.TS], "hold_out")]
    for model in models:
        late = late[late[schema.ITEM_ID].isin(model.row_of)]
    if late.empty:
        raise DecisionError("no held-out impression shows an item of the model's catalogue; nothing can be judged")
    return late


def _score(
    model: PricingModel,
    tables: Tables,
    training_set: pd.DataFrame,
    hold_out: pd.DataFrame,
    sample: pd.DataFrame,
    progress: Progress,
) -> Scored:
    progress(f"score model {model.version} on {sample[schema.PAGE_ID].nunique():,} hold-out pages")
    fitted: DemandData = demand_part.inputs_of(model, fit_part(training_set))
    vectors = query_vectors(model, sample)
    return Scored(
        model=model,
        relevance=score_relevance(model, tables.judgements),
        prices=score_prices(model),
        calibration=demand_part.score_demand(model, demand_part.inputs_of(model, hold_out), fitted),
        pages=list(shadow_pages(model, sample, vectors)),
        vectors=vectors,
    )


def _judgement(scored: Scored, hold_out: pd.DataFrame, sample: pd.DataFrame, seed: int) -> Judgement | None:
    judges = fit_judges(scored.model, hold_out)
    if judges is None:
        return None
    return judge(make_trial(scored.model, sample, scored.vectors), judges, seed)


def _uplift(
    judgement: Judgement | None, challenger: PolicyPrices | None, champion: PolicyPrices | None, seed: int
) -> list[dict[str, Any]]:
    if judgement is None or challenger is None:
        return []
    logged = judgement.trial.rows[schema.PRICE].to_numpy(dtype=np.float64)
    policies = [challenger, *([champion] if champion else []), PolicyPrices("prices as logged", logged, logged)]
    return uplift_figures(judgement, policies, seed)


def _offers(judgement: Judgement | None, prices: PolicyPrices | None) -> dict[str, Any]:
    return {"offers": offer_figures(judgement.trial, prices)} if judgement and prices else {}


def _menu(tables: Tables) -> Floats | None:
    levels = tables.metadata.get(PRICE_MENU)
    return None if levels is None else np.asarray(levels, dtype=np.float64)


def _name(model: PricingModel) -> dict[str, str]:
    return {"version": model.version, "model_digest": str(model.manifest["digest"])}
