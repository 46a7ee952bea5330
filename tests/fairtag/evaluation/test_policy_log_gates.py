"""What a log of drawn prices says about a policy: better, surely worse, or cannot tell yet, each by its own name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.log_evidence import LISTED, PUBLIC, LogEvidence
from fairtag.evaluation.policy_log_gates import ACCEPTED, policy_log_gates, share_beyond
from fairtag.model.capabilities import PASSING

STRICT = EvaluationLimits(require_experiment=True)


def evidence(pages, public, accepted) -> LogEvidence:
    """A shop whose best price is three quarters of list, with both policies' prices as shares of list."""
    shares = {PUBLIC: public, ACCEPTED: accepted, LISTED: 1.0}
    return replace(pages.evidence(public), prices={name: pages.price(share) for name, share in shares.items()})


@pytest.fixture(scope="module")
def pages(planted_pages):
    return planted_pages(7, pages=12_000)


def by_name(gates):
    return {gate.name: gate for gate in gates}


def test_a_policy_whose_prices_earn_more_passes_and_agrees_with_the_truth(pages):
    better = max((0.775, 0.85), key=lambda share: pages.truth(pages.price(share)))
    assert pages.truth(pages.price(better)) > pages.truth(pages.price(1.0))
    found = by_name(policy_log_gates(evidence(pages, better, 1.0), EvaluationLimits()))
    assert {gate.status for gate in found.values()} <= set(PASSING), found
    gate = found["off_policy_against_accepted"]
    gain = pages.truth(pages.price(better)) - pages.truth(pages.price(1.0))
    assert gate.low < gain < gate.high


def test_a_policy_that_is_surely_worse_fails_in_those_words(pages):
    best = max((0.775, 0.85, 0.925), key=lambda share: pages.truth(pages.price(share)))
    worse = 1.0 if best < 0.9 else 0.7
    gate = by_name(policy_log_gates(evidence(pages, worse, best), EvaluationLimits()))["off_policy_against_accepted"]
    assert gate.status == "fail"
    assert "surely worse" in gate.note


@pytest.mark.parametrize(
    ("why", "found"),
    [
        ("beyond all that were ever drawn", lambda pages: evidence(pages, 0.55, 1.0)),
        ("off_policy_support", lambda pages: evidence(few(pages), 0.7, 1.0)),
        ("prices were not randomised", lambda _: None),
    ],
)
def test_what_the_log_cannot_tell_is_not_worse_and_decides_only_where_an_experiment_is_required(pages, why, found):
    given = found(pages)
    (gate,) = policy_log_gates(given, EvaluationLimits(), "prices were not randomised")
    assert gate.status == "not applicable"
    assert gate.note.startswith("cannot tell yet: ")
    assert why in gate.note
    assert "worse" not in gate.note
    (strict,) = policy_log_gates(given, STRICT, "prices were not randomised")
    assert strict.status == "could not tell"


def few(pages):
    """The same shop, whose log hardly ever showed the deepest discount."""
    log = pages.log
    rare = np.isclose(log.price, 7.0) & (np.arange(log.price.size) % 400 > 0)
    return replace(pages, log=replace(log, on_sale=log.on_sale & ~rare))


def test_prices_on_and_between_the_levels_of_the_menu_are_none_beyond_it(pages):
    for share, beyond in ((0.7, 0.0), (0.8, 0.0), (1.0, 0.0), (0.69, 1.0), (1.02, 1.0)):
        assert share_beyond(evidence(pages, share, 1.0)) == beyond
