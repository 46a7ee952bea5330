"""The nested logit of a panel: a textbook likelihood as the oracle, planted truths for its intervals and tests."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize
from scipy.special import logsumexp

from fairtag.base.errors import DataError
from fairtag.demand import ChoicePanel, nested_logit

BRANDS, SIZES = np.array(["a", "a", "b", "b"]), np.array(["s", "l", "s", "l"])
LEVELS, SLOPE = np.array([0.6, 0.2, 0.4, -0.2]), 2.0
PAGE = {"page": ["store", "week"], "quantity": "units", "outside": "none", "nests": "brand", "effects": ["item"]}


def chances(utility, zeta):
    """Textbook: choice of a nest by its inclusive value, and of an item in it; (P, 4) and (P,) of neither."""
    within = utility.reshape(-1, 2, 2) / zeta
    inclusive = logsumexp(within, axis=2)
    whole = zeta * inclusive
    top = logsumexp(np.column_stack([whole, np.zeros(len(whole))]), axis=1)
    q = np.exp(whole - top[:, None])[:, :, None] * np.exp(within - inclusive[:, :, None])
    return q.reshape(-1, 4), np.exp(-top)


def table(zeta, *, weeks=60, stores=5, visits=40, seed=0):
    """Store-weeks of four items, two sizes of two brands; brands are the nests."""
    rng, pages = np.random.default_rng(seed), weeks * stores
    price = rng.uniform(0.6, 1.4, (pages, 4))
    q, none = chances(LEVELS - SLOPE * price, zeta)
    sold = np.array([rng.multinomial(visits, each) for each in np.column_stack([q, none])])
    return pd.DataFrame(
        {
            "store": np.repeat(np.arange(pages) // weeks, 4),
            "week": np.repeat(np.arange(pages) % weeks, 4),
            "item": np.tile(["a-s", "a-l", "b-s", "b-l"], pages),
            "brand": np.tile(BRANDS, pages),
            "price": price.ravel(),
            "units": sold[:, :4].ravel(),
            "none": np.repeat(sold[:, 4], 4),
        }
    )


def fitted(zeta, **size):
    return nested_logit(ChoicePanel.of(table(zeta, **size), **PAGE))


def test_coefficients_and_likelihood_are_those_of_the_textbook_formula():
    rows = table(0.5)
    units, price = rows["units"].to_numpy().reshape(-1, 4), rows["price"].to_numpy().reshape(-1, 4)
    none = rows["none"].to_numpy()[::4]

    def loss(theta):
        q, left = chances(theta[:4] - theta[4] * price, np.exp(theta[5]))
        return -float((units * np.log(q)).sum() + (none * np.log(left)).sum())

    oracle = optimize.minimize(loss, np.r_[np.zeros(4), 1.0, -0.3], method="BFGS", options={"gtol": 1e-4})
    found = nested_logit(ChoicePanel.of(rows, **PAGE))
    assert found.log_likelihood == pytest.approx(-oracle.fun, abs=1e-6)
    assert found.dissimilarity[0] == pytest.approx(np.exp(oracle.x[5]), abs=2e-5)
    assert found.coefficients["price"][0] == pytest.approx(-oracle.x[4], abs=5e-5)
    for name, value in zip(["a-s", "a-l", "b-s", "b-l"], oracle.x[:4], strict=True):
        assert found.coefficients[f"item_{name}"][0] == pytest.approx(value, abs=5e-5)


@pytest.mark.slow
def test_intervals_of_dissimilarity_price_and_elasticity_hold_the_planted_truth_as_often_as_they_say():
    truth, draws, hits = 0.5, 60, np.zeros(3)
    for seed in range(draws):
        rows = table(truth, weeks=20, seed=seed)
        found = nested_logit(ChoicePanel.of(rows, **PAGE))
        value, error = found.coefficients["price"]
        price = rows["price"].to_numpy().reshape(-1, 4)
        q, _ = chances(LEVELS - SLOPE * price, truth)
        share = q / np.repeat(q.reshape(-1, 2, 2).sum(axis=2), 2, axis=1)
        own = -SLOPE * price * (1 / truth - (1 / truth - 1) * share - q)
        elasticity = np.average(own, weights=rows["units"].to_numpy().reshape(-1, 4))
        hits += [
            found.dissimilarity[1] < truth < found.dissimilarity[2],
            abs(value + SLOPE) < 1.96 * error,
            found.elasticity[1] < elasticity < found.elasticity[2],
        ]
    assert (hits >= 52).all(), hits  # of 60 at .95: a chance of 1 in 200


@pytest.mark.slow
def test_nests_are_found_where_they_are_planted_and_hardly_ever_where_not():
    nested = fitted(0.4)
    assert nested.ratio.p_value < 1e-6
    assert nested.independence.p_value < 0.01
    assert nested.dissimilarity[2] < 1.0
    plain = [fitted(1.0, weeks=20, seed=seed) for seed in range(30)]
    assert sum(each.ratio.p_value < 0.05 for each in plain) <= 5
    assert sum(each.independence.p_value < 0.05 for each in plain) <= 5
    assert sum(each.dissimilarity[1] < 1.0 < each.dissimilarity[2] for each in plain) >= 25


def test_counts_of_repeated_pages_are_those_of_their_weight():
    rows = table(0.5, weeks=20)
    weighted = nested_logit(ChoicePanel.of(rows.assign(times=3.0), weight="times", cluster="store", **PAGE))
    again = pd.concat([rows.assign(week=rows["week"] + 1_000 * k) for k in range(3)])
    repeated = nested_logit(ChoicePanel.of(again, cluster="store", **PAGE))
    assert weighted.dissimilarity == pytest.approx(repeated.dissimilarity, rel=1e-5)
    assert weighted.elasticity == pytest.approx(repeated.elasticity, rel=1e-5)


def test_what_cannot_be_read_is_refused_by_its_column():
    rows = table(0.5, weeks=5)
    with pytest.raises(DataError, match="no column brand"):
        ChoicePanel.of(rows.drop(columns="brand"), **PAGE)
    with pytest.raises(DataError, match="no page has two alternatives of one item"):
        ChoicePanel.of(rows, **{**PAGE, "nests": "item"})
    assert ChoicePanel.of(rows.assign(price=rows["price"].where(rows.index != 3)), **PAGE).left_out == 1


REFUSED = {
    "returns": (lambda rows: rows.assign(units=rows["units"] - 30), {}, "units: .* below 0"),
    "rows twice": (lambda rows: pd.concat([rows, rows]), {}, "rows are copies of another row of their page"),
    "nothing left unsold": (lambda rows: rows.assign(none=0), {}, "none is 0 in every row"),
    "a product that never sold": (
        lambda rows: rows.assign(units=rows["units"].where(rows["item"] != "a-l", 0)),
        {"effects": ["item"]},
        "item_a-l was never bought",
    ),
    "a price for each product": (
        lambda rows: rows.assign(price=1.0 + pd.factorize(rows["item"])[0]),
        {"effects": ["item"]},
        "price follows from effects and covariates",
    ),
    "an unknown nest": (
        lambda rows: rows.assign(brand=rows["brand"].where(rows["item"] != "a-l")),
        {},
        "brand is unkn",
    ),
    "one cluster": (lambda rows: rows.assign(area=1), {"cluster": "area"}, "area: there is one cluster"),
    "a cluster that cuts a page": (lambda rows: rows, {"cluster": "item"}, "item: .* differ between the rows"),
    "a thousand effects": (
        lambda rows: rows.assign(row=np.arange(len(rows))),
        {"effects": ["row"]},
        "row has .* values, and a nested logit fits a utility for each of at most 300",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_counts_that_would_give_a_wrong_number_are_refused_by_their_column(kind):
    change, named, message = REFUSED[kind]
    with pytest.raises(DataError, match=message):
        ChoicePanel.of(change(table(0.5, weeks=20)), **{**PAGE, **named})


@pytest.mark.parametrize("column", ["none", "visits"])
def test_a_page_that_says_two_things_is_refused(column):
    rows = table(0.5, weeks=4).assign(visits=1.0)
    rows[column] = rows[column].astype(float)
    rows.loc[5, column] += 1.0
    with pytest.raises(DataError, match=rf"{column}: \d+ values such as \[.*\] differ between the rows of a page"):
        ChoicePanel.of(rows, **PAGE, weight="visits")


def test_of_two_effects_that_span_each_other_the_later_levels_are_left_out():
    found = ChoicePanel.of(table(0.5, weeks=4), **{**PAGE, "effects": ["item", "brand"]})
    assert found.names == ("price", "item_a-l", "item_a-s", "item_b-l", "item_b-s")
