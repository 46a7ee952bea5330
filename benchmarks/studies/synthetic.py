"""The simulated shop, whose truth is known: are planted parameters recovered, and what is the learned policy worth?

Guardrails, corridor and the confidence rule are left out, so that only the estimate is measured. Similarity is the
latent relevance that drove the choices, the scale on which kappa and beta_s are planted. Item texts become TF-IDF
components, so the quality of an encoder plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from benchmarks.result import Result, Row
from fairtag.base import schema
from fairtag.base.normal import Z95
from fairtag.base.text import item_texts
from fairtag.data.point_in_time import training_set
from fairtag.demand.choices import Choices, Floats, Ints
from fairtag.demand.config import DemandConfig
from fairtag.demand.control_function import FirstStage
from fairtag.demand.demand_data import Assortment, DemandData, demand_data
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.fit import fit_demand, text_basis
from fairtag.demand.logit import Prior, fit_logit
from fairtag.evaluation.kill_test import confounder_kill_test
from fairtag.simulator.simulation import PlantedDemand, ShopDesign, ShopSize, simulate_shop
from fairtag.solver.page_solver import solve_pages

RECOVERY_ROWS, POLICY_ROWS, SMALL_ROWS = 100_000, 20_000, 1_000
RECOVERY_SEED = 1
KILL_SEEDS = 20
POLICY_SEEDS, SMALL_SEEDS = 10, 20  # one draw of 1,000 impressions, 125 pages, says little
PAGE, LONG_PAGE = 8, 24  # items on a page; as many impressions on longer pages hold fewer purchases
ENOUGH_ROWS, ENOUGH_SEEDS = 90_000, 3  # impressions on long pages with as many purchases as POLICY_ROWS on short ones
LATER_PAGES = 1_000  # pages after the training pages, priced under the truth
COMPONENTS = 16  # of the texts
DRAWS = 400  # posterior draws for the standard error of an average over items
UNIFORM = np.linspace(0.5, 1.0, 101)  # price ratios tried for the one ratio of all items
WITHIN = 4.0  # standard errors


def quick() -> Result:
    """Recovery at a fifth of the impressions, and two shops instead of ten or twenty."""
    return run(recovery=RECOVERY_ROWS // 5, seeds=2)


def run(*, recovery: int = RECOVERY_ROWS, seeds: int | None = None) -> Result:
    """Recovery at 100,000 impressions, with random and endogenous prices; the policy at 20,000 and at 1,000."""
    many, few, some = seeds or SMALL_SEEDS, seeds or POLICY_SEEDS, seeds or ENOUGH_SEEDS
    notes = (
        "The simulated shop's demand has the model's own form; real customers need not.",
        "Uplift: expected profit under the planted demand over that of list prices, on 1,000 later pages. The oracle "
        "knows the planted demand.",
        "Uniform: one price ratio for all items, learned by a pooled logit from the same impressions, or the best "
        "under the truth. Intervals: 4 standard errors for parameters, 95 % over seeds for policies.",
        f"Pages hold {PAGE} items unless a row says otherwise. Learning rests on the purchases, which have rows of "
        f"their own: on pages of {LONG_PAGE}, {POLICY_ROWS:,} impressions hold a fourth as many. There the data limit "
        "the share, not the estimator: rows *_known_spreads are told the planted spreads of all effects and the mean "
        f"slope and gain little, while {ENOUGH_ROWS:,} impressions hold as many purchases as the shorter pages.",
    )
    rows = (
        *recovery_rows(recovery),
        *policy_rows(POLICY_ROWS, few),
        *policy_rows(POLICY_ROWS, few, page=LONG_PAGE),
        *policy_rows(POLICY_ROWS, few, page=LONG_PAGE, known=True)[:1],
        *policy_rows(ENOUGH_ROWS, some, page=LONG_PAGE)[:2],
        *policy_rows(SMALL_ROWS, many),
        *kill_test_rows(),
    )
    return Result(rows, notes)


@dataclass(frozen=True)
class Shop:
    """Impressions to learn from, and later pages to price, shape (pages, items of a page).

    Args:
        planted: The truth.
        data: The first pages, to learn from.
        items: Catalogue rows of the later pages.
        similarity: Their latent relevance.
        behaviour: (pages, k) of their customers.
        cost: Unit cost over list price.
        list_price: Money.
    """

    planted: PlantedDemand
    data: DemandData
    items: Ints
    similarity: Floats
    behaviour: Floats
    cost: Floats
    list_price: Floats

    def prices(self, a: Floats, b: Floats) -> Floats:
        """Best price ratios of the later pages, between cost and list, for utility ``a - b y``."""
        return solve_pages(a, b, self.cost, 1.0, self.cost, 1.0, margin_weight=self.list_price).y

    def profit(self, y: Floats | float) -> float:
        """Expected profit of the later pages under the truth, money a page."""
        y = np.broadcast_to(y, self.items.shape)
        cost = self.cost * self.list_price
        return float(self.planted.profit(self.items, self.similarity, self.behaviour, y, cost).mean())


def simulate(rows: int, *, seed: int, endogenous: bool = False, page: int = PAGE) -> Shop:
    """Simulate a shop with ``rows`` impressions to learn from."""
    first = rows // page
    size = ShopSize(400, 600, (first + LATER_PAGES) * page, page, wishes=400, judgements=300)
    market = simulate_shop(size, seed=seed, design=ShopDesign(endogenous=endogenous))
    planted, catalogue = market.planted, market.tables.latest_items()
    training = training_set(market.tables).iloc[: first * page]
    similarity = planted.similarity
    assortment = Assortment.of(catalogue, text_components(catalogue))
    items = planted.item_row.reshape(-1, page)[first:]
    return Shop(
        planted=planted,
        data=demand_data(training, assortment, similarity=similarity[: len(training)]),
        items=items,
        similarity=similarity.reshape(-1, page)[first:],
        behaviour=planted.behaviour[first:],
        cost=(planted.catalogue.unit_cost / planted.catalogue.list_price)[items],
        list_price=planted.catalogue.list_price[items],
    )


def text_components(catalogue: pd.DataFrame) -> Floats:
    """Leading TF-IDF components of the item texts, unit rows: embeddings without a trained encoder."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(item_texts(catalogue))
    vectors = TruncatedSVD(COMPONENTS, random_state=0).fit_transform(words)
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def recovery_rows(impressions: int = RECOVERY_ROWS) -> list[Row]:
    """Planted parameters and estimates: random prices, endogenous prices, and the latter without control function."""
    rows = []
    for name in ("exogenous", "endogenous"):
        shop = simulate(impressions, seed=RECOVERY_SEED, endogenous=name == "endogenous")
        found = compare_parameters(fit_demand(shop.data), shop)
        rows += [
            Row(f"{name}_{_plain(key)}", v, v - WITHIN * e, v + WITHIN * e, reference=t)
            for key, (v, e, t) in found.items()
        ]
        rows.append(_largest_error(name, found))
    naive = replace(shop.data, first_stage=FirstStage.none(shop.data.n_rows))
    return [*rows, _largest_error("endogenous_without_control_function", compare_parameters(fit_demand(naive), shop))]


