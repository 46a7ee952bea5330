"""The simulator: its tables keep the contract, its demand is the logit that it plants, its oracle is right."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from fairtag.base import schema
from fairtag.base.errors import ConfigError
from fairtag.base.tables import read_tables, write_tables
from fairtag.simulator.catalogue import make_catalogue
from fairtag.simulator.planted_demand import choice_probabilities
from fairtag.simulator.simulation import DEFAULT, SMALL, TINY, ShopDesign, ShopSize, simulate_shop
from fairtag.simulator.traffic import MENU, PERIOD_DAYS


@pytest.fixture(scope="module")
def tiny():
    return simulate_shop(TINY, seed=3)


@pytest.fixture(scope="module")
def small():
    return simulate_shop(SMALL, seed=1)


def test_equal_seeds_give_equal_tables_and_other_seeds_do_not(tiny):
    assert simulate_shop(TINY, seed=3).tables.fingerprint() == tiny.tables.fingerprint()
    assert simulate_shop(TINY, seed=4).tables.fingerprint() != tiny.tables.fingerprint()


@pytest.mark.slow
def test_the_default_shop_has_the_promised_size():
    tables = simulate_shop(DEFAULT).tables
    assert tables.items[schema.ITEM_ID].nunique() == 3_000
    assert tables.users[schema.USER_ID].nunique() == 5_000
    assert 199_900 < len(tables.impressions) <= 200_000


def test_keys_are_unique_and_references_hold(tiny):
    frames = tiny.tables.frames()
    for table in schema.TABLES:
        frame = frames[table.name]
        assert not frame.duplicated(list(table.key)).any(), table.name
        for reference in table.references:
            assert frame[reference.column].isin(frames[reference.table][reference.column]).all(), table.name


def test_every_value_keeps_its_column_rule(small):
    for table in schema.TABLES:
        frame = small.tables.frames()[table.name]
        for column in (c for c in table.columns if c.kind in ("money", "number", "integer", "share")):
            if column.name not in frame and not column.required:
                continue  # a simulated shop logs no display, feature, deal or ad
            values = frame[column.name].dropna()
            assert column.nullable or len(values) == len(frame), column.name
            assert column.minimum is None or (values >= column.minimum).all(), column.name
            assert column.above is None or (values > column.above).all(), column.name
            assert column.maximum is None or (values <= column.maximum).all(), column.name
        for order in table.orders:
            both = frame[[order.smaller, order.larger]].dropna()
            assert (both[order.smaller] <= both[order.larger]).all(), table.name


def test_tables_survive_the_disk(tiny, tmp_path):
    write_tables(tiny.tables, tmp_path / "shop")
    assert read_tables(tmp_path / "shop").fingerprint() == tiny.tables.fingerprint()


def test_catalogue_rows_follow_the_latest_items(tiny):
    latest = tiny.tables.latest_items()
    assert list(latest[schema.ITEM_ID]) == list(tiny.planted.catalogue.item_id)
    np.testing.assert_allclose(latest[schema.LIST_PRICE], tiny.planted.catalogue.list_price)
    shown = tiny.planted.catalogue.item_id[tiny.planted.item_row]
    assert (tiny.tables.impressions[schema.ITEM_ID].to_numpy() == shown).all()


def test_at_most_one_item_of_a_page_is_bought_and_never_one_out_of_stock(small):
    impressions = small.tables.impressions
    assert impressions.groupby(schema.PAGE_ID)[schema.PURCHASED].sum().max() == 1
    assert not impressions.loc[~impressions[schema.IN_STOCK], schema.PURCHASED].any()
    assert 0.005 < 1 - impressions[schema.IN_STOCK].mean() < 0.2


def test_a_point_in_time_join_finds_the_behaviour_that_drove_the_page(small):
    """The snapshot at or before each page holds exactly the planted behaviour, so a training set can recover it."""
    pages = small.tables.impressions.drop_duplicates(schema.PAGE_ID).sort_values(schema.TS, kind="stable")
    users = small.tables.users.sort_values(schema.UPDATED_AT)
    joined = pd.merge_asof(pages, users, left_on=schema.TS, right_on=schema.UPDATED_AT, by=schema.USER_ID)
    order = pages[schema.PAGE_ID].str.slice(1).astype(int).to_numpy()
    np.testing.assert_allclose(
        joined[list(schema.USER_PRICING_FEATURES)].to_numpy(), small.planted.behaviour[order], equal_nan=True
    )


def test_a_snapshot_knows_only_orders_before_it(small):
    users, orders = small.tables.users, small.tables.orders
    late = users[users[schema.UPDATED_AT] == users[schema.UPDATED_AT].max()].set_index(schema.USER_ID)
    at = users[schema.UPDATED_AT].max()
    window = orders[(orders[schema.TS] < at) & (orders[schema.TS] >= at - pd.Timedelta(days=90))]
    counted = window.groupby(schema.USER_ID).size().reindex(late.index, fill_value=0)
    assert (counted - late[schema.ORDERS_90D]).abs().max() <= 1  # a second's rounding at the window's edge
    newest = orders[orders[schema.TS] < at].groupby(schema.USER_ID)[schema.TS].max().reindex(late.index)
    gap = (at - newest).dt.total_seconds() / 86_400 - late[schema.RECENCY_DAYS]
    assert gap.abs().max() < 0.01
    assert users.groupby(schema.USER_ID).size().min() > 3


def test_logged_prices_are_menu_points_with_their_propensities(small):
    impressions = small.tables.impressions
    grid = np.round(impressions[schema.LIST_PRICE].to_numpy()[:, None] * MENU, 2)
    assert (np.abs(grid - impressions[schema.PRICE].to_numpy()[:, None]).min(axis=1) < 1e-9).all()
    at_list = impressions[impressions[schema.PRICE] == impressions[schema.LIST_PRICE]]
    assert impressions[schema.PROPENSITY].between(0.15, 1).all()
    # Inverse-propensity mass of one menu point is the number of impressions, within four standard errors.
    weight = 1.0 / at_list[schema.PROPENSITY].to_numpy()
    error = np.sqrt((weight**2).sum() - len(impressions))
    assert abs(weight.sum() - len(impressions)) < 4 * error


def test_a_logged_price_is_never_below_cost_or_the_minimum_advertised_price(small):
    items = small.tables.items.sort_values(schema.UPDATED_AT)
    shown = small.tables.impressions.sort_values(schema.TS)
    joined = pd.merge_asof(
        shown[[schema.ITEM_ID, schema.TS, schema.PRICE]],
        items[[schema.ITEM_ID, schema.UPDATED_AT, schema.UNIT_COST, schema.MAP_PRICE]],
        left_on=schema.TS,
        right_on=schema.UPDATED_AT,
        by=schema.ITEM_ID,
    )
    assert (joined[schema.PRICE] > joined[schema.UNIT_COST]).all()
    assert not (joined[schema.PRICE] < joined[schema.MAP_PRICE] - 1e-9).any()


def fit(shop, *, shock=True):
    """Maximum likelihood of the planted parameters by plain BFGS on the formula; item effects are given."""
    planted, impressions = shop.planted, shop.tables.impressions
    n_pages = planted.page_row.max() + 1
    n, c = len(impressions) // n_pages, len(planted.alpha_category)
    y = (impressions[schema.PRICE] / impressions[schema.LIST_PRICE]).to_numpy()
    z = np.nan_to_num((planted.behaviour - planted.centre) / planted.scale)[planted.page_row]
    half = np.column_stack([np.eye(c)[planted.catalogue.category[planted.item_row]], planted.similarity, z])
    X = np.column_stack([half, -half * y[:, None], *([planted.shock] if shock else [])])
    offset = planted.alpha_item[planted.item_row] - planted.beta_item[planted.item_row] * y
    in_stock = impressions[schema.IN_STOCK].to_numpy().reshape(n_pages, n)
    bought = impressions[schema.PURCHASED].to_numpy().astype(float).reshape(n_pages, n)
    X = X.reshape(n_pages, n, -1)

    def loss(theta):
        u = X @ theta + offset.reshape(n_pages, n)
        inclusive = np.logaddexp(0.0, logsumexp(np.where(in_stock, u, -np.inf), axis=1))
        q = choice_probabilities(u, in_stock)
        return inclusive.sum() - (bought * u).sum(), -np.einsum("pn,pnk->k", bought - q, X)

    theta = minimize(loss, np.zeros(X.shape[-1]), jac=True, method="BFGS", options={"gtol": 1e-3}).x
    q = choice_probabilities(X @ theta + offset.reshape(n_pages, n), in_stock)
    mean = np.einsum("pn,pnk->pk", q, X)
    information = np.einsum("pn,pnk,pnl->kl", q, X, X) - mean.T @ mean
    return theta, information


def truth(planted, *, shock=True):
    a = [planted.alpha_category, [planted.kappa], planted.eta]
    b = [planted.beta_category, [planted.beta_s], planted.omega]
    return np.concatenate([*a, *b, *([[planted.phi]] if shock else [])])


def unfloored(effects):
    """Effects whose slopes stay far above the floor, so that the model is linear in its parameters."""
    return dataclasses.replace(effects, omega=(0.1, -0.1, -0.05, 0.6), beta_low=6.0)


def test_the_planted_parameters_are_recovered_by_a_direct_logit_fit():
    design = ShopDesign(effects=unfloored(ShopDesign().effects))
    shop = simulate_shop(dataclasses.replace(SMALL, impressions=48_000), seed=5, design=design)
    theta, information = fit(shop, shock=False)
    gap = theta - truth(shop.planted, shock=False)
    assert (np.abs(gap) < 4 * np.sqrt(np.diag(np.linalg.inv(information)))).all()
    distance = gap @ information @ gap  # chi-squared with 26 degrees of freedom: the whole vector, not only each part
    assert distance < 26 + 4 * np.sqrt(2 * 26)


@pytest.mark.slow
def test_endogenous_prices_bias_a_plain_fit_and_the_control_function_repairs_it():
    design = ShopDesign(effects=unfloored(ShopDesign().effects), endogenous=True)
    shop = simulate_shop(dataclasses.replace(SMALL, impressions=48_000), seed=6, design=design)
    assert shop.tables.impressions[schema.PROPENSITY].isna().all()
    c = len(shop.planted.beta_category)
    planted = truth(shop.planted)
    theta, information = fit(shop)
    error = np.sqrt(np.diag(np.linalg.inv(information)))
    assert (np.abs(theta - planted) < 4 * error).all()
    plain, _ = fit(shop, shock=False)
    slopes = slice(c + 5, 2 * c + 5)
    assert (plain[slopes] - planted[slopes]).mean() < -1.0


def test_the_oracle_agrees_with_what_was_bought(small):
    """Expected purchases at the logged prices equal the purchases made, within four standard errors."""
    planted, impressions = small.planted, small.tables.impressions
    n = SMALL.page_size
    items, s = planted.item_row.reshape(-1, n), planted.similarity.reshape(-1, n)
    y = (impressions[schema.PRICE] / impressions[schema.LIST_PRICE]).to_numpy().reshape(-1, n)
    q = planted.demand(items, s, planted.behaviour, y, in_stock=impressions[schema.IN_STOCK].to_numpy().reshape(-1, n))
    expected, total = q.sum(), q.sum(axis=1)
    assert abs(impressions[schema.PURCHASED].sum() - expected) < 4 * np.sqrt((total * (1 - total)).sum())
    cost = planted.catalogue.unit_cost[items]
    listed = planted.catalogue.list_price[items]
    np.testing.assert_allclose(
        planted.profit(items, s, planted.behaviour, y, cost),
        (planted.demand(items, s, planted.behaviour, y) * (y * listed - cost)).sum(axis=1),
    )


def test_an_unknown_customer_has_no_personal_effect(tiny):
    items, s = np.arange(5), np.full(5, 0.7)
    plain = tiny.planted.page(items, s)
    np.testing.assert_array_equal(tiny.planted.page(items, s, np.full(4, np.nan)), plain)
    np.testing.assert_allclose(tiny.planted.page(items, s, tiny.planted.centre), plain)


def test_choice_probabilities_survive_extreme_utilities_and_an_empty_shelf():
    q = choice_probabilities(np.array([1e4, -1e4, 1e4]))
    np.testing.assert_allclose(q, [0.5, 0.0, 0.5])
    assert choice_probabilities(np.array([3.0, 2.0]), np.array([False, False])).sum() == 0


def test_relevance_puts_the_wanted_product_first_and_strangers_last(small):
    planted = small.planted
    latent = planted.relevance([str(text) for text in planted.wishes.text[:50]])
    assert latent.min() >= 0
    assert latent.max() <= 1
    for row, wish in zip(latent, range(50), strict=True):
        same = planted.catalogue.type == planted.wishes.type[wish]
        assert row[same].min() > row[planted.catalogue.category != planted.wishes.category[wish]].max()
    with pytest.raises(KeyError):
        planted.relevance(["no such query"])


def test_words_alone_do_not_give_relevance_away(small):
    """Many queries share no word with the products they want: a token matcher cannot solve the task."""
    judged = small.tables.judgements
    exact = judged[judged[schema.RELEVANCE] > 0.9]
    shared = [
        bool(set(query.lower().split()) & set(title.lower().replace(",", " ").split()))
        for query, title in zip(exact[schema.QUERY], exact[schema.TITLE], strict=True)
    ]
    assert 0.15 < 1 - np.mean(shared) < 0.7
    assert np.corrcoef(judged[schema.RELEVANCE], latent_of(small, judged))[0, 1] > 0.9


def latent_of(shop, judged):
    column = {item: i for i, item in enumerate(shop.planted.catalogue.item_id)}
    queries = judged[schema.QUERY].unique().tolist()
    latent = shop.planted.relevance(queries)
    row = {query: i for i, query in enumerate(queries)}
    pairs = zip(judged[schema.QUERY], judged[schema.ITEM_ID], strict=True)
    return [latent[row[query], column[item]] for query, item in pairs]


def test_prices_can_be_read_in_the_texts():
    """The words of a title explain most of the log list price: there is something for a price model to learn."""
    catalogue = make_catalogue(2_000, np.random.default_rng(0))
    titles = pd.Series(catalogue.title).str.lower().str.replace(r"[^a-z0-9 ]", " ", regex=True)
    words = titles.str.split().str.join(" ").str.get_dummies(sep=" ")
    log_price = np.log(catalogue.list_price)
    X = np.column_stack([words.to_numpy(float), np.ones(len(catalogue))])
    w = np.linalg.solve(X[:1000].T @ X[:1000] + np.eye(X.shape[1]), X[:1000].T @ log_price[:1000])
    residual = log_price[1000:] - X[1000:] @ w
    assert 1 - residual.var() / log_price[1000:].var() > 0.7


def test_groups_live_in_the_audit_table_alone_and_income_leans_on_thrift(small):
    audit = small.tables.audit_groups
    for name, frame in small.tables.frames().items():
        if name != schema.AUDIT_GROUPS.name:
            assert not {schema.GROUP, schema.ATTRIBUTE} & set(frame.columns)
    income = audit[audit[schema.ATTRIBUTE] == "income"].set_index(schema.USER_ID)[schema.GROUP]
    share = small.tables.latest_users().set_index(schema.USER_ID)[schema.PROMOTION_RESPONSE].groupby(income).mean()
    assert share["low"] > share["high"]


def test_the_season_moves_the_search_mix():
    def mix(season):
        shop = simulate_shop(SMALL, seed=2, design=ShopDesign(season=season))
        impressions = shop.tables.impressions
        month = (impressions[schema.TS] - impressions[schema.TS].min()).dt.days // PERIOD_DAYS
        fitness = shop.planted.catalogue.category[shop.planted.item_row] == 7
        return pd.Series(fitness).groupby(month.to_numpy()).mean()

    swing, calm = mix(0.9), mix(0.0)
    assert swing.iloc[0] - swing.iloc[5] > 0.08
    assert abs(calm.iloc[0] - calm.iloc[5]) < 0.05


@pytest.mark.parametrize(
    ("change", "words"),
    [({"items": 10}, "items: 10"), ({"users": 0}, "users: 0"), ({"impressions": 5}, "impressions: 5")],
)
def test_a_size_that_cannot_be_is_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        ShopSize(**change)


def test_a_design_outside_its_range_is_refused():
    with pytest.raises(ConfigError, match="season"):
        ShopDesign(season=1.0)
