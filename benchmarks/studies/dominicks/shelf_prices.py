"""Orange juice at Dominick's: elasticities against known values, and the profit of learned prices on real margins.

Prices are cross-evaluated: the model that sets them (a logit) never sees the weeks it prices, and a model of another
kind (log-log with all cross prices) of those weeks scores them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.result import Result, Row
from benchmarks.studies.dominicks.panel import Coefficient, Panel, own_elasticities, panel_arrays
from benchmarks.studies.dominicks.policies import BLOCKS, MARKET, STEP, held_out_rounds, policy_profits
from fairtag.base.normal import Z95
from fairtag.data.dominicks import read_panel

KNOWN = {  # computed independently when the data set was prepared
    "elasticity_brand": -2.92,
    "elasticity_brand_store": -3.10,
    "elasticity_brand_store_promo": -2.53,
    "elasticity_of_brand_4": -4.06,
    "elasticity_of_brand_11": -1.41,
}
COMPARED = {  # row -> (policy, policy it is compared with)
    "profit_learned_over_shop": ("learned", "shop"),
    "profit_learned_over_uniform": ("learned", "uniform"),
    "profit_uniform_over_shop": ("uniform", "shop"),
    "profit_learned_within_limit_over_shop": ("learned_within_limit", "shop"),
    "profit_learned_within_limit_over_uniform": ("learned_within_limit", "uniform_within_limit"),
}
OTHER_MARKETS = (1.5, 3.0)
DRAWS, SEED = 400, 0
NOTES = (
    f"Prices of {BLOCKS} blocks of weeks, each learned on the other blocks; products on deal or feature keep the "
    "shop's price. A log-log system of the held-out block, anchored at its recorded sales, scores them. Intervals: "
    "bootstrap of stores; the scorer is estimated anew, the prices stay fixed.",
    f"Rows *_within_limit_*: at most {STEP:.0%} from the shop's own price, where the scorer interpolates. Without the "
    "limit all brands reach the edges of their ranges together, which the shop never tried: those rows extrapolate.",
    "Do not conclude that the shop left this profit on the table: juice draws people into a store, rivals respond, and "
    "households stock up during deals and buy less afterwards. Weekly sales show none of this.",
    "Do not conclude causation: people who knew more than the data hold set the prices. The elasticity falls when deal "
    "and feature enter, which shows the direction of that bias, not that it is gone.",
    "Costs are average acquisition costs (forward buying lowers them), not replacement costs. Margins, and so every "
    "profit here, are book values.",
    "Prices differ by store and week, never by customer: the rows are about solver and demand, not about fairness.",
)


def run(data: Path) -> Result:
    """Run the study on the panel under ``data``.

    Raises:
        MissingDataError: ``data`` holds no panel.
    """
    panel = panel_arrays(read_panel(data))
    rows = (*_elasticity_rows(panel), *_policy_rows(panel))
    return Result(rows, (_against_uniform(rows), *NOTES))


def _against_uniform(rows: tuple[Row, ...]) -> str:
    """The comparison with one price for each brand, in words, read off its interval."""
    row = next(row for row in rows if row.metric == "profit_learned_over_uniform")
    if row.low is not None and row.low > 1.0:
        return "Prices by store and week earn more than the best single price of each brand, under this scorer."
    if row.high is not None and row.high < 1.0:
        return (
            "The best single price of each brand earns more than prices by store and week, under this scorer: the gain "
            "over the shop is one of level, not of adapting to store and week."
        )
    return "Prices by store and week and the best single price of each brand earn about the same, under this scorer."


def _elasticity_rows(panel: Panel) -> list[Row]:
    found = own_elasticities(panel)
    brands = [value for name, value in found.items() if name.startswith("elasticity_of_brand_")]
    least, greatest = (f(brands, key=lambda c: c.value) for f in (max, min))
    return [
        *(_elasticity(name, value) for name, value in found.items()),
        Row("elasticity_least_of_brands", least.value, reference=KNOWN["elasticity_of_brand_11"]),
        Row("elasticity_greatest_of_brands", greatest.value, reference=KNOWN["elasticity_of_brand_4"]),
    ]


def _elasticity(name: str, found: Coefficient) -> Row:
    half = Z95 * found.error
    return Row(name, found.value, found.value - half, found.value + half, reference=KNOWN.get(name))


def _policy_rows(panel: Panel) -> list[Row]:
    rounds = held_out_rounds(panel)
    everyone = np.ones(panel.n_stores)
    totals = policy_profits(rounds, everyone)
    rng = np.random.default_rng(SEED)
    share = np.full(panel.n_stores, 1.0 / panel.n_stores)
    draws = [policy_profits(rounds, rng.multinomial(panel.n_stores, share).astype(float)) for _ in range(DRAWS)]
    rows = [_ratio(name, totals, draws, *pair) for name, pair in COMPARED.items()]
    weeks = len(np.unique(panel.week))
    a_week = totals["shop"] / panel.n_stores / weeks
    rows.append(Row("profit_shop_per_store_week", a_week, unit="USD"))
    for market in OTHER_MARKETS:
        other = policy_profits(held_out_rounds(panel, market), everyone)
        name = f"profit_learned_within_limit_over_shop_market_{market:g}"
        rows.append(
            Row(name, other["learned_within_limit"] / other["shop"], reference=f"market {MARKET:g} in the rows above")
        )
    return rows


def _ratio(name: str, totals: dict[str, float], draws: list[dict[str, float]], policy: str, against: str) -> Row:
    low, high = np.quantile([draw[policy] / draw[against] for draw in draws], (0.025, 0.975))
    return Row(name, totals[policy] / totals[against], float(low), float(high), unit="ratio", reference=1.0)
