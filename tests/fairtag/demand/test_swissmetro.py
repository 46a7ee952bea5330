"""The estimator on the reference data of discrete choice: the published log-likelihood, coefficients and errors.

Bierlaire's basic logit of travellers among train, car and Swissmetro (Biogeme's first example). Swissmetro, which is
always on offer, stands as the outside option: the utilities of the others are their differences from it.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairtag.demand.choices import Choices
from fairtag.demand.logit import fit_logit, laplace

PUBLISHED = {  # coefficient and standard error
    "ASC_TRAIN": (-0.701, 0.0549),
    "ASC_CAR": (-0.155, 0.0432),
    "B_TIME": (-1.28, 0.0569),
    "B_COST": (-1.08, 0.0518),
}


@pytest.fixture(scope="module")
def trips():
    folder = Path(os.environ.get("FAIRTAG_DATA", Path(__file__).parents[4] / "shared" / "data"))
    file = folder / "swissmetro" / "swissmetro.parquet"
    if not file.is_file():
        pytest.skip(f"no swissmetro data at {folder}; set FAIRTAG_DATA to the folder that holds swissmetro/")
    table = pd.read_parquet(file)
    return table[table["PURPOSE"].isin([1, 3]) & (table["CHOICE"] != 0)].reset_index(drop=True)


def choices(trips):
    """One page a trip: train and car where they can be had, Swissmetro outside."""
    paid = trips["GA"] == 0  # a season ticket makes train and Swissmetro free
    metro = np.column_stack([trips["SM_TT"], trips["SM_CO"] * paid])
    rows = []
    for name, code, cost in (("TRAIN", 1, trips["TRAIN_CO"] * paid), ("CAR", 3, trips["CAR_CO"])):
        there = (trips[f"{name}_AV"] * (trips["SP"] != 0)).to_numpy(dtype=bool)
        difference = (np.column_stack([trips[f"{name}_TT"], cost]) - metro) / 100
        constants = np.tile([float(name == "TRAIN"), float(name == "CAR")], (len(trips), 1))
        chosen = (trips["CHOICE"] == code).to_numpy(dtype=float)
        rows.append(np.column_stack([np.arange(len(trips)), constants, difference, chosen])[there])
    stacked = np.concatenate(rows)
    stacked = stacked[np.argsort(stacked[:, 0], kind="stable")]
    page, starts = np.unique(stacked[:, 0].astype(np.int64), return_index=True)
    assert page.size == len(trips), "every trip has a train or a car"
    outside = (trips["CHOICE"] == 2).to_numpy(dtype=float)
    return Choices(np.ascontiguousarray(stacked[:, 1:5]), starts.astype(np.int64), stacked[:, 5], outside)


def test_the_published_log_likelihood_and_coefficients_are_reached(trips):
    assert len(trips) == 6_768
    data = choices(trips)
    fit = fit_logit(data)
    assert fit.log_likelihood == pytest.approx(-5331.252, abs=5e-4)
    errors = laplace(data, fit).standard_errors
    for (name, (value, error)), found, spread in zip(PUBLISHED.items(), fit.theta, errors, strict=True):
        assert found == pytest.approx(value, abs=0.006), name
        assert spread == pytest.approx(error, rel=0.2), name
