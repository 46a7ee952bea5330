"""Are the challenger's prices fair, before anyone has paid one? Guarantees and group gaps on shadow quotes.

The audit table is read as the fairness monitor reads it: only a gate result and the means of large groups leave this
module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.normal import Z95
from fairtag.base.types import Status
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.fairness.audit import AuditReport, audit
from fairtag.fairness.audit_limits import AuditLimits
from fairtag.fairness.invariants import check_invariants, violations
from fairtag.fairness.proxy import NOT_CHECKED, ProxyFinding, ProxyLimits, proxy_check
from fairtag.model.decision import GateResult, GateStatus
from fairtag.model.pricing_model import PricingModel
from fairtag.page.held_out import JURISDICTION, sample_pages, until_lawful, user_of
from fairtag.page.pricing import PageInputs, price_page
from fairtag.page.quote_rows import Record, quote_frame, quote_record
from fairtag.policy.context import MarketContext
from fairtag.policy.disclosure import read_disclosures
from fairtag.policy.guardrails import GuardrailLimits
from fairtag.policy.shop_policy import ShopPolicy


def guarantees_gate(logs: Sequence[pd.DataFrame], limits: GuardrailLimits) -> GateResult:
    """Corridor, list, floor, ceiling, disclosure, opt-out and price locks hold for every shadow quote of each log."""
    rule = "no quote outside its corridor, list, floor or ceiling, without its disclosure, or unlike an earlier quote"
    if all(log.empty for log in logs):
        return GateResult("price_guarantees", None, rule, "could not tell", note="no hold-out page could be priced")
    table = read_disclosures()
    rho, markup = limits.corridor_ratio, limits.markup
    checked = [check_invariants(log, rho=rho, markup=markup, disclosures=table) for log in logs]
    broken = [breach for found in checked for breach in violations(found)]
    prices = sum(map(len, logs))
    count = sum(entry.count for entry in broken)
    note = "; ".join(f"{entry.rule}: {entry.count}, such as {entry.examples[0]}" for entry in broken)
    status: GateStatus = "fail" if broken else "pass"
    return GateResult(
        "price_guarantees", float(count), rule, status, threshold=0.0, note=note or f"{prices} prices checked"
    )


def cross_quotes(
    model: PricingModel,
    hold_out: pd.DataFrame,
    vectors: Mapping[str, NDArray[np.float32]],
    limits: EvaluationLimits,
    seed: int,
    policy: ShopPolicy | None = None,
) -> pd.DataFrame:
    """Price a few pages for many customers, so that each item and price day has quotes of every group.

    A held-out page was seen by one customer, and its prices cannot be compared with anybody's. Here each of a few pages
    is priced, on a price day of its own, for every customer of a sample as they were at their last held-out page.
    """
    known = hold_out[hold_out[schema.ITEM_ID].isin(model.row_of)]
    pages = sample_pages(known, limits.audit_pages, seed)
    users = known.drop_duplicates(schema.USER_ID, keep="last")
    users = users.sample(min(limits.audit_users, len(users)), random_state=seed)
    ts = pd.Timestamp(known[schema.TS].max()) + until_lawful(known[schema.TS], JURISDICTION)
    day = model.policy.epoch_of(ts.timestamp())
    records: list[Record] = []
    for number, (page_id, logged) in enumerate(pages.groupby(schema.PAGE_ID, sort=True)):
        query = logged[schema.QUERY].iloc[0] or None
        items = np.array([model.row_of[item] for item in logged[schema.ITEM_ID]], dtype=np.int64)
        market = MarketContext.of(logged)
        for _, user in users.iterrows():
            inputs = PageInputs(
                items,
                vectors.get(query) if query else None,
                user_of(user, JURISDICTION),
                day + number,
                market=market,
                policy=policy,
            )
            who = str(user[schema.USER_ID])
            records.append(
                quote_record(
                    price_page(model, inputs),
                    quote_id=f"{page_id}/{who}",
                    ts=ts.value // 1_000,
                    task="search",
                    user_key=who,
                    query=query,
                )
            )
    return quote_frame(records)


def audit_quotes(quotes: pd.DataFrame, groups: pd.DataFrame | None, seed: int) -> AuditReport | None:
    """Audit shadow quotes whose user_key is the user id; None without an audit table."""
    if groups is None or groups.empty:
        return None
    return audit(quotes, groups.rename(columns={schema.USER_ID: schema.USER_KEY}), seed=seed)


def gap_gate(report: AuditReport | None, limits: AuditLimits | None = None) -> GateResult:
    """No audited group pays so much more, or gets discounts so much less often, that a monitor would call it urgent."""
    limits = limits or AuditLimits()
    rule = (
        f"no audited group with a price gap surely beyond {limits.urgent:.0%}, "
        f"or surely fewer than {limits.access:.0%} of the others' offers below list"
    )
    if report is None:
        return GateResult("price_gaps", None, rule, "not applicable", note="the data have no audit groups")
    told = [finding for finding in report.findings if finding.status is not Status.UNKNOWN]
    if not told:
        return GateResult("price_gaps", None, rule, "could not tell", note=_why_undecided(report))
    worst = max(told, key=lambda finding: abs(finding.gap))
    urgent = [finding for finding in told if finding.status is Status.URGENT]
    silent = len(report.findings) - len(told)
    note = "; ".join(f"{finding.attribute} {finding.group}: {finding.why}" for finding in urgent)
    note = note or f"largest gap: {worst.attribute} {worst.group}"
    return GateResult(
        "price_gaps",
        float(worst.gap),
        rule,
        "fail" if urgent else "pass",
        threshold=limits.urgent,
        low=_finite(worst.low),
        high=_finite(worst.high),
        note=f"{note}; {len(told)} groups compared" + (f", {silent} without a sure answer" if silent else ""),
    )


def _why_undecided(report: AuditReport) -> str:
    """What it would take to tell the gap of at least one group."""
    needed = [(finding.needed, finding.users) for finding in report.findings if finding.needed is not None]
    if not needed:
        return "no group has enough priced impressions; evaluate on more held-out customers"
    most, users = min(needed)
    return (
        f"no group's gap is known well enough: about {most:,} customers of one are needed, {users:,} were priced; "
        "raise evaluation.audit_users, or bring more held-out customers"
    )


def proxy_findings(
    hold_out: pd.DataFrame | None, groups: pd.DataFrame | None, limits: EvaluationLimits, seed: int
) -> tuple[ProxyFinding, ...]:
    """How well the pricing features of held-out customers tell each group; nothing without pages or groups."""
    if hold_out is None or groups is None or groups.empty:
        return ()
    newest = hold_out.sort_values(schema.TS, kind="stable").drop_duplicates(schema.USER_ID, keep="last")
    named = {schema.USER_ID: schema.USER_KEY}
    rules = ProxyLimits(block_above=limits.proxy_auc)
    return proxy_check(newest.rename(columns=named), groups.rename(columns=named), seed=seed, limits=rules)


def proxy_figures(found: Sequence[ProxyFinding]) -> dict[str, float]:
    """AUC of each group that was checked; 0.5: the features do not tell it at all."""
    return {f"{one.attribute}: {one.group}": one.auc for one in found if np.isfinite(one.auc)}


def proxy_gate(found: Sequence[ProxyFinding], limits: EvaluationLimits) -> GateResult:
    """No pricing feature is a protected attribute under another name.

    Features that tell a group only together are a figure of the report: they do harm through prices, which the gap gate
    compares.
    """
    rule = f"no pricing feature alone tells a protected group with an AUC surely above {limits.proxy_auc:g}"
    if not found:
        return GateResult("proxies", None, rule, "not applicable", note="not checked: the data have no audit groups")
    told = [one for one in found if one.checked != NOT_CHECKED]
    unchecked = [f"{one.attribute} {one.group} ({one.users} customers)" for one in found if one not in told]
    silent = f"; not checked: {', '.join(unchecked)}" if unchecked else ""
    if not told:
        return GateResult("proxies", None, rule, "not applicable", note=silent.removeprefix("; "))
    worst = max(told, key=lambda one: max(one.by_feature.values()))
    value = max(worst.by_feature.values())
    copies = [f"{', '.join(one.copies)} tells {one.attribute} {one.group}" for one in told if one.copies]
    note = (
        "; ".join(copies) or f"most telling: {max(worst.by_feature, key=worst.by_feature.__getitem__)}, {worst.group}"
    )
    needs = "pricing features without the copies: drop or coarsen them, and train again" if copies else ""
    return GateResult(
        "proxies",
        value,
        rule,
        "fail" if copies else "pass",
        threshold=limits.proxy_auc,
        note=note + silent,
        needs=needs,
    )


def price_by_group(
    quotes: pd.DataFrame, groups: pd.DataFrame | None, report: AuditReport | None, limits: AuditLimits | None = None
) -> list[dict[str, Any]]:
    """Mean price over list of each group large enough to be shown, for a chart; undecided groups too."""
    if groups is None or report is None:
        return []
    limits = limits or AuditLimits()
    shown = {(f.attribute, f.group) for f in report.findings if f.rows >= limits.rows and f.users >= limits.users}
    ratio = quotes[schema.PRICE_MINOR] / quotes[schema.LIST_PRICE_MINOR]
    per_user = ratio.groupby(quotes[schema.USER_KEY]).agg(["mean", "size"])
    joined = groups.merge(per_user, left_on=schema.USER_ID, right_index=True)
    rows = []
    for (attribute, group), part in joined.groupby([schema.ATTRIBUTE, schema.GROUP], sort=True):
        if (attribute, group) not in shown:
            continue
        mean = float(np.average(part["mean"], weights=part["size"]))
        reach = Z95 * float(part["mean"].std(ddof=1) / np.sqrt(len(part)))
        rows.append(
            {
                "attribute": attribute,
                "group": group,
                "n": int(part["size"].sum()),
                "value": mean,
                "low": mean - reach,
                "high": mean + reach,
            }
        )
    return rows


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
