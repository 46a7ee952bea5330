"""What exploration costs and brings over 60 days of the simulated shop: an even menu draw beside Thompson sampling.

A small shop begins with a few randomised pages, and its demand model is fitted again every few days on all its pages.
Menus, draws, propensities and posterior are the product's (:mod:`fairtag.page.exploration`,
:mod:`fairtag.page.thompson`). All policies meet the same pages and customers, who choose by the planted demand. Then
the log of Thompson sampling is asked what other prices would have earned, whose truth is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.result import Result, Row, share_row
from benchmarks.studies.synthetic import text_components
from fairtag.base import schema
from fairtag.base.normal import Z95
from fairtag.data.point_in_time import training_set
from fairtag.demand.choices import Floats, Ints
from fairtag.demand.demand_data import Assortment, DemandData, demand_data
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.fit import fit_demand
from fairtag.evaluation.off_policy import bandit_log, doubly_robust
from fairtag.page.exploration import POINTS, exploration_menu, explore
from fairtag.page.thompson import thompson_weights
from fairtag.simulator.planted_demand import choice_probabilities
from fairtag.simulator.simulation import PlantedDemand, ShopSize, simulate_shop
from fairtag.solver.page_solver import page_value, solve_pages

DAYS, PAGES_A_DAY, PAGE = 60, 50, 8
FIRST_PAGES = 150  # randomised pages before the first day
REFIT_DAYS = 10
SEEDS = 6
ITEMS = 80
DEEPEST = 0.7  # lowest price, as a share of list: the largest discount of 30 %
BLOCK_DAYS = 10  # of the Thompson log that one off-policy estimate is made of


@dataclass(frozen=True)
class Policy:
    """How prices are explored.

    Args:
        name: Of its rows.
        rate: Share of prices drawn at random.
        thompson: Whether they are drawn as believed to be best, else evenly.
    """

    name: str
    rate: float
    thompson: bool = False


POLICIES = (
    Policy("none", 0.0),
    Policy("menu_5", 0.05),
    Policy("menu_20", 0.2),
    Policy("thompson_20", 0.2, thompson=True),
    Policy("thompson_100", 1.0, thompson=True),
)


@dataclass(frozen=True)
class Pages:
    """The pages that every policy meets, oldest first; arrays (pages, items of a page).

    Args:
        planted: The truth.
        data: Their impressions, with the simulator's own random prices.
        items: Catalogue rows.
        similarity: Latent relevance.
        list_price: Money.
        cost: Unit cost over list price.
        utility: Planted utility.
        slope: Planted slope.
        luck: (pages,) uniform number that decides what is bought.
        seed: Of the shop.
    """

    planted: PlantedDemand
    data: DemandData
    items: Ints
    similarity: Floats
    list_price: Floats
    cost: Floats
    utility: Floats
    slope: Floats
    luck: Floats
    seed: int

    @property
    def low(self) -> Floats:
        """Lowest allowed price, over list."""
        return np.minimum(np.maximum(self.cost, DEEPEST), 1.0)

    def profit(self, y: Floats, at: slice) -> Floats:
        """Expected profit of some pages under the truth, money, (pages,)."""
        q = choice_probabilities(self.utility[at] - self.slope[at] * y)
        return np.asarray((q * (y - self.cost[at]) * self.list_price[at]).sum(-1), dtype=np.float64)

    def best(self, a: Floats, b: Floats, at: slice) -> Floats:
        """Best prices of some pages, over list, for utility ``a - b y``."""
        cost = self.cost[at]
        return solve_pages(a, b, cost, 1.0, self.low[at], 1.0, margin_weight=self.list_price[at]).y


@dataclass(frozen=True)
class Day:
    """The prices of one day's pages; arrays (pages x items of a page, points) or (pages x items of a page,).

    Args:
        at: The pages.
        menu: Menus, over list.
        chosen: Point that the model chose.
        point: Point that was shown.
        propensity: Its probability.
        model: What chose.
    """

    at: slice
    menu: Floats
    chosen: Ints
    point: Ints
    propensity: Floats
    model: DemandModel

    @property
    def y(self) -> Floats:
        """(pages, items of a page) prices shown."""
        return self.menu[np.arange(len(self.menu)), self.point].reshape(-1, PAGE)


def quick() -> Result:
    """Two shops instead of six."""
    return run(seeds=2)


def run(*, seeds: int = SEEDS) -> Result:
    """Let every policy price the same 60 days, and value other prices from the log of Thompson sampling."""
    shops = [simulated_pages(seed) for seed in range(seeds)]
    notes = (
        f"{seeds} simulated shops of {ITEMS} items: {FIRST_PAGES} randomised pages of {PAGE}, then {DAYS} days of "
        f"{PAGES_A_DAY} pages; demand is fitted again every {REFIT_DAYS} days. The customers of a shop are alike but "
        "for what they search.",
        "regret: expected profit that prices of an oracle would have brought beyond, as a share of the oracle's; over "
        "all days, and over the last ten. The oracle knows the planted demand. Intervals: 95 % over shops.",
        "last_day_unexplored: the same on the last day for the prices that the model would have chosen without draws: "
        "what was learned.",
        "ope: doubly robust estimates from ten-day blocks of the log of thompson_100, for prices that the model chose "
        "(greedy) and for the lowest point of every menu (deepest); the truth is the planted expectation.",
    )
    rows: list[Row] = []
    thompson: list[tuple[Pages, list[Day]]] = []
    for policy in POLICIES:
        played = [play(pages, policy) for pages in shops]
        rows += regret_rows(policy, shops, played)
        if policy.name == "thompson_100":
            thompson = list(zip(shops, played, strict=True))
    return Result((*rows, *off_policy_rows(thompson)), notes)


def simulated_pages(seed: int) -> Pages:
    """The pages of one shop."""
    n = FIRST_PAGES + DAYS * PAGES_A_DAY
    market = simulate_shop(ShopSize(ITEMS, 600, n * PAGE, PAGE, wishes=200, judgements=100), seed=500 + seed)
    planted, catalogue = market.planted, market.tables.latest_items()
    assortment = Assortment.of(catalogue, text_components(catalogue))
    training = training_set(market.tables).drop(columns=schema.IN_STOCK)  # nothing runs out
    data = demand_data(training, assortment, similarity=planted.similarity)
    items, similarity = planted.item_row.reshape(-1, PAGE), planted.similarity.reshape(-1, PAGE)
    utility, slope = planted.page(items, similarity)
    listed = planted.catalogue.list_price[items]
    luck = np.random.default_rng(seed).random(n)
    cost = planted.catalogue.unit_cost[items] / listed
    return Pages(planted, data, items, similarity, listed, cost, utility, slope, luck, seed)


def play(pages: Pages, policy: Policy) -> list[Day]:
    """Price the days of a shop; what is bought is learned from."""
    first = slice(0, FIRST_PAGES)
    y = pages.data.y.reshape(-1, PAGE).copy()
    bought = np.zeros_like(y)
    y[first] = np.clip(y[first], pages.low[first], 1.0)
    bought[first] = purchases(pages, y[first], first)
    days: list[Day] = []
    for number in range(DAYS):
        start = FIRST_PAGES + number * PAGES_A_DAY
        if number % REFIT_DAYS == 0:
            model = fit_demand(seen(pages.data, y, bought, start))
        day = priced(pages, slice(start, start + PAGES_A_DAY), model, policy, number)
        y[day.at], bought[day.at] = day.y, purchases(pages, day.y, day.at)
        days.append(day)
    return days


def seen(data: DemandData, y: Floats, bought: Floats, pages: int) -> DemandData:
    """The first pages as they were shown, to learn from."""
    kept = data.pages(np.arange(data.starts.size) < pages)
    chosen = bought[:pages]
    return replace(kept, y=y[:pages].ravel(), bought=chosen.ravel(), outside=1.0 - chosen.sum(-1))


def purchases(pages: Pages, y: Floats, at: slice) -> Floats:
    """What is bought on some pages, (pages, items of a page) of 0 and 1."""
    q = choice_probabilities(pages.utility[at] - pages.slope[at] * y).cumsum(-1)
    point = (pages.luck[at, None] > q).sum(-1)
    return np.asarray(point[:, None] == np.arange(PAGE), dtype=np.float64)


def believed(model: DemandModel, pages: Pages, at: slice) -> tuple[Floats, Floats]:
    """The model's utilities and slopes on some pages, for nobody in particular."""
    items = pages.items[at].ravel()
    nobody = np.full((items.size, pages.data.behaviour.shape[1]), np.nan)
    a, b = model.utilities(items, pages.similarity[at].ravel(), nobody, np.zeros(items.size))
    return a.reshape(-1, PAGE), b.reshape(-1, PAGE)


