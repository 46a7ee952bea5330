"""How often do the gates of value decide rightly? Planted shops whose truth is known, without the encoder.

First on prices with a planted uplift, whose log is drawn again and again; then on ten shops of the demo, each with its
own fit. Items' texts become TF-IDF components, so the quality of an encoder plays no part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.result import Result, Row, share_row
from benchmarks.studies.plain_model import plain_shop
from benchmarks.studies.synthetic import text_components
from fairtag.base import schema
from fairtag.base.normal import Z95
from fairtag.data.point_in_time import training_set
from fairtag.demand.control_function import FirstStage
from fairtag.demand.demand_data import Assortment, DemandData, demand_data
from fairtag.demand.fit import fit_demand
from fairtag.evaluation.calibration_gate import calibration_gate, inputs_of, score_demand
from fairtag.evaluation.held_out_demand import fit_held_out_models, halves
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.log_evidence import LISTED, LOGGED, PERSONAL, PUBLIC, UNIFORM, LogEvidence, log_evidence
from fairtag.evaluation.page_value import PageLog, predicted
from fairtag.evaluation.uniform_price import best_discounts, uniform_price
from fairtag.evaluation.value_gate import off_policy_gates
from fairtag.model.capabilities import PASSING, PERSONAL_PRICES, UNIFORM_PRICES, capability_of
from fairtag.model.decision import GateResult
from fairtag.simulator.simulation import DEFAULT, Effects, PlantedDemand, ShopDesign, SimulatedShop, simulate_shop
from fairtag.simulator.traffic import MENU, MENU_WEIGHTS, MIN_MARGIN
from fairtag.solver.page_solver import solve_pages
from fairtag.training.inputs import fit_part

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOGS, JUDGES = 80, 6  # logs drawn of each kind, and held-out demand models that take turns on them
LEVEL_LOGS, LEVEL_JUDGES = 1_000, 40  # the same for one gate's level: 80 logs cannot tell 5 % from 2 % or 10 %
UPLIFT = 0.05
DEMO_SEEDS, FOLDS = 10, 2
DESIGN = ShopDesign(effects=Effects(beta_low=6.5, beta_high=9.5))  # list earns no more than the logged discounts
LIMITS = EvaluationLimits()
Z_LEVEL = float(stats.norm.ppf(LIMITS.launch.confidence))


def quick() -> Result:
    """The same rows from a few logs and one shop of the demo."""
    return run(logs=10, judges=2, seeds=1, level_logs=20, level_judges=4)


def run(
    logs: int = LOGS,
    judges: int = JUDGES,
    seeds: int = DEMO_SEEDS,
    level_logs: int = LEVEL_LOGS,
    level_judges: int = LEVEL_JUDGES,
) -> Result:
    """Draw logs of prices with a planted uplift and without one, and evaluate the demo's shops."""
    shop = planted_log(simulate_shop(DEFAULT, seed=0, design=DESIGN))
    experts = [judge(shop, seed) for seed in range(max(judges, level_judges))]
    rivals = {"logged": shop.logged, "list": shop.value(shop.listed), "uniform": shop.value(experts[0].uniform)}

    def drawn(value: float, first: int) -> list[list[GateResult]]:
        price = shop.worth(value)
        return [gates_of(shop, experts[:judges], price, first + seed) for seed in range(logs)]

    better = drawn((1.0 + UPLIFT) * max(rivals.values()), 0)
    above = drawn((1.0 + UPLIFT) * rivals["logged"], 10_000)
    same = drawn(rivals["logged"], 20_000)
    level = uplifts(shop, experts[:level_judges], shop.worth(rivals["logged"]), level_logs)
    demo = [demo_gates(seed) for seed in range(seeds)]
    notes = (
        f"{logs} logs of each kind, {DEFAULT.impressions:,} impressions on pages of {DEFAULT.page_size}, prices drawn "
        f"from the demo's menu, held-out demand by {judges} models fitted on an eighth of another log.",
        "Accepted: every gate passes that decides whether prices may differ from list. power_uplift_5_percent: prices "
        "whose expected profit under the planted demand is 5 % above that of the best of the three rivals, which are "
        "the logged prices, list and the best uniform prices. level_no_uplift: prices that earn what the logged ones "
        "do. uplift_gate_*: how often off_policy_uplift alone passes, at 5 % above the logged prices and at none; the "
        "best uniform prices earn more than both, so other gates refuse them.",
        f"uplift_gate_level, uplift_bias and uplift_spread: {level_logs:,} logs and {level_judges} held-out models, at "
        "no uplift. Bias and standard deviation of the estimate are in its own standard errors: 0 and 1 where the "
        "interval is right. The bound is one-sided at 95 %, so 5 % of the logs are expected to pass.",
        f"Demo: seeds 0 to {seeds - 1} of the simulated shop, everything fitted anew but the encoder, "
        f"{FOLDS} folds. demo_true_*: the same prices under the planted demand, the mean over the seeds.",
        "refused_*: share of the logs with 5 % above the best rival on which the gate does not pass; of the demo's "
        "shops for demo_refused_*.",
    )
    rows = (
        share_row("power_uplift_5_percent", sum(map(passes, better)), logs, ">= 0.8"),
        share_row("level_no_uplift", sum(map(passes, same)), logs, "<= 0.05"),
        share_row("uplift_gate_power_5_percent", passed(above, "off_policy_uplift"), logs),
        share_row("uplift_gate_level", int((level > Z_LEVEL).sum()), level_logs, "0.05, as the bound is at 95 %"),
        bias_row(level, level_judges),
        Row("uplift_spread", float(level.std(ddof=1)), unit="standard errors", reference=1.0),
        Row("true_list_over_logged", rivals["list"] / rivals["logged"], unit="ratio"),
        Row("true_uniform_over_logged", rivals["uniform"] / rivals["logged"], unit="ratio"),
        *refusal_rows("refused_", better),
        share_row("accepted_demo_seeds", sum(passes(each.gates) for each in demo), seeds, ">= 0.9"),
        share_row("accepted_demo_seeds_personal", sum(passes(each.gates, PERSONAL_PRICES) for each in demo), seeds),
        *demo_rows(demo),
        *refusal_rows("demo_refused_", [each.gates for each in demo]),
    )
    return Result(rows, notes)


