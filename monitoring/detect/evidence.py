"""How sure we are that something changed, for one look and for hourly looks for ever.

*One look* asks whether a change is larger than its tolerance at a fixed level, over all components (Bonferroni).
*Hourly looks* would raise a false alarm soon or late that way. They keep, for each component and direction, an
e-detector (Shin, Ramdas and Rinaldo, "E-detectors", 2023): with ``e_t`` the e-value of hour t,
``M_t = e_t max(M_{t-1}, 1)``; alarming when the average of the detectors reaches ``A`` gives a mean time between false
alarms of at least ``A`` hours, whatever the dependence between components.

The null hypothesis is not "nothing changed", which is never true, but ``|change| <= margin``; the e-value is
``exp(lambda z - lambda^2 / 2)`` for several lambda, with ``z = (|change| - margin) / se`` brought from Student's t to
the normal scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from fairtag.profile.measures import Estimate

Float = npt.NDArray[np.float64]

LAMBDAS = np.array([0.25, 0.5, 1.0, 2.0, 4.0])  # slow small changes to sudden large ones
MIN_CLUSTERS = 10  # customers below which a component has no error worth the name in this hour; t has 9 degrees then
LEAST_LOG = -700.0  # log of the smallest tail that is told apart from zero
RECOVERY = 5.0  # log headroom above the threshold: a change that ended clears within hours, not weeks
Z90 = 1.6449  # two-sided 90 % interval


@dataclass(frozen=True)
class Tolerance:
    """Sizes of change that warn and page, in the unit of the measure; ``page`` may be infinite."""

    warn: float
    page: float

    def __post_init__(self) -> None:
        """Refuse tolerances that page before they warn."""
        if not 0 <= self.warn <= self.page:
            raise ValueError(f"a tolerance needs 0 <= warn <= page; got warn {self.warn}, page {self.page}")


@dataclass(frozen=True)
class Change:
    """Change of each component: ``value`` and ``se`` are (J,), ``clusters`` (J,) the customers behind each."""

    value: Float
    se: Float
    clusters: Float

    @property
    def judged(self) -> npt.NDArray[np.bool_]:
        """Components with enough customers to be judged."""
        judged: npt.NDArray[np.bool_] = np.isfinite(self.value) & np.isfinite(self.se) & (self.clusters >= MIN_CLUSTERS)
        return judged


def change_of(estimate: Estimate, reference: Float, null_variance: Float | float = 0.0) -> Change:
    """Change of an estimate from its reference.

    Args:
        estimate: Value and error in the window.
        reference: (J,) value it is held against.
        null_variance: (J,) smallest variance the estimate may claim: the one it would have at the edge of the
            tolerance. A share of zero out of ten has no spread of its own, and is still no proof of anything.
    """
    se = np.sqrt(np.maximum(estimate.se**2, null_variance))
    return Change(estimate.value - reference, se, estimate.clusters)


def p_values(change: Change, margin: Float) -> Float:
    """(J,) one-sided p-values of ``|change| > margin``, for both directions together; 1 where not judged."""
    safe = np.where(change.judged, change.se, 1.0)
    t = np.where(change.judged, (np.abs(change.value) - margin) / safe, -np.inf)
    tail: Float = stats.t.sf(t, np.maximum(change.clusters - 1, 1))
    return np.where(change.judged, np.minimum(1.0, 2 * tail), 1.0)


def normal_scores(change: Change, margin: Float) -> Float:
    """(2, J) scores that are at most standard normal under the null, upward and downward; -inf where not judged."""
    safe = np.where(change.judged, change.se, 1.0)
    t = np.stack([change.value - margin, -change.value - margin]) / safe
    freedom = np.maximum(change.clusters - 1, 1)
    # far in the tail only the logarithm survives; both tails are mapped through the smaller one
    tail: Float = special.ndtri_exp(np.minimum(_log_tail(np.abs(t), freedom), np.log(0.5)))
    return np.where(change.judged, np.where(t > 0, -tail, tail), -np.inf)


def _log_tail(t: Float, freedom: Float) -> Float:
    """Log P(T > t) of Student's t; a tail that no double holds counts as the smallest one that does."""
    with np.errstate(divide="ignore"):
        tail: Float = np.maximum(np.log(special.stdtr(freedom, -t)), LEAST_LOG)
    return tail


def _log_sum(logs: Float) -> Float:
    """(J,) log of the sum of the exponentials of each column; SciPy's own takes ten times as long for a few numbers."""
    most = logs.max(axis=0)
    total: Float = most + np.log(np.exp(logs - most).sum(axis=0))
    return total


@dataclass(frozen=True)
class Detector:
    """The e-detectors of one check: ``log_wealth`` is (len(LAMBDAS), 2, J), zero at the start."""

    log_wealth: Float

    @classmethod
    def fresh(cls, components: int) -> Detector:
        """A detector that has seen nothing."""
        return cls(np.zeros((len(LAMBDAS), 2, components)))

    @property
    def evidence(self) -> float:
        """Log of the average of the detectors; alarm when it reaches the log of the mean time between false alarms."""
        return float(_log_sum(self.log_wealth.reshape(-1, 1))[0] - np.log(self.log_wealth.size))

    @property
    def component(self) -> int:
        """The component with the most evidence."""
        return int(np.argmax(_log_sum(self.log_wealth.reshape(-1, self.log_wealth.shape[-1]))))

    def update(self, scores: Float, log_threshold: float) -> Detector:
        """The detector after one more hour.

        Args:
            scores: (2, J) of :func:`normal_scores`; a component that was not judged keeps its wealth.
            log_threshold: Log of the alarm threshold; wealth is capped a little above, which can only delay an alarm.
        """
        seen = np.isfinite(scores)
        safe = np.where(seen, scores, 0.0)
        gain = LAMBDAS[:, None, None] * safe - (LAMBDAS**2 / 2)[:, None, None]
        cap = log_threshold + np.log(self.log_wealth.size) + RECOVERY
        grown = np.minimum(np.maximum(self.log_wealth, 0.0) + gain, cap)
        return Detector(np.where(seen, grown, self.log_wealth))

    def as_json(self) -> list[Any]:
        """Nested lists, rounded: the state file stays small."""
        rounded: list[Any] = np.round(self.log_wealth, 4).tolist()
        return rounded

    @classmethod
    def from_json(cls, value: list[Any]) -> Detector:
        """Read :meth:`as_json` back."""
        return cls(np.asarray(value, dtype=np.float64))
