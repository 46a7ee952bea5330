"""Looking every hour without crying wolf: error levels that hold at all looks together.

A fixed-sample test repeated hourly is wrong sooner or later with certainty. Here the evidence is an e-process: the
likelihood ratio of the estimate under a normal mixture of effects of scale tau against no effect,

``log e = -log(1 + tau^2 I) / 2 + tau^2 (I d)^2 / (2 (1 + tau^2 I))``, ``I = 1 / se^2``, ``d`` the estimate so far

(Robbins, Annals of Mathematical Statistics 41, 1970; the mSPRT of Johari, Pekelis and Walsh 2015). Under no effect it
exceeds ``1 / alpha`` ever with probability at most alpha (Ville), so it may be read at any time, and stopped at will.
The estimate is the running one on all data since the start; its errors are those of large samples, so the first look
should wait for enough rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fairtag.base.errors import ConfigError, DataError


@dataclass(frozen=True)
class SequentialState:
    """What is carried from look to look; JSON through :meth:`to_json`.

    Args:
        looks: Looks so far.
        p_value: Always-valid p-value of no effect: the smallest ``1 / e`` so far.
        low: Lower end of the confidence sequence: the true effect has been above it at all looks.
        high: Upper end.
        estimate: Estimate at the last look.
        standard_error: Its standard error.
    """

    looks: int = 0
    p_value: float = 1.0
    low: float = -math.inf
    high: float = math.inf
    estimate: float = math.nan
    standard_error: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """The state without infinities and NaN, which JSON does not have."""
        return {name: value for name, value in asdict(self).items() if math.isfinite(value)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SequentialState:
        """Read :meth:`to_json` back.

        Raises:
            DataError: A field is unknown.
        """
        try:
            return cls(**document)
        except TypeError as error:
            raise DataError(f"no sequential state: {error}") from error

    @property
    def contradicts_itself(self) -> bool:
        """Whether the looks exclude every effect: it moved while it was watched, or the errors are too small."""
        return self.low > self.high


def look(
    state: SequentialState, estimate: float, standard_error: float, *, scale: float, confidence: float = 0.95
) -> SequentialState:
    """The state after one more look at the running estimate.

    Args:
        state: After the look before; a new one at the start.
        estimate: Estimate on all data since the start.
        standard_error: Its standard error; a look without one (too little data) counts and changes nothing else.
        scale: tau, the size of effect the test is most powerful for, in the unit of the estimate; fixed in advance.
        confidence: Level of the confidence sequence.

    Raises:
        ConfigError: The scale is not positive, or the confidence not in (0, 1).
    """
    if not scale > 0 or not 0 < confidence < 1:
        raise ConfigError(f"scale {scale} must be > 0 and confidence {confidence} in (0, 1)")
    if not (math.isfinite(estimate) and math.isfinite(standard_error) and standard_error > 0):
        return SequentialState(**{**asdict(state), "looks": state.looks + 1})
    reach = radius(standard_error, scale, 1 - confidence)
    return SequentialState(
        looks=state.looks + 1,
        p_value=min(state.p_value, math.exp(min(0.0, -log_e_value(estimate, standard_error, scale)))),
        low=max(state.low, estimate - reach),
        high=min(state.high, estimate + reach),
        estimate=estimate,
        standard_error=standard_error,
    )


def log_e_value(estimate: float, standard_error: float, scale: float) -> float:
    """Log of the mixture likelihood ratio against no effect."""
    information = 1 / standard_error**2
    spread = 1 + scale**2 * information
    return -math.log(spread) / 2 + scale**2 * (information * estimate) ** 2 / (2 * spread)


def radius(standard_error: float, scale: float, alpha: float) -> float:
    """Half the width of the confidence sequence: the effects whose e-value stays below ``1 / alpha``."""
    information = 1 / standard_error**2
    spread = 1 + scale**2 * information
    return math.sqrt(spread * (math.log(spread) - 2 * math.log(alpha))) / (scale * information)