def compare_parameters(model: DemandModel, shop: Shop) -> dict[str, tuple[float, float, float]]:
    """Parameter -> (estimate, standard error, planted value), on the planted scale.

    Categories are compared by their items' mean utility at the usual price and mean slope, at mean relevance and
    behaviour: these set the price, however they are split between category, text and item.
    """
    truth, found = shop.planted, model.coefficients()
    pairs = {"kappa": (1.0, truth.kappa), "beta_s": (1.0, truth.beta_s)}
    for k, feature in enumerate(schema.USER_PRICING_FEATURES):
        unit = float(truth.scale[k] / model.scaling.scale[k])
        pairs |= {f"eta[{feature}]": (unit, float(truth.eta[k])), f"omega[{feature}]": (unit, float(truth.omega[k]))}
    if shop.data.first_stage.used:
        pairs["phi"] = (1.0, truth.phi)
    out = {
        name: (found[name]["value"] * unit, found[name]["standard_error"] * unit, float(planted))
        for name, (unit, planted) in pairs.items()
    }
    return out | _by_category(model, truth)


def _plain(name: str) -> str:
    return name.replace("[", "_").replace("]", "").replace(" ", "_")


def _by_category(model: DemandModel, truth: PlantedDemand) -> dict[str, tuple[float, float, float]]:
    items = np.arange(model.n_items)
    s, z, usual = np.full(items.size, model.scaling.similarity), truth.centre, model.usual_ratio[model.category]
    planted_a, planted_b = truth.page(items, s, z)
    a, b = model.page(items, s, z)
    a_draws, b_draws = model.draws(items, s, z, n_draws=DRAWS, seed=0)
    out = {}
    for k, name in enumerate(model.categories):
        of = model.category == k
        level, spread = (a - b * usual)[of].mean(), (a_draws - b_draws * usual)[:, of].mean(axis=1).std()
        out[f"utility[{name}]"] = (float(level), float(spread), float((planted_a - planted_b * usual)[of].mean()))
        out[f"slope[{name}]"] = (
            float(b[of].mean()),
            float(b_draws[:, of].mean(axis=1).std()),
            float(planted_b[of].mean()),
        )
    return out


def _largest_error(name: str, found: dict[str, tuple[float, float, float]]) -> Row:
    worst = max(abs(value - planted) / error for value, error, planted in found.values())
    return Row(f"{name}_largest_error", worst, unit="standard errors", reference=f"<= {WITHIN:g}")