@dataclass(frozen=True)
class PlantedLog:
    """Pages of a simulated shop whose prices and choices can be drawn again; arrays (n,), a row an impression.

    Args:
        log: The pages as last drawn.
        chance: (n, K) probability of each point of the menu.
        a: Planted utilities.
        b: Planted slopes.
        best: Prices of an oracle, money.
        category: Number of each item's category.
        data: The pages as a demand model reads them, in the same order.
        eighth: (P,) the pages on which a held-out demand model is fitted.
    """

    log: PageLog
    chance: Floats
    a: Floats
    b: Floats
    best: Floats
    category: Ints
    data: DemandData
    eighth: NDArray[np.bool_]

    @property
    def listed(self) -> Floats:
        """List prices, money."""
        return self.log.unit

    def value(self, price: Floats) -> float:
        """Expected profit per page under the planted demand, money."""
        return float(predicted(self.log, self.a, self.b, price).mean())

    @cached_property
    def logged(self) -> float:
        """The same of the prices that the menu draws, over twenty draws."""
        return float(np.mean([self.value(self.draw(seed).price) for seed in range(900, 920)]))

    def draw(self, seed: int) -> PageLog:
        """Draw every price from its menu, and a choice on every page."""
        rng = np.random.default_rng(seed)
        rows = np.arange(self.a.size)
        point = (rng.random(self.a.size)[:, None] >= self.chance.cumsum(axis=1)).sum(axis=1).clip(0, len(MENU) - 1)
        price = self.log.levels[rows, point]
        options = (self.a - self.b * price / self.log.unit).reshape(len(self.log.customer), -1)
        options = np.column_stack([options, np.zeros(len(options))])
        chosen = (options + rng.gumbel(size=options.shape)).argmax(axis=1)
        bought = (chosen[:, None] == np.arange(options.shape[1] - 1)).astype(np.float64).ravel()
        return replace(self.log, price=price, bought=bought, propensity=self.chance[rows, point])

    def worth(self, value: float) -> Floats:
        """Prices between list and the oracle's that earn so much per page, by bisection."""
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (low, middle) if self.value(self._towards(middle)) > value else (middle, high)
        return self._towards(high)

    def _towards(self, share: float) -> Floats:
        return self.listed + share * (self.best - self.listed)


