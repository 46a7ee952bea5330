"""Experiments: plan a live test of new prices, and see which arm a customer is in.

The endpoint assigns no arms itself yet (docs/how-to/ab-test.md): the shop's application asks for the arm, and reads the
result with :func:`fairtag.evaluation.experiment.read_experiment`. So nothing runs here that could be stopped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from starlette.responses import Response

from console.frame import Page, Visit
from fairtag.base.errors import RequestError
from fairtag.evaluation.power import Z_POWER, Z_TWO_SIDED
from fairtag.policy.experiments import Split


@dataclass(frozen=True)
class Plan:
    """How large a test must be.

    Args:
        customers: Customers in both arms together.
        days: Days until so many have come; None where the traffic is not given.
    """

    customers: int
    days: int | None


def plan(mean: float, deviation: float, effect: float, share: float, a_day: float) -> Plan:
    """Customers that tell an effect from nothing in four of five tests, looked at once (95 % level, 80 % power).

    Args:
        mean: What a customer brings now.
        deviation: Standard deviation between customers.
        effect: Smallest change worth finding, as a share of the mean.
        share: Share of customers in the new arm.
        a_day: New customers a day; 0 where unknown.

    >>> plan(mean=8.0, deviation=20.0, effect=0.1, share=0.5, a_day=500)
    Plan(customers=19623, days=40)
    """
    scale = deviation / (effect * mean)
    customers = math.ceil((Z_TWO_SIDED + Z_POWER) ** 2 * scale**2 * (1 / share + 1 / (1 - share)))
    return Plan(customers, math.ceil(customers / a_day) if a_day > 0 else None)


DEFAULTS = {
    "name": "learned-prices-1",
    "mean": "8",
    "deviation": "20",
    "effect": "10",
    "share": "50",
    "a_day": "500",
    "customer": "",
}


async def show(visit: Visit) -> Response:
    """The plan of a test, and the arm of a customer."""
    asked = {name: visit.asked(name, default) for name, default in DEFAULTS.items()}
    mean, deviation = _number(asked, "mean", least=0), _number(asked, "deviation", least=0)
    effect, share = _number(asked, "effect", least=0) / 100, _number(asked, "share", least=0, most=100) / 100
    a_day = _number(asked, "a_day", least=-1)
    test = Split(asked["name"] or DEFAULTS["name"], {"list": 1 - share, "learned": share})
    arm = test.arm(asked["customer"]) if asked["customer"] else ""
    return await visit.render(
        "experiments.html", asked=asked, plan=plan(mean, deviation, effect, share, a_day), test=test, arm=arm
    )


def _number(asked: dict[str, str], name: str, *, least: float, most: float = math.inf) -> float:
    try:
        value = float(asked[name].replace(",", "."))
    except ValueError:
        value = math.nan
    if not least < value < most:
        rule = f"must be a number above {least:g}" + (f" and below {most:g}" if math.isfinite(most) else "")
        raise RequestError(name, asked[name], rule)
    return value


PAGE = Page("experiments", "/experiments", "Experiments", "plan a live test of new prices", show)