def policy_rows(rows: int, seeds: int, page: int = PAGE, *, known: bool = False) -> list[Row]:
    """Share of the oracle's uplift, and profit against one price for all, learned from ``rows`` impressions.

    Args:
        rows: Impressions to learn from.
        seeds: Shops.
        page: Items on a page.
        known: Tell the estimator the planted spreads, which it otherwise estimates.
    """
    shares, learned, best, purchases = [], [], [], []
    for seed in range(seeds):
        shop = simulate(rows, seed=100 + seed, page=page)
        profit = _profits(shop, known_spreads(shop) if known else DemandConfig())
        purchases.append(float(shop.data.bought.sum()))
        shares.append((profit["policy"] - profit["list"]) / (profit["oracle"] - profit["list"]))
        learned.append(profit["policy"] / profit["uniform"] - 1.0)
        best.append(profit["policy"] / profit["best_uniform"] - 1.0)
    name = (f"{rows}" if page == PAGE else f"{rows}_page_of_{page}") + ("_known_spreads" if known else "")
    return [
        _mean_row(f"oracle_uplift_share_{name}", shares, ">= 0.95" if name == str(POLICY_ROWS) else None),
        Row(f"purchases_{name}", float(np.mean(purchases))),
        _mean_row(f"profit_over_learned_uniform_{name}", learned, ">= -0.01" if rows == SMALL_ROWS else None),
        _mean_row(f"profit_over_best_uniform_{name}", best, ">= -0.01" if rows == SMALL_ROWS else None),
    ]


def kill_test_rows() -> list[Row]:
    """How often the evaluation before launch notices a confounder left out of the log, and passes a complete log."""
    tests = [confounder_kill_test(seed=seed) for seed in range(KILL_SEEDS)]
    return [
        Row("kill_test_omission_caught", float(np.mean([t.caught for t in tests])), unit="share", reference=1.0),
        Row("kill_test_whole_log_passes", float(np.mean([t.complete.passes for t in tests])), unit="share"),
    ]


def known_spreads(shop: Shop) -> DemandConfig:
    """Priors that know how much the planted effects vary, and the mean slope, but no single effect."""
    truth, data = shop.planted, shop.data
    pivot = float(data.y.mean())
    _, text = text_basis(data, DemandConfig().components)
    level = truth.alpha_item - pivot * truth.beta_item
    weights = np.linalg.lstsq(text, np.column_stack([level, truth.beta_item]), rcond=None)[0]
    rest = np.column_stack([level, truth.beta_item]) - text @ weights
    return DemandConfig(
        slope_mean=float(truth.beta_category.mean() + truth.beta_s * data.similarity.mean()),
        slope_spread=0.5,
        category_utility=float((truth.alpha_category - pivot * truth.beta_category).std()),
        category_slope=float(truth.beta_category.std()),
        behaviour=float(np.sqrt((truth.omega**2).mean())),
        text=float(np.sqrt((weights[:, 1] ** 2).mean())),
        tau=(float(rest[:, 0].std()), float(rest[:, 1].std())),
        rounds=0,
    )


def _profits(shop: Shop, config: DemandConfig) -> dict[str, float]:
    model = fit_demand(shop.data, config)
    flat, shape = shop.items.ravel(), shop.items.shape
    behaviour = np.repeat(shop.behaviour, shape[1], axis=0)
    a, b = model.utilities(flat, shop.similarity.ravel(), behaviour, np.zeros(flat.size))
    return {
        "list": shop.profit(1.0),
        "policy": shop.profit(shop.prices(a.reshape(shape), b.reshape(shape))),
        "oracle": shop.profit(shop.prices(*shop.planted.page(shop.items, shop.similarity, shop.behaviour))),
        "uniform": shop.profit(_learned_uniform(shop)),
        "best_uniform": max(shop.profit(float(y)) for y in UNIFORM),
    }


def _learned_uniform(shop: Shop) -> float:
    """One price ratio for all items: the best for one utility and one slope, under the model's own prior."""
    data, config = shop.data, DemandConfig()
    X = np.column_stack([np.ones(data.n_rows), -data.y])
    spread = np.array([config.utility_spread, config.slope_spread])
    prior = Prior(np.array([0.0, config.slope_mean]), spread**-2.0, np.zeros(0))
    alpha, beta = fit_logit(Choices(X, data.starts, data.bought, data.outside), prior).theta
    weight = np.exp(alpha - beta * UNIFORM)
    margin = UNIFORM - float(np.nanmean(data.unit_cost))
    n = shop.items.shape[1]
    return float(UNIFORM[np.argmax(n * weight * margin / (1.0 + n * weight))])


def _mean_row(metric: str, values: list[float], reference: str | None) -> Row:
    mean = float(np.mean(values))
    width = Z95 * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return Row(metric, mean, mean - width, mean + width, reference=reference)
