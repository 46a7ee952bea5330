"""Each promise about a quoted price: kept by a clean log, found when broken, counted and shown."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.base.types import Reason, Status, worst
from fairtag.fairness.invariants import NEEDED, check_invariants, violations
from fairtag.policy.disclosure import read_disclosures

DISCLOSURES = read_disclosures()
NEW_YORK = "THIS PRICE WAS SET BY AN ALGORITHM USING YOUR PERSONAL DATA"
RHO = 1.25


def quotes(n=40):
    """Personal prices of one item and epoch in New York, all inside the corridor."""
    return pd.DataFrame(
        {
            schema.QUOTE_ID: [f"q{row}" for row in range(n)],
            schema.TS: pd.Timestamp("2026-11-22 12:00", tz="UTC"),
            schema.USER_KEY: [f"k{row}" for row in range(n)],
            schema.ITEM_ID: "i1",
            schema.LIST_PRICE_MINOR: 1_000,
            schema.PRICE_MINOR: np.linspace(800, 1_000, n).round().astype(int),
            schema.LOW_MINOR: 800,
            schema.HIGH_MINOR: 1_000,
            schema.UNIT_COST_MINOR: 500,
            schema.PERSONALISED: True,
            schema.REASONS: [[Reason.DEMAND_HIGH_INTENT.value]] * n,
            schema.MODEL_VERSION: "m1",
            schema.JURISDICTION: "US-NY",
            schema.DISCLOSURE: NEW_YORK,
            schema.CURRENCY: "USD",
            schema.EPOCH: 20_000,
            schema.DEGRADED: None,
        }
    )


def broken(frame, rho=RHO, markup=0.0):
    checked = check_invariants(frame, rho=rho, markup=markup, disclosures=DISCLOSURES)
    return {entry.rule: entry.count for entry in violations(checked)}


def change(row, **values):
    frame = quotes()
    for name, value in values.items():
        frame.loc[row, name] = value
    return frame


def test_a_clean_log_breaks_nothing_and_every_promise_is_listed():
    checked = check_invariants(quotes(), rho=RHO, disclosures=DISCLOSURES)
    assert [entry.rule for entry in checked] == [
        "corridor", "list", "floor", "ceiling", "disclosure", "opt_out", "sticky",
    ]  # fmt: skip
    assert all((entry.count, entry.checked) == (0, 40) for entry in checked)


def test_a_price_a_cent_beyond_the_corridor_is_found():
    frame = quotes().assign(**{schema.HIGH_MINOR: 1_100, schema.LIST_PRICE_MINOR: 1_100})
    frame.loc[3, schema.PRICE_MINOR] = 1_001  # 800 x 1.25 is 1,000
    assert broken(frame) == {"corridor": 1}
    frame.loc[3, schema.PRICE_MINOR] = 1_000
    assert broken(frame) == {}


@pytest.mark.parametrize("apart", [{schema.EPOCH: 20_001}, {schema.ITEM_ID: "i2"}, {schema.CURRENCY: "EUR"}])
def test_other_items_epochs_and_currencies_have_corridors_of_their_own(apart):
    frame = quotes()
    other = quotes(1).assign(**{schema.PRICE_MINOR: 400, schema.LOW_MINOR: 300, **apart})
    assert broken(pd.concat([frame, other], ignore_index=True)) == {}
    assert broken(pd.concat([frame, other.assign(item_id="i1", epoch=20_000, currency="USD")]))["corridor"] > 30


def test_a_gap_that_list_prices_force_is_between_no_two_customers():
    sale = quotes(1).assign(**{schema.LIST_PRICE_MINOR: 639, schema.PRICE_MINOR: 500, schema.LOW_MINOR: 500})
    assert broken(pd.concat([quotes(), sale], ignore_index=True)) == {}
    sale[schema.LIST_PRICE_MINOR] = 640  # 1.25 times this is the 800 of one quote, which 500 is not
    assert broken(pd.concat([quotes(), sale], ignore_index=True)) == {"corridor": 1}


def test_the_corridor_is_that_of_every_pair_compared_one_by_one():
    rng = np.random.default_rng(0)
    n = 300
    listed = rng.choice([500, 620, 800, 1_000], n)
    frame = quotes(n).assign(
        **{
            schema.ITEM_ID: rng.choice(["i1", "i2", "i3"], n),
            schema.LIST_PRICE_MINOR: listed,
            schema.PRICE_MINOR: np.maximum(1, (listed * rng.uniform(0.6, 1.3, n)).astype(int)),
            schema.LOW_MINOR: 1,
            schema.HIGH_MINOR: 2_000,
        }
    )
    rows = list(zip(frame[schema.ITEM_ID], frame[schema.PRICE_MINOR], frame[schema.LIST_PRICE_MINOR], strict=True))
    naive = sum(
        any(item == other and p > RHO * q and shown * RHO >= p for other, q, shown in rows) for item, p, _ in rows
    )
    assert 0 < naive < n
    assert broken(frame)["corridor"] == naive


def test_above_list_below_the_floor_and_above_the_ceiling():
    assert broken(change(0, list_price_minor=799)) == {"list": 1}
    assert broken(change(39, high_minor=999)) == {"ceiling": 1}
    assert broken(change(0, low_minor=801)) == {"floor": 1}


def test_a_policy_that_allows_a_markup_is_held_to_list_and_that_markup():
    assert broken(change(39, list_price_minor=950), markup=0.0) == {"list": 1}
    assert broken(change(39, list_price_minor=950), markup=0.06) == {}  # 950 and 6 % is 1,007
    assert broken(change(39, list_price_minor=950), markup=0.05) == {"list": 1}  # 997.5: half a cent is no room
    assert broken(change(39, list_price_minor=800), markup=0.25) == {}  # 800 x 1.25 is 1,000, whatever floats say


def test_a_promised_price_stands_as_long_as_the_markup_on_todays_list_holds_it():
    first = quotes(1).assign(price_minor=1_040, high_minor=1_100)
    lower = first.assign(quote_id="later", price_minor=1_000, list_price_minor=1_000)
    lower[schema.TS] += pd.Timedelta(hours=1)
    log = pd.concat([first, lower], ignore_index=True)
    assert broken(log, markup=0.10) == {"sticky": 1}, "1,040 is within 10 % of list: the promise stood"
    fallen = log.assign(list_price_minor=[1_000, 900], price_minor=[1_040, 990])
    assert broken(fallen, markup=0.10) == {}, "990 is all that today's list allows"


@pytest.mark.parametrize("reason", [Reason.INFEASIBLE, Reason.LOW_CONFIDENCE_LIST])
def test_the_fallback_is_exempt_from_commercial_bounds_alone(reason):
    frame = change(39, low_minor=1_100, high_minor=900)
    assert broken(frame) == {"floor": 1, "ceiling": 1}
    frame.at[39, schema.REASONS] = [reason.value]
    assert broken(frame) == {}
    frame.loc[39, schema.LIST_PRICE_MINOR] = 999
    assert broken(frame) == {"list": 1}


def test_a_promised_price_stands_while_the_bounds_move_under_it():
    first, again = quotes(1), quotes(1).assign(quote_id="later", low_minor=850, high_minor=900)
    again[schema.TS] += pd.Timedelta(hours=1)
    assert broken(pd.concat([again, first], ignore_index=True)) == {}  # in whatever order the log is read
    assert broken(again) == {"floor": 1}
    stranger = again.assign(user_key="k9")
    assert broken(pd.concat([first, stranger], ignore_index=True)) == {"floor": 1}
    guests = pd.concat([first, again], ignore_index=True).assign(user_key=None)
    assert broken(guests) == {"floor": 1}  # nothing is promised to a guest


@pytest.mark.parametrize("text", [None, "", NEW_YORK.lower(), NEW_YORK + ".", " " + NEW_YORK])
def test_the_disclosure_must_be_there_to_the_byte(text):
    assert broken(change(5, disclosure=text)) == {"disclosure": 1}


@pytest.mark.parametrize("place", ["US-MD", "US-CT", "CN", "XX", None])
def test_a_personal_price_where_none_may_be_is_a_breach_whatever_it_says(place):
    assert broken(change(5, jurisdiction=place)) == {"disclosure": 1}


def test_a_personal_price_before_the_law_was_known_is_a_breach():
    assert broken(change(5, ts=pd.Timestamp("2025-07-07 23:59", tz="UTC"))) == {"disclosure": 1}
    assert broken(change(5, ts=pd.Timestamp("2025-07-08 00:00", tz="UTC"))) == {}


def test_a_price_that_is_not_personal_needs_no_text():
    assert broken(change(5, personalised=False, disclosure=None, jurisdiction=None)) == {}


@pytest.mark.parametrize("reason", [Reason.OPTED_OUT, Reason.JURISDICTION_OFF])
def test_a_personal_price_for_who_refused_it_is_a_breach(reason):
    frame = quotes()
    frame.at[7, schema.REASONS] = [reason.value, Reason.ANCHOR.value]
    assert broken(frame) == {"opt_out": 1}


def test_one_customer_one_item_one_epoch_one_model_is_one_price():
    assert broken(change(1, user_key="k0")) == {"sticky": 1}
    assert broken(change(1, user_key="k0", model_version="m2")) == {}
    assert broken(change(1, user_key="k0", epoch=20_001)) == {}
    assert broken(change([0, 1], user_key=None)) == {}
    assert broken(change(1, user_key="k0", price_minor=800)) == {}


def test_a_degraded_page_may_show_list_and_promises_only_that_the_price_will_not_rise():
    whole, degraded = quotes(1).assign(price_minor=900), quotes(1).assign(price_minor=1_000, degraded="features_slow")
    for frame in (whole, degraded):
        frame[schema.PERSONALISED] = False
    later = {
        name: frame.assign(ts=frame[schema.TS] + pd.Timedelta(hours=1))
        for name, frame in (("w", whole), ("d", degraded))
    }
    assert broken(pd.concat([degraded, later["w"]], ignore_index=True)) == {}
    assert broken(pd.concat([whole, later["d"]], ignore_index=True)) == {}
    assert broken(pd.concat([later["w"], degraded.assign(price_minor=899)], ignore_index=True)) == {"sticky": 1}
    assert broken(pd.concat([whole, later["d"].assign(price_minor=899)], ignore_index=True)) == {}


def test_a_promise_above_todays_list_does_not_stand():
    again = quotes(1).assign(price_minor=850, low_minor=700)
    first = quotes(1).assign(price_minor=900, low_minor=700)
    again[schema.TS] += pd.Timedelta(hours=1)
    assert broken(pd.concat([first, again], ignore_index=True)) == {"sticky": 1}
    assert broken(pd.concat([first, again.assign(list_price_minor=850)], ignore_index=True)) == {}


def test_who_opts_out_or_moves_is_promised_anew():
    first, again = quotes(1), quotes(1).assign(price_minor=850, personalised=False)
    again[schema.TS] += pd.Timedelta(hours=1)
    assert broken(pd.concat([first, again], ignore_index=True)) == {"sticky": 1}
    assert broken(pd.concat([first, again.assign(jurisdiction="EU")], ignore_index=True)) == {}
    again.at[0, schema.REASONS] = [Reason.OPTED_OUT.value]
    assert broken(pd.concat([first, again], ignore_index=True)) == {}


def test_examples_show_the_quote_and_never_the_customer():
    checked = check_invariants(quotes().assign(list_price_minor=700), rho=RHO, disclosures=DISCLOSURES)
    entry = next(entry for entry in checked if entry.rule == "list")
    assert entry.count == 40
    assert len(entry.examples) == 3
    assert entry.examples[0] == {
        "quote_id": "q0", "item_id": "i1", "epoch": 20_000, "price_minor": 800, "list_price_minor": 700,
    }  # fmt: skip


def test_an_empty_log_breaks_nothing_and_says_that_nothing_was_checked():
    checked = check_invariants(quotes().iloc[:0], rho=RHO, disclosures=DISCLOSURES)
    assert {(entry.count, entry.checked) for entry in checked} == {(0, 0)}


@pytest.mark.parametrize("column", NEEDED)
def test_a_missing_column_is_named(column):
    with pytest.raises(MissingDataError, match=column):
        check_invariants(quotes().drop(columns=column), rho=RHO, disclosures=DISCLOSURES)


def test_the_worst_of_several_verdicts_and_of_none():
    assert worst([Status.PASS, Status.WARN, Status.URGENT]) is Status.URGENT
    assert worst([Status.PASS, Status.UNKNOWN]) is Status.UNKNOWN
    assert worst([Status.WARN, Status.UNKNOWN]) is Status.UNKNOWN
    assert worst([Status.PASS]) is Status.PASS
    assert worst([]) is Status.UNKNOWN
