"""One set of prices against another: surely better, surely worse, or cannot tell yet and for how long.

>>> found = Comparison(value=0.5, low=-0.2, high=1.2, base=10.0, wide=(-0.33, 1.33), days=30.0, pages=3_000)
>>> gate = must_gain("off_policy_uplift", "logged prices", found, meanwhile="list prices")
>>> gate.status, gate.note
('could not tell', 'cannot tell yet: -2.0 % to +12.0 % of what logged prices earn; until then list prices are served')
>>> gate.needs
"about 139 more days of this shop's traffic (100 pages a day)"
>>> must_not_lose("uplift_over_uniform", "the best uniform prices", found).status
'pass'
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairtag.evaluation import off_policy as ope
from fairtag.evaluation.power import days_to_tell, more_days
from fairtag.model.decision import GateResult, GateStatus


@dataclass(frozen=True)
class Comparison:
    """Profit per page of some prices over that of others, money.

    Args:
        value: The difference.
        low: Its lower bound; above 0, the first are surely better.
        high: Its upper bound; below 0, they are surely worse.
        base: Profit per page of the others.
        wide: Two-sided 95 % interval, for power calculations.
        days: Days of traffic that it rests on.
        pages: Pages that it rests on.
        caveat: What a reader must know about the evidence.
    """

    value: float
    low: float
    high: float
    base: float
    wide: tuple[float, float]
    days: float
    pages: int
    caveat: str = ""

    @classmethod
    def of(cls, difference: ope.Estimate, base: float, days: float, confidence: float) -> Comparison:
        """A paired difference of estimates, with one-sided bounds of this confidence."""
        low, high = difference.interval(2 * confidence - 1)
        return cls(difference.value, low, high, base, difference.interval(0.95), days, len(difference.numerator))

    @property
    def shares(self) -> str:
        """The bounds as shares of what the others earn, in words."""
        return f"{self.low / self.base:+.1%} to {self.high / self.base:+.1%}".replace("%", " %")

    @property
    def needed(self) -> str:
        """How many more days would decide, in words."""
        return more_days(days_to_tell(self.value, *self.wide, self.days), self.pages / self.days)


def must_gain(name: str, rival: str, found: Comparison, *, meanwhile: str) -> GateResult:
    """Pass where the prices are surely better than their rival, fail where they are surely worse.

    Args:
        name: Name of the gate.
        rival: What they are compared with, in words.
        found: The comparison.
        meanwhile: What is served while nothing can be told, in words.
    """
    rule = f"profit per page above that of {rival}: lower bound > 0"
    if found.low > 0:
        return _gate(name, rule, "pass", found, f"{found.shares} of what {rival} earn")
    if found.high < 0:
        return _gate(name, rule, "fail", found, f"surely worse: {found.shares} of what {rival} earn")
    note = f"cannot tell yet: {found.shares} of what {rival} earn; until then {meanwhile} are served"
    return _gate(name, rule, "could not tell", found, note, found.needed)


def must_not_lose(name: str, rival: str, found: Comparison) -> GateResult:
    """Fail where the prices are surely worse than their rival."""
    rule = f"profit per page not surely below that of {rival}: upper bound >= 0"
    if np.isnan(found.value):
        return _gate(name, rule, "could not tell", found, "")
    status: GateStatus = "fail" if found.high < 0 else "pass"
    note = f"{'surely worse: ' if status == 'fail' else ''}{found.shares} of what {rival} earn"
    return _gate(name, rule, status, found, note)


def _gate(name: str, rule: str, status: GateStatus, found: Comparison, note: str, needs: str = "") -> GateResult:
    said = "; ".join(part for part in (note, found.caveat) if part)
    value, low, high = (float(x) if np.isfinite(x) else None for x in (found.value, found.low, found.high))
    return GateResult(name, value, rule, status, 0.0, low, high, said, needs)
