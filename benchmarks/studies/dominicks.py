"""Study: elasticities of orange juice against their known values, and a learned policy on real margins.

Knows the Dominick's panel alone. The policy is cross-evaluated: the optimiser's model (a logit) never sees the weeks
it prices, and is scored by another model (log-log with all cross prices) of those weeks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.result import Result, Row
from benchmarks.studies.dominicks_panel import Coefficient, Panel, own_elasticities, panel_arrays
from benchmarks.studies.dominicks_policy import BLOCKS, MARKET, STEP, held_out_rounds, scored
from fairtag.base.errors import MissingDataError
from fairtag.data.dominicks import read_panel

KNOWN = {  # measured when the data set was prepared (its SOURCE.md)
    "elasticity_brand": -2.92,
    "elasticity_brand_store": -3.10,
    "elasticity_brand_store_promo": -2.53,
    "elasticity_of_brand_4": -4.06,
    "elasticity_of_brand_11": -1.41,
}
COMPARED = {  # row -> (policy, what it is held against)
    "profit_learned_over_shop": ("learned", "shop"),
    "profit_learned_over_uniform": ("learned", "uniform"),
    "profit_uniform_over_shop": ("uniform", "shop"),
    "profit_learned_within_limit_over_shop": ("learned_within_limit", "shop"),
    "profit_learned_within_limit_over_uniform": ("learned_within_limit", "uniform_within_limit"),
}
OTHER_MARKETS = (1.5, 3.0)
DRAWS, SEED = 400, 0
NOTES = (
    f"Policies: prices of {BLOCKS} blocks of weeks, each learned on the other blocks; products on deal or feature keep "
    "the shop's price. Scored by a log-log system of the held-out block itself, anchored at its recorded sales; "
    "intervals: bootstrap of stores with the scorer estimated anew, the policy held fixed.",
    f"'Within limit': at most {STEP:.0%} from the shop's own price, where the scorer interpolates. Without the limit "
    "prices reach the edges of a brand's range together, which the shop never tried: those rows are extrapolation.",
    "Do not conclude that the shop left this profit on the table: juice draws people into a store, a rival answers, "
    "and households stock up in deals and buy less after them; a weekly response shows none of these.",
    "Do not conclude causation: prices were set by people who knew things that the data do not hold. The elasticity "
    "falls when deal and feature enter, which shows the direction of that bias, not that it is gone.",
    "Costs are average acquisition costs (forward buying lowers them), not replacement costs: margins, and with them "
    "every profit here, are those of the books.",
    "Prices differ by store and week, never by customer: this tells of the solver and the demand, nothing of fairness.",
)


def run(data: Path | None) -> Result:
    """Run the study on the panel under ``data``.

    Raises:
        MissingDataError: No folder was given, or it holds no panel.
    """
    if data is None:
        raise MissingDataError("the study dominicks reads the folder dominicks_oj; name its parent with --data")
    panel = panel_arrays(read_panel(data))
    rows = (*_elasticity_rows(panel), *_policy_rows(panel))
    return Result("dominicks", "fairtag study dominicks --data DIR", rows, (_against_uniform(rows), *NOTES))


def _against_uniform(rows: tuple[Row, ...]) -> str:
    """What the comparison with one price a brand says, read off its interval."""
    row = next(row for row in rows if row.metric == "profit_learned_over_uniform")
    if row.low is not None and row.low > 1.0:
        return "Prices by store and week earn more than the best single price of each brand, under this scorer."
    if row.high is not None and row.high < 1.0:
        return (
            "The best single price of each brand earns more than prices by store and week, under this scorer: the gain "
            "over the shop is one of level, not of adapting to store and week."
        )
    return "Prices by store and week cannot be told from the best single price of each brand, under this scorer."


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
    half = 1.96 * found.error
    return Row(name, found.value, found.value - half, found.value + half, reference=KNOWN.get(name))


def _policy_rows(panel: Panel) -> list[Row]:
    rounds = held_out_rounds(panel)
    everyone = np.ones(panel.n_stores)
    totals = scored(rounds, everyone)
    rng = np.random.default_rng(SEED)
    share = np.full(panel.n_stores, 1.0 / panel.n_stores)
    draws = [scored(rounds, rng.multinomial(panel.n_stores, share).astype(float)) for _ in range(DRAWS)]
    rows = [_ratio(name, totals, draws, *pair) for name, pair in COMPARED.items()]
    weeks = len(np.unique(panel.week))
    a_week = totals["shop"] / panel.n_stores / weeks
    rows.append(Row("profit_shop_per_store_week", a_week, unit="USD"))
    for market in OTHER_MARKETS:
        other = scored(held_out_rounds(panel, market), everyone)
        name = f"profit_learned_within_limit_over_shop_market_{market:g}"
        rows.append(Row(name, other["learned_within_limit"] / other["shop"], reference=f"market {MARKET:g} above"))
    return rows


def _ratio(name: str, totals: dict[str, float], draws: list[dict[str, float]], policy: str, against: str) -> Row:
    low, high = np.quantile([draw[policy] / draw[against] for draw in draws], (0.025, 0.975))
    return Row(name, totals[policy] / totals[against], float(low), float(high), unit="ratio", reference=1.0)
