"""What a log of offers says about suggested prices, without a counterfactual.

Price decrease recall and precision, price increase recall and precision, and booking regret, as defined by Ye et al.,
"Customized Regression Model for Airbnb Dynamic Pricing", KDD 2018, section 5: an offer that did not sell should have
been cheaper, an offer that sold should not have been. Each can be gamed alone (always lower: PDR 1, PIR 0), so read
them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fairtag.base.errors import DataError


@dataclass(frozen=True)
class PricingMetrics:
    """Shares in [0, 1]; NaN when there was nothing to count.

    Args:
        pdr: Price decrease recall: of offers that did not sell, those suggested below the offered price.
        pdp: Price decrease precision: of suggestions below the offered price, those that did not sell.
        pir: Price increase recall: of offers that sold, those suggested at or above the price paid.
        pip: Price increase precision: of suggestions at or above the offered price, those that sold.
        booking_regret: Median over sold offers of ``max(0, 1 - suggested / paid)``.
        mean_regret: Mean of the same.
        sold: Offers that sold.
        unsold: Offers that did not.
    """

    pdr: float
    pdp: float
    pir: float
    pip: float
    booking_regret: float
    mean_regret: float
    sold: int
    unsold: int


def pricing_metrics(offered: ArrayLike, suggested: ArrayLike, sold: ArrayLike) -> PricingMetrics:
    """Compare suggested prices with offered ones.

    Args:
        offered: Price that was shown, shape (n,).
        suggested: Price that would have been shown, shape (n,).
        sold: Whether the offer sold, shape (n,).

    Raises:
        DataError: Lengths differ, or a price is not a positive number.
    """
    p, s = np.asarray(offered, dtype=np.float64), np.asarray(suggested, dtype=np.float64)
    won = np.asarray(sold, dtype=bool)
    if p.ndim != 1 or not p.shape == s.shape == won.shape:
        raise DataError(f"offered, suggested and sold need one length; got {p.shape}, {s.shape}, {won.shape}")
    for name, prices in (("offered", p), ("suggested", s)):
        bad = prices[~(np.isfinite(prices) & (prices > 0))]
        if len(bad):
            raise DataError(f"{name}: {len(bad)} prices such as {bad[:3].tolist()} are not positive", column=name)
    lower = s < p
    regret = np.maximum(0.0, 1 - s[won] / p[won])
    return PricingMetrics(
        pdr=_share(lower & ~won, ~won),
        pdp=_share(lower & ~won, lower),
        pir=_share(~lower & won, won),
        pip=_share(~lower & won, ~lower),
        booking_regret=float(np.median(regret)) if len(regret) else float("nan"),
        mean_regret=float(regret.mean()) if len(regret) else float("nan"),
        sold=int(won.sum()),
        unsold=int((~won).sum()),
    )


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")
