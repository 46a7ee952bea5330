"""The report of an experiment: figures against a hand count, verdicts against planted effects, logs that are read."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError
from fairtag.base.pseudonym import user_key
from fairtag.evaluation.experiment_customers import customers_of, follow, key_change, known_keys
from fairtag.evaluation.experiment_log import BOUGHT, QUOTED, ExperimentLog, ExperimentPages
from fairtag.evaluation.experiment_report import Verdict, report_experiment
from fairtag.policy.experiments import HOLDOUT, Experiment

START = datetime(2026, 12, 1, tzinfo=UTC)
HALVES = [{"name": "list", "share": 0.5, "prices": "list"}, {"name": "learned", "share": 0.5}]


def experiment(**changes):
    return Experiment(**{"name": "t", "effect": 0.4, "window_days": 2.0, "arms": HALVES, **changes})


def quote(key, quote_id, day, arm, **changes):
    row = {
        schema.QUOTE_ID: quote_id,
        schema.ITEM_ID: "i",
        schema.TS: pd.Timestamp(START + timedelta(days=day)),
        schema.USER_KEY: key,
        schema.GUEST_KEY: None,
        schema.EPOCH: 20_788 + int(day),
        schema.CATEGORY: "c",
        schema.LIST_PRICE_MINOR: 1_000,
        schema.PRICE_MINOR: 900,
        schema.UNIT_COST_MINOR: 500,
        schema.CURRENCY: "EUR",
        schema.EXPERIMENT: "t",
        schema.ARM: arm,
    }
    return {**row, **changes}


def sale(quote_id, day, quantity=1, price=900):
    at = pd.Timestamp(START + timedelta(days=day))
    return dict(zip(BOUGHT, (quote_id, "i", at, quantity, price), strict=True))


def pages(quotes, outcomes=()):
    frame = pd.DataFrame(quotes, columns=list(QUOTED))
    frame[schema.TS] = pd.to_datetime(frame[schema.TS], utc=True)
    bought = pd.DataFrame(list(outcomes), columns=list(BOUGHT))
    bought[schema.TS] = pd.to_datetime(bought[schema.TS], utc=True)
    return ExperimentPages(frame, bought)


def simulated(lift, *, n=4_000, days=20.0, seed=0, declared=None, lost=0.0, buys=0.3):
    """Customers who come over some days, one page each; the treatment buys ``lift`` times as often."""
    rng, found = np.random.default_rng(seed), declared or experiment()
    first = np.sort(rng.uniform(0, days, n))
    arms = [found.split.arm(f"{seed}-{k}") for k in range(n)]
    chance = np.array([buys * (lift if arm == "learned" else 1.0) for arm in arms])
    bought = rng.random(n) < chance
    kept = np.array([arm != "learned" for arm in arms]) | (rng.random(n) >= lost)
    rows = [quote(f"k{k}", f"q{k}", first[k], arms[k]) for k in range(n) if kept[k]]
    return found, pages(rows, [sale(f"q{k}", first[k] + 0.1) for k in np.flatnonzero(bought & kept)])


def test_figures_are_those_of_a_hand_count():
    rows = [
        quote("a", "q1", 0, "list"),
        quote("a", "q2", 1, "list"),
        quote("b", "q3", 0, "learned", price_minor=800),
        quote("c", "q4", 3, "learned"),
        quote("d", "q5", 0, "learned"),
        quote("d", "q6", 1, "list"),  # seen in a second arm
        quote(None, "q7", 0, "list"),  # a log that does not name sessions
        quote(None, "q8", 0, "list", guest_key="e"),
        quote(None, "q9", 1, "list", guest_key="e"),
    ]
    sold = [
        sale("q1", 0.5, quantity=2),
        sale("q2", 2.5),  # after the window of two days
        sale("q3", 1, price=800),
        sale("q7", 1),
        sale("q9", 1, quantity=3),
        sale("q5", 1, quantity=0),
    ]
    log = pages(rows, sold)
    found = customers_of(follow(log.quotes), log.outcomes, 2.0, 100, START + timedelta(days=4))
    assert found["profit"].to_dict() == {"a": 8.0, "b": 3.0, "c": 0.0, "d": 0.0, "e": 12.0}
    assert found["conversion"].to_dict() == {"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0, "e": 1.0}
    assert found["whole"].to_dict() == {"a": True, "b": True, "c": False, "d": True, "e": True}
    assert found["moved"].to_dict() == {"a": False, "b": False, "c": False, "d": True, "e": False}
    assert found["guest"].to_dict() == {"a": False, "b": False, "c": False, "d": False, "e": True}
    report = report_experiment(experiment(), pages(rows, sold), now=START + timedelta(days=4))
    control, learned = report.arms
    assert (control.customers, control.whole, control.pages, control.guest_pages) == (2, 2, 6, 3)
    assert (control.profit, control.guests, control.guest_profit) == (10.0, 1, 12.0)
    assert (learned.customers, learned.whole, learned.profit, learned.conversion) == (3, 2, 1.5, 0.5)
    assert learned.price == pytest.approx((0.8 + 0.9 + 0.9) / 3)
    assert report.moved == 1
    left_out = report.uncounted
    assert (left_out.guest_pages, left_out.guest_purchases, left_out.guest_profit) == (1, 1, 4.0)
    assert left_out.words == (
        "1 pages of guests do not count, nor do 1 items bought from them (profit 4.00): "
        "the log has no name of their sessions",
    )
    assert report.guests == (
        "1 of the counted are guests (profit each: list 12.00): a guest is a session, and counts again as a customer "
        "after signing in"
    )


def returning(key_of, *, n=600, days=24.0, seed=3):
    """Customers who come back every few days; ``key_of(customer, day)`` is their name in the log."""
    rng, found = np.random.default_rng(seed), experiment()
    rows, sold = [], []
    for k in range(n):
        at = np.sort(rng.uniform(0, days, 1 + rng.poisson(4)))
        for visit, day in enumerate(at):
            rows.append(quote(key_of(k, day), f"q{k}-{visit}", day, found.split.arm(f"u{k}")))
            if rng.random() < 0.3:
                sold.append(sale(f"q{k}-{visit}", day + 0.01))
    rows.sort(key=lambda row: row[schema.TS])
    return pages(rows, sold)


# Three pages a person, of which .4 sell at a profit of 4; a fifth are guests first, who sign in where they come twice.
PLANTED_GAIN = 0.25 * 3 * 0.4 * 4.0 / (1 + 0.2 * (1 - np.exp(-2.0)))


def with_guests(lift, seed, *, n=300, days=10.0):
    """People of whom three in ten always sign in, half never do, and a fifth are guests first and sign in later.

    A guest's session is assigned an arm by itself, as is the customer; each visit buys by the arm it is shown, and by
    how much the person likes to buy, so that neither visits nor a person's two names are independent.
    """
    rng, found, rows, sold = np.random.default_rng(seed), experiment(effect=1.2), [], []
    for k in range(n):
        taste, at, kind = rng.choice([0.1, 0.7]), rng.uniform(0, days), rng.choice(3, p=[0.3, 0.5, 0.2])
        visits = 1 + rng.poisson(2)
        for visit in range(visits):
            guest = kind == 1 or (kind == 2 and visit < visits / 2)
            arm, day = found.split.arm(f"{seed} {'s' if guest else 'u'}{k}"), at + 0.01 * visit
            who = (None, f"s{k}") if guest else (f"u{k}", None)
            rows.append(quote(who[0], f"q{k}-{visit}", day, arm, guest_key=who[1]))
            if rng.random() < taste * (lift if arm == "learned" else 1.0):
                sold.append(sale(f"q{k}-{visit}", day + 0.001))
    return found, pages(rows, sold)


@pytest.mark.slow
def test_guests_count_by_session_and_the_interval_of_the_gain_holds_the_truth():
    held, gains, now = 0, [], START + timedelta(days=13)
    for seed in range(40):
        report = report_experiment(*with_guests(1.25, seed), now=now)
        control, learned = report.arms
        assert control.guests > 60
        assert report.uncounted.guest_pages == 0
        gains.append(learned.profit - control.profit)
        error = np.hypot(control.high - control.low, learned.high - learned.low) / 2
        held += abs(gains[-1] - PLANTED_GAIN) <= error
    assert np.mean(gains) == pytest.approx(PLANTED_GAIN, abs=3 * np.std(gains) / np.sqrt(40))
    assert held >= 34  # P(fewer | 95 %) is under 1 %


@pytest.mark.slow
def test_equal_arms_with_guests_are_decided_no_more_often_than_the_level():
    now = START + timedelta(days=13)
    decided = sum(
        report_experiment(*with_guests(1.0, seed), now=now).verdict in (Verdict.DECIDED, Verdict.HARM)
        for seed in range(100, 160)
    )
    assert decided <= 8  # P(more | 5 %) is under 1 %


OLD, NEW, CHANGE = b"o" * 32, b"n" * 32, 12.0


def rotated(k, day):
    return user_key(f"u{k}", NEW if day >= CHANGE else OLD)


def test_after_a_change_of_the_user_key_nobody_is_counted_twice():
    now = START + timedelta(days=27)
    log, whole = returning(rotated), returning(lambda k, _: user_key(f"u{k}", NEW))
    assert key_change(whole.quotes) is None
    changed = key_change(log.quotes)
    assert abs((changed - pd.Timestamp(START)) / pd.Timedelta(days=1) - CHANGE) < 0.1
    truth = customers_of(follow(whole.quotes), whole.outcomes, 2.0, 100, now)
    report = report_experiment(experiment(), log, now=now)
    first = truth["first"] + timedelta(days=2.0)
    assert sum(arm.customers for arm in report.arms) == int((first <= changed).sum())
    counted = report.arms[0]
    mine = truth[(first <= changed) & (truth[schema.ARM] == "list")]
    assert counted.profit == pytest.approx(mine["profit"].mean())
    assert report.uncounted.customers > 400
    assert any("the user key changed at 2026-12-1" in words for words in report.uncounted.words)


def test_customers_who_are_known_under_both_keys_count_as_if_it_had_never_changed():
    now, names = START + timedelta(days=27), known_keys([f"u{k}" for k in range(600)], [NEW, OLD])
    whole = report_experiment(experiment(), returning(lambda k, _: user_key(f"u{k}", NEW)), now=now)
    report = report_experiment(experiment(), returning(rotated), now=now, names=names)
    assert report.arms == whole.arms
    assert report.comparisons == whole.comparisons
    assert report.uncounted == whole.uncounted


def test_of_customers_who_are_partly_known_the_others_count_before_the_change():
    now, names = START + timedelta(days=27), known_keys([f"u{k}" for k in range(300)], [NEW, OLD])
    log = returning(rotated)
    found = customers_of(follow(log.quotes, names), log.outcomes, 2.0, 100, now)
    counted = set(found.index[~found["excluded"]])
    both = [{user_key(f"u{k}", key) for key in (OLD, NEW)} for k in range(600)]
    assert max(len(counted & each) for each in both) == 1
    assert sum(bool(counted & each) for each in both[:300]) == len(set(log.quotes[schema.USER_KEY].map(names).dropna()))


def test_a_shop_where_nobody_comes_back_and_nights_without_pages_show_no_change_of_keys():
    rng = np.random.default_rng(1)
    hour = rng.integers(0, 20, 3_000) + rng.uniform(8, 20, 3_000) / 24  # days, open from 8 to 20
    rows = [quote(f"k{k}", f"q{k}-{v}", hour[k] + 0.01 * v, "list") for k in range(3_000) for v in range(2)]
    assert key_change(pages(rows).quotes) is None
    assert key_change(pages([]).quotes) is None


def test_a_sale_of_unknown_cost_earns_nothing_and_still_converts():
    rows = [quote("a", "q1", 0, "list", unit_cost_minor=np.nan)]
    found = customers_of(
        follow(pages(rows).quotes), pages(rows, [sale("q1", 1)]).outcomes, 2.0, 100, START + timedelta(days=9)
    )
    assert found[["profit", "conversion"]].to_numpy().tolist() == [[0.0, 1.0]]


def test_a_planted_gain_is_decided_for_the_better_arm():
    report = report_experiment(*simulated(1.6), now=START + timedelta(days=22))
    assert report.verdict is Verdict.DECIDED
    assert report.words.startswith("learned: profit surely rose")
    (compared,) = report.comparisons
    planted = 0.3 * 0.6 * 4.0
    assert 0 < compared.profit.low < planted < compared.profit.high
    assert compared.looks > 10


def test_a_planted_loss_stops_for_harm_and_names_the_command():
    report = report_experiment(*simulated(0.5), now=START + timedelta(days=22))
    assert report.verdict is Verdict.HARM
    assert "fairtag experiment stop t RUN" in report.words


def test_equal_arms_go_on_and_say_how_long():
    found, seen = simulated(1.0, declared=experiment(effect=0.1))
    report = report_experiment(found, seen, now=START + timedelta(days=22))
    assert report.verdict is Verdict.GO_ON
    assert report.needed is not None
    assert report.needed > 4_000
    assert "more days" in report.words


def test_equal_arms_are_decided_no_more_often_than_the_level():
    """Each of 120 tests is read on each of 22 days; at most one in twenty may ever decide."""
    decided = 0
    for seed in range(120):
        report = report_experiment(*simulated(1.0, n=1_000, seed=seed), now=START + timedelta(days=22))
        decided += report.verdict in (Verdict.DECIDED, Verdict.HARM)
    assert decided <= 12  # P(more | 5 %) is under 1 %


def test_a_test_that_ended_without_a_difference_is_enough():
    found, seen = simulated(1.0, declared=experiment(effect=0.1, ends="2026-12-20"))
    assert report_experiment(found, seen, now=START + timedelta(days=21)).verdict is Verdict.GO_ON
    report = report_experiment(found, seen, now=START + timedelta(days=22))
    assert report.verdict is Verdict.ENOUGH
    assert "no arm surely differs" in report.words
    stopped = experiment(effect=0.1, stopped=True)
    assert report_experiment(stopped, seen, now=START + timedelta(days=5)).verdict is Verdict.ENOUGH


def test_customers_lost_on_one_side_break_the_test_whatever_was_earned():
    report = report_experiment(*simulated(1.6, lost=0.25), now=START + timedelta(days=22))
    assert report.verdict is Verdict.BROKEN
    assert "planned shares" in report.words


def test_a_holdout_is_counted_and_not_compared():
    declared = experiment(holdout=0.2)
    report = report_experiment(*simulated(1.6, declared=declared), now=START + timedelta(days=22))
    assert [arm.arm for arm in report.arms] == ["list", "learned", HOLDOUT]
    assert [each.arm for each in report.comparisons] == ["learned"]
    assert not report.split.broken


def test_several_arms_share_the_level():
    arms = [{"name": "list", "share": 0.4, "prices": "list"}, {"name": "learned", "share": 0.3}]
    arms.append({"name": "cut", "share": 0.3, "prices": "uniform", "cut": 0.1})
    found, seen = simulated(1.6, declared=experiment(arms=arms))
    three = report_experiment(found, seen, now=START + timedelta(days=22))
    two = report_experiment(*simulated(1.6, declared=experiment()), now=START + timedelta(days=22))
    assert [each.arm for each in three.comparisons] == ["learned", "cut"]
    widths = [report.comparisons[0].profit.high - report.comparisons[0].profit.low for report in (three, two)]
    assert widths[0] > widths[1]


def test_too_few_customers_are_too_early_and_nothing_is_no_error():
    early = report_experiment(*simulated(1.6, n=150), now=START + timedelta(days=22))
    assert (early.verdict, early.comparisons[0].looks) == (Verdict.GO_ON, 0)
    assert "too early" in early.words
    nothing = report_experiment(experiment(), pages([]), now=START)
    assert nothing.verdict is Verdict.GO_ON
    assert nothing.first is None


def test_the_document_is_json_without_infinities():
    for report in (
        report_experiment(experiment(), pages([]), now=START),
        report_experiment(*simulated(1.6), now=START + timedelta(days=22)),
    ):
        text = json.dumps(report.to_json(), allow_nan=False)
        assert json.loads(text)["verdict"] == report.verdict.value


def test_gaps_between_groups_are_a_figure_of_each_arm():
    rng, rows = np.random.default_rng(0), []
    found = experiment()
    for k in range(1_600):
        arm, old = found.split.arm(f"k{k}"), k % 2
        price = 900 + (60 if old and arm == "learned" else 0)
        day = int(rng.integers(0, 3))
        rows += [quote(f"k{k}", f"q{k}", day, arm, item_id=f"i{item}", price_minor=price) for item in range(4)]
    groups = pd.DataFrame(
        {
            schema.USER_KEY: [f"k{k}" for k in range(1_600)],
            schema.ATTRIBUTE: "age",
            schema.GROUP: ["old" if k % 2 else "young" for k in range(1_600)],
        }
    )
    report = report_experiment(found, pages(rows), now=START + timedelta(days=9), groups=groups)
    control, learned = report.arms
    assert abs(control.gap) < 0.01
    assert abs(learned.gap) == pytest.approx(np.log(960 / 900), abs=0.01)
    assert learned.gap_group.startswith("age ")


def test_an_arm_that_the_policy_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="another experiment had this name"):
        report_experiment(experiment(), pages([quote("a", "q1", 0, "other")]), now=START + timedelta(days=1))
    mixed = [quote("a", "q1", 0, "list"), quote("a", "q2", 0, "list", currency="USD")]
    with pytest.raises(ConfigError, match="several currencies"):
        report_experiment(experiment(), pages(mixed), now=START + timedelta(days=1))


def test_a_log_is_read_file_by_file_each_row_once(tmp_path):
    quotes, outcomes = tmp_path / "quotes", tmp_path / "outcomes"
    for folder in (quotes, outcomes):
        folder.mkdir()
    rows = pd.DataFrame([quote("a", "q1", 1, "list"), quote("b", "q2", 0, "learned"), quote("c", "q3", 0, None)])
    rows.loc[2, schema.EXPERIMENT] = None
    rows.to_parquet(quotes / "quotes-1.parquet")
    rows.iloc[:1].to_parquet(quotes / "quotes-2.parquet")  # a row that was written twice
    rows.drop(columns=[schema.EXPERIMENT, schema.ARM]).to_parquet(quotes / "quotes-0.parquet")  # an older endpoint's
    (quotes / "quotes-3.parquet").write_bytes(b"no parquet")
    pd.DataFrame([sale("q1", 1.5), sale("q9", 1)]).to_parquet(outcomes / "outcomes-1.parquet")
    log = ExperimentLog(str(quotes), str(outcomes))
    for _ in range(2):
        found = log.read("t")
        assert found.quotes[schema.QUOTE_ID].tolist() == ["q2", "q1"]
        assert found.outcomes[schema.QUOTE_ID].tolist() == ["q1"]
        assert found.unreadable == ("quotes-3.parquet",)
    assert log.read("other").quotes.empty
    assert ExperimentLog(str(tmp_path / "nowhere")).read("t").quotes.empty