def priced(pages: Pages, at: slice, model: DemandModel, policy: Policy, day: int) -> Day:
    """The prices of a day's pages: the model's, and a share drawn."""
    a, b = believed(model, pages, at)
    cost, listed = pages.cost[at], pages.list_price[at]
    best = pages.best(a, b, at)
    value, _ = page_value(best, a, b, cost, 1.0, margin_weight=listed)
    low = pages.low[at].ravel()
    menu, chosen = exploration_menu(np.clip(best.ravel(), low, 1.0), low, np.ones(low.size))
    weights = None
    if policy.thompson:
        taken = (cost + value[:, None] / listed).ravel()  # a sale takes the page's value from the rest of it
        weights = thompson_weights(menu, menu - taken[:, None], _slope_above(model, pages, at))
    items = pages.items[at]
    customers = np.repeat(np.arange(at.start, at.stop), PAGE)
    keys = [(f"c{who}", f"i{item}", day, "m") for who, item in zip(customers, items.ravel(), strict=True)]
    drawn = explore(menu, chosen, policy.rate, keys, b"%d" % pages.seed, weights)
    return Day(at, menu, chosen, drawn.point, drawn.propensity, model)


def _slope_above(model: DemandModel, pages: Pages, at: slice) -> Callable[[Floats], Floats]:
    items, similarity = np.repeat(pages.items[at], POINTS), np.repeat(pages.similarity[at], POINTS)

    def above(threshold: Floats) -> Floats:
        return model.slope_above(items, threshold.ravel(), similarity).reshape(threshold.shape)

    return above


