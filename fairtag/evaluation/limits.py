"""The thresholds of the gates, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from fairtag.evaluation.launch_gate import LaunchLimits


@dataclass(frozen=True)
class EvaluationLimits:
    """What a challenger must reach.

    Args:
        relevance_margin: nDCG@10 that a challenger may lose to what it is held against, at the interval's lower end.
        coverage: Share of unseen products that the 90 % price interval must hold.
        coverage_slack: How far from it the share may lie beyond two standard errors.
        calibration: The slope of demand calibration must lie in here, or its interval must reach into it while the
            slope lies in ``calibration_outer``.
        calibration_outer: Beyond this no interval saves a slope.
        profit_margin: Share of the champion's profit that a challenger may lose, at the interval's lower end.
        price_milliseconds: 95th percentile of the time to price one page.
        encode_milliseconds: Median time to encode one query.
        model_bytes: Size of the model folder.
        launch: Limits of the off-policy gates.
        pages: Most hold-out pages that are priced.
        audit_pages: Pages priced for many customers at once, for the fairness gates.
        audit_users: Customers each of them is priced for.
        require_experiment: A log without randomised prices then rejects; otherwise the value is judged by an
            independent demand model, and the decision says that its evidence is observational.
    """

    relevance_margin: float = 0.01
    coverage: float = 0.9
    coverage_slack: float = 0.02
    calibration: tuple[float, float] = (0.9, 1.1)
    calibration_outer: tuple[float, float] = (0.75, 1.35)
    profit_margin: float = 0.01
    price_milliseconds: float = 25.0
    encode_milliseconds: float = 50.0
    model_bytes: float = 2e9
    launch: LaunchLimits = field(default_factory=LaunchLimits)
    pages: int = 2_500
    audit_pages: int = 8
    audit_users: int = 800
    require_experiment: bool = False
