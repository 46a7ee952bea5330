"""May this policy go live? The model that serves prices its hold-out under it; nothing is trained for serving.

    decision = evaluate_policy(Path("runs/demo/live"), policy, tables, training_set)

Held-out demand models, fitted on the other half of the hold-out's customers, score the policy's prices against those of
the policy that the model was accepted with; where prices were drawn, the log itself does, too. Price promises and group
gaps are audited as those of a new model are. The document is bound to the model and to the policy by their digests, and
says nothing about the model itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DecisionError
from fairtag.base.tables import Tables
from fairtag.data.splits import time_split
from fairtag.evaluation.fairness_gate import audit_quotes, cross_quotes, gap_gate, guarantees_gate
from fairtag.evaluation.held_out_demand import HeldOutDemand, fit_held_out_models, predict_demand, read_pages
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.log_evidence import LogEvidence
from fairtag.evaluation.policy_log_gates import ACCEPTED, policy_evidence, policy_log_gates
from fairtag.evaluation.price_menu import METADATA_KEY, PriceMenu, price_menu_of
from fairtag.evaluation.value_gate import PolicyPrices, non_inferiority, uplift_figures, value_figures
from fairtag.model.decision import GateResult
from fairtag.model.policy_change import accepted_model, make_policy_decision, require_fitting
from fairtag.model.pricing_model import PricingModel, load_pricing_model
from fairtag.page.held_out import ShadowPage, query_vectors, sample_pages, shadow_pages, shadow_quotes
from fairtag.policy.shop_policy import ShopPolicy

Progress = Callable[[str], None]

THIS: Final = "this policy"
FEW_PURCHASES: Final = "the hold-out has too few purchases for a held-out demand model"


def evaluate_policy(
    model_folder: Path,
    policy: ShopPolicy,
    tables: Tables,
    training_set: pd.DataFrame,
    *,
    seed: int = 0,
    limits: EvaluationLimits | None = None,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Judge a policy with the model that serves.

    Args:
        model_folder: The model.
        policy: What may hold.
        tables: The shop.
        training_set: Impressions with their features, hold-out included.
        seed: Seed of every draw.
        limits: Thresholds; the defaults when None. ``profit_margin`` is what the policy may cost.
        progress: Called with a line for each part.

    Returns:
        The decision document (:func:`fairtag.model.policy_change.make_policy_decision`), unsigned.

    Raises:
        ConfigError: The policy needs a model that was fitted otherwise.
        DecisionError: No held-out impression shows an item of the model.
    """
    limits, accepted = limits or EvaluationLimits(), accepted_model(model_folder)
    require_fitting(policy, accepted)
    model = load_pricing_model(model_folder)
    hold_out = training_set[time_split(training_set).part(training_set[schema.TS], "hold_out")]
    hold_out = hold_out[hold_out[schema.ITEM_ID].isin(model.row_of)]
    if hold_out.empty:
        raise DecisionError("no held-out impression shows an item of the model; use the run's own training set")
    sample = sample_pages(hold_out, limits.pages, seed)
    vectors = query_vectors(model, sample)
    progress(f"price {sample[schema.PAGE_ID].nunique():,} held-out pages under both policies")
    before, after = (list(shadow_pages(model, sample, vectors, policy=each)) for each in (None, policy))
    progress("fit held-out demand models")
    models = fit_held_out_models(model, hold_out)
    demand = None if models is None else predict_demand(read_pages(model, sample, vectors), models, seed)
    progress("audit promises and groups")
    crossed = cross_quotes(model, hold_out, query_vectors(model, hold_out), limits, seed, policy=policy)
    gates, figures = [_at_list()], {}
    if model.may_price:
        gates = _value_gates(model, demand, before, after, limits, seed)
        menu = price_menu_of(training_set, tables.metadata.get(METADATA_KEY), model.policy.limits.coin.smallest)
        evidence = _evidence(model, demand, menu, before, after, limits)
        gates += policy_log_gates(evidence, limits, menu.source if demand is not None else FEW_PURCHASES)
        figures = {} if evidence is None else {"value": value_figures(evidence)}
    gates += [
        guarantees_gate([shadow_quotes(after, with_users=True), crossed], model.under(policy).policy.limits),
        gap_gate(audit_quotes(crossed, tables.audit_groups, seed)),
    ]
    figures["uplift"] = []
    if demand is not None:
        named = [page_prices(name, model, pages, demand) for name, pages in ((THIS, after), (ACCEPTED, before))]
        figures["uplift"] = uplift_figures(demand, named, seed)
    return make_policy_decision(accepted, policy, tables.fingerprint(), gates, figures)


def _evidence(
    model: PricingModel,
    demand: HeldOutDemand | None,
    menu: PriceMenu,
    before: list[ShadowPage],
    after: list[ShadowPage],
    limits: EvaluationLimits,
) -> LogEvidence | None:
    """The log of drawn prices with the prices of both policies; None where none were drawn, or too few bought."""
    if demand is None or menu.levels is None:
        return None
    new, old = (page_prices(name, model, pages, demand).price for name, pages in ((THIS, after), (ACCEPTED, before)))
    return policy_evidence(model, demand, menu.levels, new, old, limits.launch.clip)


def _value_gates(
    model: PricingModel,
    demand: HeldOutDemand | None,
    before: list[ShadowPage],
    after: list[ShadowPage],
    limits: EvaluationLimits,
    seed: int,
) -> list[GateResult]:
    """The policy loses at most a margin of the accepted policy's profit, and of that at list."""
    if demand is None:
        return [GateResult("non_inferiority", None, f"profit of {ACCEPTED}", "could not tell", note=FEW_PURCHASES)]
    own, margin = page_prices(THIS, model, after, demand), limits.profit_margin
    listed = PolicyPrices("list", demand.pages.listed)
    against = non_inferiority(demand, own, page_prices(ACCEPTED, model, before, demand), margin, seed)
    floor = non_inferiority(demand, own, listed, margin, seed)
    rule = f"profit per page not below that at list by more than {margin:.0%} (lower end of the paired 95 % interval)"
    return [against, replace(floor, name="not_below_list", rule=rule)]


def page_prices(name: str, model: PricingModel, pages: list[ShadowPage], demand: HeldOutDemand) -> PolicyPrices:
    """The prices of shadow pages for the impressions that held-out demand models score."""
    priced = {(shadow.page_id, item.item_id): item.price_minor for shadow in pages for item in shadow.page.items}
    rows = demand.pages.rows
    keys = zip(rows[schema.PAGE_ID], rows[schema.ITEM_ID], strict=True)
    minor = np.array([priced[str(page), item] for page, item in keys], dtype=np.float64)
    return PolicyPrices(name, minor / model.policy.limits.minor_per_unit)


def _at_list() -> GateResult:
    note = "the model's decision accepts no price but list, so that the policy moves none"
    return GateResult("profit_uplift", None, "profit above list prices", "not applicable", note=note)
