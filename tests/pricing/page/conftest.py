"""Random pages for the solver's tests."""

import numpy as np
import pytest


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
