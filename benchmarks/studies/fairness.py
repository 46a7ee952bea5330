"""What a price corridor costs and how well unfairness is detected, on simulated shops and logs whose truth is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.result import Result, Row, share_row
from benchmarks.serving.catalogue import small_shop
from fairtag.base import schema
from fairtag.base.normal import Z95
from fairtag.base.types import Reason, Status
from fairtag.data.point_in_time import training_set
from fairtag.demand.demand_data import DemandData
from fairtag.evaluation.kill_test import confounder_kill_test
from fairtag.fairness import fixed_effects as fe
from fairtag.fairness.audit import audit
from fairtag.fairness.audit_limits import AuditLimits
from fairtag.fairness.sequential import SequentialState, look
from fairtag.model.capabilities import ALL
from fairtag.model.pricing_model import PricingModel, load_pricing_model
from fairtag.page.pricing import PageInputs, price_page
from fairtag.policy.context import UserContext
from fairtag.simulator.shop_design import ShopSize
from fairtag.simulator.simulation import PlantedDemand, simulate_shop
from fairtag.stock.shadow_prices import counted_cost
from fairtag.training.corridors import place_corridors
from fairtag.training.inputs import demand_inputs, fit_part

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RHOS = (1.02, 1.05, 1.10, 1.15, 1.25, 1.50)
WIDEST = 100.0  # a corridor that no price meets
DEMO = ShopSize()
DISCOUNTS = np.arange(1, 31) / 100  # of all items alike, of which the best one on the priced pages is compared
HELD_OUT = 600  # held-out pages that are priced at each width
REPLICATES = 1_000
PLACE, DAY = "US-NY", 20_620  # where and when personal prices are lawful
LOGS, USERS, VISITS = 100, 400, 30  # simulated quote logs for each planted gap, and their size
GAPS = (0.0, 0.01, 0.02, 0.04)
STREAMS, HOURS, ALPHA = 200, 72, 0.05
KILLS = 40
BIG_USERS, BIG_VISITS = 50_000, 20
FAST = AuditLimits(replicates=299, permutations=199)


def run() -> Result:
    """The corridor on held-out pages, the audit on planted gaps, hourly looks, the kill test, and a large audit."""
    notes = (
        f"Corridors: the demo shop's model (untuned encoder) prices {HELD_OUT} held-out pages, valued under the "
        "planted demand. Profit counts what prices count: stock that will not sell before its life ends costs its "
        "salvage value. Real customers may differ less or more, and the figures change with them.",
        "kept_rho_R: share of the uplift over list, without a corridor, that is kept where the highest price of an "
        "item is R times its lowest; above 1 where a corridor keeps learned prices from going too far.",
        "uniform_over_list: one discount for all items, the best of 1 % to 30 % in hindsight on the same pages.",
        "Intervals: 95 %, bootstrap over pages.",
        f"Audit rates: over {LOGS} logs of {USERS} customers with {VISITS} quotes each, in two groups. An alarm is a "
        "warning (surely beyond 0.5 %) or urgent (surely beyond 2 %, so hardly ever at 2 %).",
        f"Peeking: {HOURS} hourly looks at a log without a gap; an alarm at any of them counts.",
    )
    with TemporaryDirectory() as folder:
        corridors = tuple(corridor_rows(open_shop(Path(folder), DEMO, HELD_OUT)))
    rows = (
        *corridors,
        *(row for gap in GAPS for row in audit_rows(gap)),
        *peeking_rows(),
        *kill_rows(),
        audit_time_row(),
    )
    return Result(rows, notes)


@dataclass(frozen=True)
class Shop:
    """A model, the pages that it was fitted on, and later pages (pages, items of a page) to price.

    Args:
        model: The model folder.
        planted: The truth.
        data: The training pages.
        items: Catalogue rows of the later pages.
        similarity: Their latent relevance.
        behaviour: (pages, k) of their customers.
    """

    model: PricingModel
    planted: PlantedDemand
    data: DemandData
    items: Ints
    similarity: Floats
    behaviour: Floats

    def profit(self, price: Floats) -> Floats:
        """(pages,) expected profit under the truth at prices in money, at the costs that prices count."""
        cost = counted_cost(self.model.market, self.model.estimates.sales_rate)[0][self.items]
        return self.planted.profit(self.items, self.similarity, self.behaviour, price / self.listed, cost)

    @property
    def listed(self) -> Floats:
        """List price of each item of the pages, money."""
        listed: Floats = self.planted.catalogue.list_price[self.items]
        return listed

    def at_width(self, rho: float) -> PricingModel:
        """The model with corridors of a width, placed anew."""
        policy = self.model.policy
        limits = replace(policy.limits, corridor_ratio=rho)
        model = replace(self.model, policy=replace(policy, limits=limits, exploration=0.0))
        low = place_corridors(model, self.data)
        return replace(model, estimates=replace(model.estimates, corridor_low=low))


def open_shop(folder: Path, size: ShopSize, pages: int) -> Shop:
    """Simulate a shop, fit a model on its training pages, and draw later pages."""
    model = replace(load_pricing_model(small_shop(folder, size), verify=False), capabilities=ALL)
    simulated = simulate_shop(size, seed=0)
    fitted = fit_part(training_set(simulated.tables))
    data = demand_inputs(
        fitted,
        model.catalogue,
        model.embeddings,
        model.encoder,
        model.price_model,
        model.policy,
        nest=model.demand.nest,
    )
    planted, first = simulated.planted, len(fitted) // size.page_size
    later = np.arange(first, size.pages)
    drawn = np.random.default_rng(0).choice(later, min(pages, later.size), replace=False)
    items, similarity = (x.reshape(-1, size.page_size)[drawn] for x in (planted.item_row, planted.similarity))
    return Shop(model, planted, data, items, similarity, planted.behaviour[drawn])


def corridor_rows(shop: Shop) -> Iterator[Row]:
    """Share of the uplift kept by corridors of each width on whole pages, and how often the corridor binds."""
    at_list = shop.profit(shop.listed)
    free = shop.profit(priced_pages(shop, WIDEST)[0])
    uniform = max((shop.profit(shop.listed * (1 - cut)) for cut in DISCOUNTS), key=np.mean)
    yield _gain("uplift_over_list", free, at_list, at_list)
    yield _gain("uniform_over_list", uniform, at_list, at_list)
    yield _gain("uplift_over_uniform", free, uniform, at_list)
    for rho in RHOS:
        price, bound, away = priced_pages(shop, rho)
        value = shop.profit(price)
        yield _kept(f"kept_rho_{rho:.2f}", value, at_list, free, ">= 0.93" if rho == 1.25 else None)
        if rho == shop.model.policy.limits.corridor_ratio:
            yield Row("corridor_binds", bound, unit="share of quotes", reference="< 0.4")
            yield Row("list_outside_where_shown", away, unit="share of quotes", reference=0.0)


def priced_pages(shop: Shop, rho: float) -> tuple[Floats, float, float]:
    """Prices of the later pages in money; shares of quotes that the corridor bounds, and that it keeps below list.

    Everything is in stock: what cannot be bought is no quote.
    """
    model = shop.at_width(rho)
    market = replace(model.market, stock=np.where(model.market.stock <= 0, np.nan, model.market.stock))
    pages = [
        price_page(model, PageInputs(rows, None, _customer(number, z), DAY, market=market.rows(rows))).items
        for number, (rows, z) in enumerate(zip(shop.items, shop.behaviour, strict=True))
    ]
    quotes = [item for page in pages for item in page]
    price = np.array([item.price_minor for item in quotes]) / model.policy.limits.minor_per_unit
    bound = np.mean([Reason.FAIRNESS_CORRIDOR in item.reasons for item in quotes])
    unsure = [Reason.LOW_CONFIDENCE_LIST in item.reasons for item in quotes]
    below = [item.price_minor < item.list_price_minor for item in quotes]
    return price.reshape(shop.items.shape), float(bound), float(np.mean(np.logical_and(unsure, below)))


def _customer(number: int, behaviour: Floats) -> UserContext:
    known = {name: float(v) for name, v in zip(schema.USER_PRICING_FEATURES, behaviour, strict=True) if np.isfinite(v)}
    return UserContext(f"customer-{number}", known or None, jurisdiction=PLACE)


def _gain(metric: str, value: Floats, base: Floats, whole: Floats) -> Row:
    """What ``value`` earns above ``base``, (pages,) each, as a share of ``whole``, with its bootstrap interval."""
    draws = _draws(len(value))
    low, high = np.quantile((draws @ (value - base)) / (draws @ whole), (0.025, 0.975))
    return Row(metric, float((value - base).sum() / whole.sum()), float(low), float(high), "share of profit at list")


def _draws(pages: int) -> Ints:
    """(REPLICATES, pages) how often each page is drawn."""
    return np.random.default_rng(0).multinomial(pages, np.full(pages, 1 / pages), REPLICATES)


def _kept(metric: str, value: Floats, base: Floats, best: Floats, reference: str | None) -> Row:
    """Share of the gain from ``base`` to ``best`` that is kept, (pages,) each, with its bootstrap interval."""
    draws = _draws(len(value))
    share = (draws @ (value - base)) / (draws @ (best - base))
    low, high = np.quantile(share, (0.025, 0.975))
    kept = (value - base).sum() / (best - base).sum()
    return Row(metric, float(kept), float(low), float(high), "share of uplift", reference)


def audit_rows(gap: float, logs: int = LOGS) -> Iterator[Row]:
    """How often a planted gap raises an alarm, and how often its interval covers it."""
    alarms = urgent = covered = 0
    for seed in range(logs):
        quotes, groups = quote_log(seed, gap, USERS, VISITS)
        findings = audit(quotes, groups, seed=seed, limits=FAST).findings
        member = next(finding for finding in findings if finding.group == "b")
        alarms += any(finding.status in (Status.WARN, Status.URGENT) for finding in findings)
        urgent += any(finding.status is Status.URGENT for finding in findings)
        covered += member.low <= np.log1p(gap) <= member.high
    label = f"{gap:.0%}".replace("%", "pct")
    yield share_row(f"audit_alarm_at_{label}", alarms, logs)
    yield share_row(f"audit_urgent_at_{label}", urgent, logs)
    yield share_row(f"audit_coverage_at_{label}", covered, logs, reference=FAST.confidence)


def quote_log(seed: int, gap: float, users: int, visits: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Quotes of customers with discounts of their own, and of a group that pays more; prices too high for rounding."""
    rng = np.random.default_rng(seed)
    items = max(40, users // 25)
    member = rng.random(users) < 0.4
    user = np.repeat(np.arange(users), visits)
    item = rng.integers(0, items, len(user))
    listed = rng.integers(20_000, 90_000, items)[item]
    own = rng.normal(0, 0.015, users)[user]
    noise = rng.normal(0, 0.02, (items, users % 997 + 1))[
        item, user % (users % 997 + 1)
    ]  # the same for a customer and item at every visit
    relative = -0.12 + own + noise + np.log1p(gap) * member[user]
    quotes = pd.DataFrame(
        {
            schema.USER_KEY: user.astype(str),
            schema.ITEM_ID: item.astype(str),
            schema.EPOCH: rng.integers(0, 4, len(user)),
            schema.LIST_PRICE_MINOR: listed,
            schema.PRICE_MINOR: np.rint(listed * np.exp(np.minimum(relative, 0.0))).astype(np.int64),
        }
    )
    group = np.where(member, "b", "a")
    groups = pd.DataFrame({schema.USER_KEY: np.arange(users).astype(str), schema.ATTRIBUTE: "x", schema.GROUP: group})
    return quotes, groups


def peeking_rows(streams: int = STREAMS) -> Iterator[Row]:
    """False alarms of hourly looks: the sequential test, and a fixed test repeated."""
    sequential = fixed = 0
    for seed in range(streams):
        state, peeked = SequentialState(), False
        for estimate, error in hourly_gaps(seed):
            state = look(state, estimate, error, scale=0.01, confidence=1 - ALPHA)
            peeked |= abs(estimate) > Z95 * error
        sequential += state.p_value <= ALPHA
        fixed += peeked
    yield share_row("peeking_false_alarm_sequential", sequential, streams, reference=ALPHA)
    yield share_row("peeking_false_alarm_fixed", fixed, streams, reference=ALPHA)


def hourly_gaps(seed: int, users: int = 400, an_hour: int = 60) -> Iterator[tuple[float, float]]:
    """Running estimates of a gap that is zero, hour by hour, with returning customers."""
    rng = np.random.default_rng(seed)
    group = rng.random(users) < 0.4
    user = rng.integers(0, users, HOURS * an_hour)
    stratum = rng.integers(0, 20, len(user)) + 20 * (np.arange(len(user)) // (24 * an_hour))
    outcome = rng.normal(0, 0.01, users)[user] + rng.normal(0, 0.03, len(user))
    for hour in range(4, HOURS + 1):
        seen = slice(0, hour * an_hour)
        estimate = fe.gap(fe.panel(user[seen], stratum[seen], outcome[seen]), group)
        yield estimate.value, estimate.standard_error


def kill_rows(seeds: int = KILLS) -> Iterator[Row]:
    """How often the launch gate accepts a sound log of better prices, and notices a confounder left out of it."""
    results = [confounder_kill_test(seed=seed) for seed in range(seeds)]
    yield share_row("kill_test_sound_log_accepted", sum(result.complete.passes for result in results), seeds)
    yield share_row("kill_test_confounder_caught", sum(result.caught for result in results), seeds, reference=1.0)


def audit_time_row(users: int = BIG_USERS, visits: int = BIG_VISITS) -> Row:
    """Seconds to audit two groups on a large log with the default number of resamples."""
    quotes, groups = quote_log(0, 0.0, users, visits)
    start = time.perf_counter()
    audit(quotes, groups, seed=0)
    return Row(f"audit_seconds_{len(quotes)}_quotes", time.perf_counter() - start, unit="s")
