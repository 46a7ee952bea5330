"""Sequential test: an estimate may be looked at every hour, and the error level holds over all looks together.

A fixed-sample test repeated hourly gives a false alarm sooner or later. Here the evidence is an e-process, the
likelihood ratio of a normal mixture of effects of scale tau against no effect:

    log e = -log(1 + tau^2 I) / 2 + tau^2 (I d)^2 / (2 (1 + tau^2 I)),   I = 1 / se^2, d the estimate so far

(Robbins, Annals of Mathematical Statistics 41, 1970; the mSPRT of Johari, Pekelis and Walsh, 2015). Without an effect
the probability that it ever exceeds ``1 / alpha`` is at most alpha (Ville). The estimate is the running one on all data
since the start. Its standard error is that of large samples, so the first look should wait for enough rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fairtag.base.errors import ConfigError, DataError


@dataclass(frozen=True)
class SequentialState:
    """State between looks; stored as JSON by :meth:`to_json`.

    Args:
        looks: Looks so far.
        p_value: Always-valid p-value of no effect: the smallest ``1 / e`` so far.
        low: Lower end of the confidence sequence, the largest lower end of all looks.
        high: Upper end, the smallest of all looks.
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
        """The finite fields; JSON has no infinity and no NaN."""
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
            raise DataError(f"sequential state: the document cannot be read ({error})") from error


def look(
    state: SequentialState, estimate: float, standard_error: float, *, scale: float, confidence: float = 0.95
) -> SequentialState:
    """State after one more look at the running estimate.

    Args:
        state: State after the previous look; ``SequentialState()`` at the start.
        estimate: Estimate on all data since the start.
        standard_error: Its standard error; a look without one (too little data) is counted and changes nothing else.
        scale: tau, the size of effect for which the test is most powerful, in the unit of the estimate; fixed before
            the first look.
        confidence: Level of the confidence sequence.

    Raises:
        ConfigError: The scale is not positive, or the confidence is not in (0, 1).

    >>> state = look(SequentialState(), 0.02, 0.01, scale=0.02)
    >>> state = look(state, 0.03, 0.006, scale=0.02)
    >>> state.looks, round(state.p_value, 5), state.low > 0
    (2, 4e-05, True)
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
    """Log of the e-value: mixture likelihood ratio against no effect."""
    information = 1 / standard_error**2
    spread = 1 + scale**2 * information
    return -math.log(spread) / 2 + scale**2 * (information * estimate) ** 2 / (2 * spread)


def radius(standard_error: float, scale: float, alpha: float) -> float:
    """Half the width of the confidence sequence, which holds the effects with an e-value below ``1 / alpha``."""
    information = 1 / standard_error**2
    spread = 1 + scale**2 * information
    return math.sqrt(spread * (math.log(spread) - 2 * math.log(alpha))) / (scale * information)
