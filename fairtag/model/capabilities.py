"""What a model may do: capabilities, which the decision accepts one by one.

A capability rests on those below it and on gates of its own. A gate that no capability names is one of search, without
which nothing is served: a gate that was forgotten here refuses a model rather than being ignored.

>>> accepted_by({"relevance": "pass", "profit_uplift": "could not tell"}) == {SEARCH}
True
>>> accepted_by({"relevance": "fail", "profit_uplift": "pass"})
frozenset()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SEARCH: Final = "search"
UNIFORM_PRICES: Final = "uniform_prices"
PERSONAL_PRICES: Final = "personal_prices"
PASSING: Final = ("pass", "not applicable")


@dataclass(frozen=True)
class Capability:
    """One capability.

    Args:
        name: Its name in the decision document.
        title: What a customer gets from it, in words.
        rests_on: The capability without which it is nothing; empty for the first.
        gates: Gates that it must pass beside those of what it rests on; empty for the first, which takes all others.
    """

    name: str
    title: str
    rests_on: str = ""
    gates: tuple[str, ...] = ()


CAPABILITIES: tuple[Capability, ...] = (
    Capability(SEARCH, "search results and quotes at list price"),
    Capability(
        UNIFORM_PRICES,
        "prices that demand asks for, the same for every customer",
        SEARCH,
        (
            "demand_learned",
            "demand_calibration",
            "profit_uplift",
            "off_policy_support",
            "off_policy_balance",
            "off_policy_uplift",
            "off_policy_agreement",
            "off_policy_placebo",
            "uplift_over_list",
            "uplift_over_uniform",
            "non_inferiority",
            "monotone_in_cost",
            "price_accuracy",
            "price_interval",
        ),
    ),
    Capability(
        PERSONAL_PRICES,
        "prices that also look at the customer's own behaviour",
        UNIFORM_PRICES,
        ("behaviour_known", "personal_uplift", "price_gaps", "proxies", "opt_out"),
    ),
)
ALL: Final = frozenset(capability.name for capability in CAPABILITIES)


def capability_of(gate: str) -> str:
    """The capability that a gate decides about: the first that names it, else search."""
    return next((capability.name for capability in CAPABILITIES if gate in capability.gates), SEARCH)


def accepted_by(statuses: Mapping[str, str]) -> frozenset[str]:
    """The capabilities whose gates all pass, given the status of each gate by name."""
    failed = {capability_of(gate) for gate, status in statuses.items() if status not in PASSING}
    found: set[str] = set()
    for capability in CAPABILITIES:
        if capability.name not in failed and (not capability.rests_on or capability.rests_on in found):
            found.add(capability.name)
    return frozenset(found)
