"""Pages and guardrail limits for the tests of the core."""

from __future__ import annotations

import numpy as np
import pytest

from fairtag.policy.guardrails import GuardrailLimits


def _draw_pages(seed, *shape):
    """Random but plausible pages: a, b, cost, anchor, lo, hi."""
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.4, 0.8, shape)
    return (
        rng.normal(1, 1.5, shape),
        rng.uniform(1, 6, shape),
        cost,
        rng.uniform(0.8, 1.1, shape),
        np.maximum(cost / 0.95, 0.7),
        rng.uniform(1.0, 1.6, shape),
    )


@pytest.fixture(scope="session")
def draw_pages():
    return _draw_pages


@pytest.fixture(scope="session")
def strict():
    """Limits with every bound in force."""
    return GuardrailLimits(
        min_margin=0.1,
        max_discount=0.3,
        max_decrease=0.1,
        max_increase=0.05,
        competitor_below=0.2,
        competitor_above=0.1,
        corridor_ratio=1.1,
    )
