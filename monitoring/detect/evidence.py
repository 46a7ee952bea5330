"""Statistical evidence that something changed, for a single look and for hourly looks without end.

*A single look* tests whether a change exceeds its tolerance at a fixed level over all components (Bonferroni).
*Hourly looks* with such a test would raise a false alarm sooner or later. They keep an e-detector for each component
and direction instead (Shin, Ramdas and Rinaldo, "E-detectors", 2023): with ``e_t`` the e-value of hour t, ``M_t = e_t
max(M_{t-1}, 1)``. Raising an alarm when the average of the detectors reaches ``A`` gives a mean time between false
alarms of at least ``A`` hours, whatever the dependence between components.

The null hypothesis is ``|change| <= margin``, since "nothing changed" is never true. The e-value is ``exp(lambda z -
lambda^2 / 2)`` for several lambda, with ``z = (|change| - margin) / se`` mapped from Student's t to the normal scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from fairtag.profile.measures import Estimate

Float = npt.NDArray[np.float64]

LAMBDAS = np.array([0.25, 0.5, 1.0, 2.0, 4.0])  # from slow small changes to sudden large ones
MIN_CLUSTERS = 10  # customers below which a component's standard error is unreliable: t has 9 degrees of freedom then
LEAST_LOG = -700.0  # log of the smallest tail probability that a double tells apart from zero
RECOVERY = 5.0  # log headroom above the threshold: an alarm clears within hours of the end of a change, not weeks
Z90 = 1.6449  # two-sided 90 % interval


@dataclass(frozen=True)
class Change:
    """Change of each component, all (J,): value, standard error, and number of customers behind it."""

    value: Float
    se: Float
    clusters: Float

    @property
    def testable(self) -> npt.NDArray[np.bool_]:
        """(J,) components with enough customers for a test."""
        finite = np.isfinite(self.value) & np.isfinite(self.se)
        testable: npt.NDArray[np.bool_] = finite & (self.clusters >= MIN_CLUSTERS)
        return testable


def change_of(estimate: Estimate, reference: Float, null_variance: Float | float = 0.0) -> Change:
    """Change of an estimate from its reference.

    Args:
        estimate: Value and standard error in the window.
        reference: (J,) value expected.
        null_variance: (J,) lower bound on the variance: the variance that the estimate has at the edge of its
            tolerance. A share of zero out of ten has no spread of its own, and still proves nothing.
    """
    se = np.sqrt(np.maximum(estimate.se**2, null_variance))
    return Change(estimate.value - reference, se, estimate.clusters)


def p_values(change: Change, margin: Float) -> Float:
    """(J,) p-values of ``|change| > margin`` over both directions; 1 for a component that cannot be tested."""
    safe = np.where(change.testable, change.se, 1.0)
    t = np.where(change.testable, (np.abs(change.value) - margin) / safe, -np.inf)
    tail: Float = stats.t.sf(t, np.maximum(change.clusters - 1, 1))
    return np.where(change.testable, np.minimum(1.0, 2 * tail), 1.0)


def normal_scores(change: Change, margin: Float) -> Float:
    """(2, J) upward and downward scores, at most standard normal under the null; -inf without a test."""
    safe = np.where(change.testable, change.se, 1.0)
    t = np.stack([change.value - margin, -change.value - margin]) / safe
    freedom = np.maximum(change.clusters - 1, 1)
    # far in the tail only the logarithm is representable; both tails are mapped through the smaller one
    tail: Float = special.ndtri_exp(np.minimum(_log_tail(np.abs(t), freedom), np.log(0.5)))
    return np.where(change.testable, np.where(t > 0, -tail, tail), -np.inf)


def _log_tail(t: Float, freedom: Float) -> Float:
    """Log P(T > t) of Student's t, at least :data:`LEAST_LOG`."""
    with np.errstate(divide="ignore"):
        tail: Float = np.maximum(np.log(special.stdtr(freedom, -t)), LEAST_LOG)
    return tail


def _log_sum(logs: Float) -> Float:
    """(J,) log of the sum of exponentials of each column; for a few numbers, ten times as fast as SciPy's logsumexp."""
    most = logs.max(axis=0)
    total: Float = most + np.log(np.exp(logs - most).sum(axis=0))
    return total


@dataclass(frozen=True)
class EDetector:
    """The e-detectors of one check: ``log_wealth`` is (len(LAMBDAS), 2, J), zero at the start."""

    log_wealth: Float

    @classmethod
    def fresh(cls, components: int) -> EDetector:
        """A detector without evidence."""
        return cls(np.zeros((len(LAMBDAS), 2, components)))

    @property
    def evidence(self) -> float:
        """Log of the average of the detectors; an alarm is due at the log of the mean time between false alarms."""
        return float(_log_sum(self.log_wealth.reshape(-1, 1))[0] - np.log(self.log_wealth.size))

    @property
    def component(self) -> int:
        """The component with the most evidence."""
        return int(np.argmax(_log_sum(self.log_wealth.reshape(-1, self.log_wealth.shape[-1]))))

    def update(self, scores: Float, log_threshold: float) -> EDetector:
        """The detector after one more hour.

        Args:
            scores: (2, J) of :func:`normal_scores`; a component without a score keeps its wealth.
            log_threshold: Log of the alarm threshold. Wealth is capped slightly above it, which can only delay an
                alarm.
        """
        seen = np.isfinite(scores)
        safe = np.where(seen, scores, 0.0)
        gain = LAMBDAS[:, None, None] * safe - (LAMBDAS**2 / 2)[:, None, None]
        cap = log_threshold + np.log(self.log_wealth.size) + RECOVERY
        grown = np.minimum(np.maximum(self.log_wealth, 0.0) + gain, cap)
        return EDetector(np.where(seen, grown, self.log_wealth))

    def as_json(self) -> list[Any]:
        """Nested lists, rounded to keep the state file small."""
        rounded: list[Any] = np.round(self.log_wealth, 4).tolist()
        return rounded

    @classmethod
    def from_json(cls, value: list[Any]) -> EDetector:
        """Read what :meth:`as_json` wrote."""
        return cls(np.asarray(value, dtype=np.float64))