def planted_log(market: SimulatedShop) -> PlantedLog:
    """The pages of a simulated shop; an item is open at the points of the menu that cost and MAP allow."""
    planted, tables = market.planted, market.tables
    joined, catalogue = training_set(tables), tables.latest_items()
    item, pages = planted.item_row, len(planted.behaviour)
    listed, cost = planted.catalogue.list_price[item], planted.catalogue.unit_cost[item]
    floor = np.fmax(cost * (1.0 + MIN_MARGIN), planted.catalogue.map_price[item])
    levels = listed[:, None] * MENU
    weight = np.where(levels >= floor[:, None], MENU_WEIGHTS, 0.0)
    weight[:, -1] = MENU_WEIGHTS[-1]
    a, b = (x.ravel() for x in _page(planted))
    users = tables.impressions[schema.USER_ID].to_numpy().reshape(pages, -1)[:, 0]
    customer = np.unique(users, return_inverse=True)[1]
    log = PageLog(
        page=planted.page_row,
        customer=customer,
        price=listed,
        unit=listed,
        cost=cost,
        bought=np.zeros(item.size),
        on_sale=np.ones(item.size, dtype=bool),
        propensity=np.full(item.size, np.nan),
        levels=np.where(weight > 0, levels, np.nan),
    )
    everything = joined.copy()
    everything[schema.IN_STOCK], everything[schema.PRICE] = True, joined[schema.LIST_PRICE]
    data = demand_data(everything, Assortment.of(catalogue, text_components(catalogue)), similarity=planted.similarity)
    late = np.arange(pages) >= 3 * pages // 4
    half = halves(tables.impressions[schema.USER_ID].iloc[:: item.size // pages]) == 0
    return PlantedLog(
        log,
        weight / weight.sum(axis=1, keepdims=True),
        a,
        b,
        _oracle(planted, listed, cost, floor),
        planted.catalogue.category[item],
        data,
        late & half,
    )


def _page(planted: PlantedDemand) -> tuple[Floats, Floats]:
    shape = (len(planted.behaviour), -1)
    return planted.page(planted.item_row.reshape(shape), planted.similarity.reshape(shape), planted.behaviour)


def _oracle(planted: PlantedDemand, listed: Floats, cost: Floats, floor: Floats) -> Floats:
    a, b = _page(planted)
    c, lo = ((x / listed).reshape(a.shape) for x in (cost, np.minimum(floor, listed)))
    weight = listed.reshape(a.shape)
    return np.asarray(solve_pages(a, b, c, 1.0, np.maximum(lo, MENU[0]), 1.0, margin_weight=weight).y.ravel() * listed)


@dataclass(frozen=True)
class Judge:
    """Held-out demand and the best uniform prices by it, arrays (n,)."""

    a: Floats
    b: Floats
    uniform: Floats


def judge(shop: PlantedLog, seed: int) -> Judge:
    """A demand model of an eighth of another log, and the discounts that it would give each category."""
    log = shop.draw(20_000 + seed)
    data = replace(
        shop.data,
        y=log.price / log.unit,
        bought=log.bought,
        outside=1.0 - log.sums(log.bought),
        first_stage=FirstStage.none(shop.data.n_rows),
    )
    model = fit_demand(data.pages(shop.eighth))
    behaviour = data.behaviour[data.page]
    a, b = model.utilities(data.item, data.similarity, behaviour, np.zeros(data.n_rows))
    part = shop.eighth[log.page]
    categories = int(shop.category.max()) + 1
    share = best_discounts(
        log.rows(part),
        a[part],
        b[part],
        listed=shop.listed[part],
        floor=np.nanmin(log.levels, axis=1)[part],
        category=shop.category[part],
        categories=categories,
    )
    return Judge(a, b, uniform_price(share, shop.category, shop.listed, np.nanmin(log.levels, axis=1)))


def gates_of(shop: PlantedLog, experts: Sequence[Judge], price: Floats, seed: int) -> list[GateResult]:
    """The gates on one drawn log of the shop."""
    expert = experts[seed % len(experts)]
    prices = {PUBLIC: price, PERSONAL: price, LISTED: shop.listed, UNIFORM: expert.uniform}
    spend = shop.data.behaviour[shop.data.page, list(schema.USER_PRICING_FEATURES).index(schema.SPEND_90D)]
    evidence = LogEvidence(shop.draw(seed), expert.a, expert.b, prices, spend, days=180.0)
    return off_policy_gates(evidence, LIMITS, personal=False)


def uplifts(shop: PlantedLog, experts: Sequence[Judge], price: Floats, logs: int) -> Floats:
    """The uplift over the logged prices on so many drawn logs, each in its own standard errors."""
    found = np.empty(logs)
    for seed in range(logs):
        log, expert = shop.draw(30_000 + seed), experts[seed % len(experts)]
        uplift = LogEvidence(log, expert.a, expert.b, {PUBLIC: price}, np.empty(0), days=180.0).difference(
            PUBLIC, LOGGED
        )
        found[seed] = uplift.value / uplift.standard_error
    return found


def bias_row(level: Floats, experts: int) -> Row:
    """Mean of :func:`uplifts` where there is none, with its interval: held-out models are drawn, too."""
    own = np.array([level[number::experts].mean() for number in range(experts)])
    mean, reach = float(own.mean()), Z95 * float(own.std(ddof=1)) / math.sqrt(experts)
    return Row("uplift_bias", mean, mean - reach, mean + reach, "standard errors", 0.0)


def passes(gates: Sequence[GateResult], capability: str = UNIFORM_PRICES) -> bool:
    """Whether every gate passes that stands between list and prices of this kind."""
    rungs = (UNIFORM_PRICES,) if capability == UNIFORM_PRICES else (UNIFORM_PRICES, PERSONAL_PRICES)
    return all(gate.status in PASSING for gate in gates if capability_of(gate.name) in rungs)


def passed(runs: Sequence[Sequence[GateResult]], name: str) -> int:
    """How often one gate passes."""
    return sum(gate.status in PASSING for gates in runs for gate in gates if gate.name == name)


def refusal_rows(prefix: str, runs: Sequence[Sequence[GateResult]]) -> list[Row]:
    """How often each gate does not pass."""
    names = [gate.name for gate in runs[0]]
    return [
        share_row(
            prefix + name,
            len(runs) - passed(runs, name),
            len(runs),
        )
        for name in names
    ]


@dataclass(frozen=True)
class DemoEvaluation:
    """The gates of one of the demo's shops, and what its prices are worth under the planted demand.

    Args:
        gates: Of value and of calibration.
        over_logged: Public prices over the logged ones, share of profit.
        over_list: Over list.
        personal: Personal prices over public ones.
    """

    gates: list[GateResult]
    over_logged: float
    over_list: float
    personal: float


def demo_gates(seed: int) -> DemoEvaluation:
    """Fit and evaluate one of the demo's shops."""
    shop = plain_shop(seed)
    hold_out = shop.hold_out
    models = fit_held_out_models(shop.model, hold_out)
    if models is None:
        raise AssertionError("the demo's shops have purchases enough")
    evidence = log_evidence(
        shop.model,
        shop.training_set,
        models,
        np.array(MENU),
        shop.vectors,
        pages=LIMITS.launch.pages,
        folds=FOLDS,
        seed=0,
        clip=LIMITS.launch.clip,
    )
    calibration = score_demand(
        shop.model, inputs_of(shop.model, hold_out), inputs_of(shop.model, fit_part(shop.training_set))
    )
    gates = [*off_policy_gates(evidence, LIMITS), calibration_gate(calibration, LIMITS)]
    truth = shop.truth(evidence.log)
    public, personal, listed = (truth(evidence.prices[name]) for name in (PUBLIC, PERSONAL, LISTED))
    return DemoEvaluation(gates, public / truth(evidence.log.price) - 1, public / listed - 1, personal / public - 1)


def demo_rows(demo: Sequence[DemoEvaluation]) -> list[Row]:
    """What the demo's prices are worth under the planted demand, mean and range over the seeds."""
    parts: dict[str, Callable[[DemoEvaluation], float]] = {
        "demo_true_uplift_over_logged": lambda each: each.over_logged,
        "demo_true_uplift_over_list": lambda each: each.over_list,
        "demo_true_uplift_personal_over_public": lambda each: each.personal,
    }
    found = {name: [value(each) for each in demo] for name, value in parts.items()}
    return [
        Row(name, float(np.mean(x)), min(x), max(x), unit="share of profit, range over seeds")
        for name, x in found.items()
    ]
