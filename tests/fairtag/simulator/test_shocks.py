"""Each planted shock moves what it says, by how much it says, and nothing else."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.simulator.planted_demand import USUAL_RATIO
from fairtag.simulator.shocks import (
    MONEY,
    NEW_WORDS,
    broken_column,
    elasticity_change,
    group_gap,
    price_shift,
    season,
    vocabulary_change,
)
from fairtag.simulator.simulation import TINY, simulate_shop


@pytest.fixture(scope="module")
def shop():
    return simulate_shop(TINY, seed=2)


@pytest.fixture
def quotes():
    """4,000 quotes of two items, a year, 40 customers; every price is inside its bounds."""
    rng = np.random.default_rng(0)
    n = 4_000
    listed = rng.integers(300, 900, n)
    price = np.round(listed * rng.uniform(0.8, 0.95, n)).astype(np.int64)
    page = np.repeat(np.arange(n // 2), 2)
    return pd.DataFrame(
        {
            schema.QUOTE_ID: page.astype(str),
            schema.TS: pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(page * 365 * 2 / n, unit="D"),
            schema.USER_KEY: (page % 40).astype(str),
            schema.QUERY: "desk lamp",
            schema.CATEGORY: np.where(page % 2 == 0, "lighting", "office"),
            schema.LIST_PRICE_MINOR: listed,
            schema.PRICE_MINOR: price,
            schema.REFERENCE_PRICE_MINOR: listed,
            schema.LOW_MINOR: (listed * 0.7).astype(np.int64),
            schema.HIGH_MINOR: listed,
            schema.UNIT_COST_MINOR: (listed * 0.5).astype(np.int64),
        }
    )


def changed(before, after):
    return [name for name in before.columns if not before[name].equals(after[name])]


def test_a_price_shift_moves_the_money_of_one_category_alone(quotes):
    shifted = price_shift(quotes, "lighting", 1.05)
    assert set(changed(quotes, shifted)) == set(MONEY)
    ratio = shifted[schema.PRICE_MINOR] / quotes[schema.PRICE_MINOR]
    lighting = quotes[schema.CATEGORY] == "lighting"
    assert ratio[lighting].mean() == pytest.approx(1.05, abs=1e-3)
    assert (ratio[~lighting] == 1).all()
    assert (shifted[schema.PRICE_MINOR] <= shifted[schema.LIST_PRICE_MINOR]).all()
    with pytest.raises(DataError, match="bedding"):
        price_shift(quotes, "bedding", 1.05)


def test_new_words_reach_the_wanted_share_of_pages_whole(quotes):
    found = vocabulary_change(quotes, 0.3, seed=1)
    assert changed(quotes, found) == [schema.QUERY]
    new = found[schema.QUERY].isin(NEW_WORDS)
    assert new.mean() == pytest.approx(0.3, abs=0.04)
    assert (found.groupby(schema.QUOTE_ID)[schema.QUERY].nunique() == 1).all()
    assert vocabulary_change(quotes, 0.0, seed=1).equals(quotes)


def test_the_new_words_are_unknown_to_the_simulated_shop(shop):
    assert not set(shop.planted.wishes.text) & set(NEW_WORDS)


def test_an_elasticity_change_leaves_demand_at_the_pivot_and_turns_the_slope(shop):
    planted, n = shop.planted, TINY.page_size
    items, s = planted.item_row.reshape(-1, n)[:50], planted.similarity.reshape(-1, n)[:50]
    steeper = elasticity_change(planted, 1.5)
    y = np.full(items.shape, USUAL_RATIO)
    behaviour = planted.behaviour[:50]
    free = planted.page(items, s, behaviour)[1] > planted.b_min  # slopes at the floor keep no pivot
    before, after = (p.page(items, s, behaviour) for p in (planted, steeper))
    np.testing.assert_allclose(after[1][free], 1.5 * before[1][free])
    np.testing.assert_allclose((after[0] - after[1] * y)[free], (before[0] - before[1] * y)[free])
    assert (steeper.demand(items, s, None, y + 0.1) < planted.demand(items, s, None, y + 0.1)).all()


def test_a_group_gap_has_the_planted_mean_inside_the_bounds(quotes):
    members = {str(i) for i in range(10)}
    gapped = group_gap(quotes, members, 0.02, seed=3)
    assert changed(quotes, gapped) == [schema.PRICE_MINOR]
    hit = quotes[schema.USER_KEY].isin(members)
    gap = np.log(gapped[schema.PRICE_MINOR] / quotes[schema.PRICE_MINOR])
    assert gap[hit].mean() == pytest.approx(np.log(1.02), abs=3e-4)
    assert (gap[~hit] == 0).all()
    wide = group_gap(quotes, members, 0.5, seed=3)
    assert (wide[schema.PRICE_MINOR] <= wide[schema.HIGH_MINOR]).all()


@pytest.mark.parametrize("how", ["missing", "constant", "scaled", "shuffled"])
def test_a_broken_column_breaks_alone_and_on_its_share(quotes, how):
    broken = broken_column(quotes, schema.UNIT_COST_MINOR, how, share=0.5, seed=1)
    assert changed(quotes, broken) == [schema.UNIT_COST_MINOR]
    before, after = quotes[schema.UNIT_COST_MINOR], broken[schema.UNIT_COST_MINOR]
    assert (before != after).mean() == pytest.approx(0.5, abs=0.05)
    if how == "shuffled":
        assert sorted(before) == sorted(after)
    if how == "scaled":
        assert set((after / before).round(6)) == {1.0, 100.0}


def test_an_unknown_breakage_is_refused(quotes):
    with pytest.raises(ConfigError, match="missing, constant, scaled or shuffled"):
        broken_column(quotes, schema.UNIT_COST_MINOR, "melted")


def test_a_season_moves_the_mix_and_no_price(quotes):
    kept = season(quotes, 0.8, seed=4)
    assert set(kept.columns) == set(quotes.columns)
    assert kept.merge(quotes, how="inner").shape[0] >= len(kept)  # rows are kept as they were
    winter = kept[schema.TS].dt.dayofyear < 60
    share = (kept[schema.CATEGORY] == "lighting").groupby(winter).mean()
    assert share[True] - share[False] > 0.1
    assert (kept.groupby(schema.QUOTE_ID).size() == 2).all()
    assert len(season(quotes, 0.0, seed=4)) == len(quotes)
    with pytest.raises(ConfigError, match="depth"):
        season(quotes, 1.5, seed=4)