def regret_rows(policy: Policy, shops: Sequence[Pages], played: Sequence[Sequence[Day]]) -> list[Row]:
    """Regret over all days, over the last ten, and on the last day without the draws; mean over shops."""
    whole, late, learned = [], [], []
    for pages, days in zip(shops, played, strict=True):
        best = [pages.profit(pages.best(pages.utility[d.at], pages.slope[d.at], d.at), d.at).sum() for d in days]
        lost = [oracle - pages.profit(d.y, d.at).sum() for oracle, d in zip(best, days, strict=True)]
        whole.append(sum(lost) / sum(best))
        late.append(sum(lost[-BLOCK_DAYS:]) / sum(best[-BLOCK_DAYS:]))
        last = days[-1]
        greedy = last.menu[np.arange(len(last.menu)), last.chosen].reshape(-1, PAGE)
        learned.append(1.0 - pages.profit(greedy, last.at).sum() / best[-1])
    named = {"regret": whole, "regret_last_ten_days": late, "last_day_unexplored": learned}
    return [mean_row(f"{name}_{policy.name}", values) for name, values in named.items()]


def mean_row(metric: str, values: Sequence[float]) -> Row:
    """A mean over shops with its 95 % interval."""
    x = np.asarray(values)
    reach = Z95 * float(x.std(ddof=1)) / np.sqrt(x.size)
    return Row(
        metric, float(x.mean()), float(x.mean() - reach), float(x.mean() + reach), "share of the oracle's profit"
    )


def off_policy_rows(logs: Sequence[tuple[Pages, Sequence[Day]]]) -> list[Row]:
    """Coverage and bias of off-policy estimates from the log of Thompson sampling."""
    rows = []
    for name in ("greedy", "deepest"):
        found = [
            estimated(pages, days[start : start + BLOCK_DAYS], name)
            for pages, days in logs
            for start in range(0, DAYS, BLOCK_DAYS)
        ]
        covered = sum(low <= truth <= high for truth, _, low, high in found)
        truths, values = (np.array([row[k] for row in found]) for k in (0, 1))
        rows.append(share_row(f"ope_covers_{name}", covered, len(found), reference=0.95))
        shift = (values - truths) / truths.mean()
        reach = Z95 * float(shift.std(ddof=1)) / np.sqrt(len(shift))
        mean = float(shift.mean())
        rows.append(Row(f"ope_bias_{name}", mean, mean - reach, mean + reach, "share of the truth", 0.0))
    least = min(float(day.propensity.min()) for _, days in logs for day in days)
    return [*rows, Row("least_logged_propensity", least, unit="probability")]


def estimated(pages: Pages, days: Sequence[Day], target: str) -> tuple[float, float, float, float]:
    """Truth, estimate and 95 % interval of the profit of an item at target prices, the rest of its page as logged."""
    rewards, models, truths, policies = [], [], [], []
    for day in days:
        rows = np.arange(len(day.menu))
        own = day.chosen if target == "greedy" else np.zeros_like(day.chosen)
        policies.append(own[:, None] == np.arange(POINTS))
        margin = (day.menu - pages.cost[day.at].reshape(-1, 1)) * pages.list_price[day.at].reshape(-1, 1)
        truths.append((margin * alone(day, pages.utility[day.at], pages.slope[day.at]))[rows, own])
        models.append(margin * alone(day, *believed(day.model, pages, day.at)))
        bought = purchases(pages, day.y, day.at).ravel()
        rewards.append(bought * margin[rows, day.point])
    points, propensity = (np.concatenate([getattr(day, x) for day in days]) for x in ("point", "propensity"))
    log = bandit_log(np.concatenate(rewards), points, propensity, np.repeat(np.arange(points.size // PAGE), PAGE))
    found = doubly_robust(log, np.concatenate(policies).astype(np.float64), np.concatenate(models))
    return float(np.concatenate(truths).mean()), found.value, *found.interval()


def alone(day: Day, a: Floats, b: Floats) -> Floats:
    """(pages x items of a page, points) chance that an item is bought at each point, the rest of its page as shown."""
    others = np.exp(a - b * day.y)
    rest = 1.0 + others.sum(-1, keepdims=True) - others
    weight = np.exp(a.reshape(-1, 1) - b.reshape(-1, 1) * day.menu)
    return np.asarray(weight / (rest.reshape(-1, 1) + weight), dtype=np.float64)
