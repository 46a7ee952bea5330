"""Scores of six methods on made-up search terms, each a little better than the one before."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema


@pytest.fixture
def scored():
    """A frame with relevance, and the prediction and order of each method."""
    rng = np.random.default_rng(0)
    query = np.repeat([f"q{number:03d}" for number in range(300)], 6)
    grade = rng.integers(0, 7, len(query)) / 6.0
    frame = pd.DataFrame({schema.QUERY: query, schema.RELEVANCE: grade})
    for name, noise in {"mean": 9.0, "bm25": 0.5, "minilm": 0.4, "overlap": 0.3, "tuned": 0.2, "ours": 0.1}.items():
        guess = grade + noise * rng.normal(size=len(query))
        frame[f"{name}_grade"] = np.full(len(query), 0.5) if name == "mean" else guess
        frame[f"{name}_order"] = frame[f"{name}_grade"]
    return frame
