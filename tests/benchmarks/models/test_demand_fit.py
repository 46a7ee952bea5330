import numpy as np

from benchmarks.models import demand_fit
from fairtag.demand.logit import fit_logit, laplace


def test_the_planted_choices_are_those_of_the_model_that_is_timed():
    choices, theta = demand_fit.planted_choices(20_000, 5)
    assert choices.n_pages == 1_000
    assert np.all(choices.trials == 1)
    fit = fit_logit(choices)
    assert np.abs((fit.theta - theta) / laplace(choices, fit).standard_errors).max() < 4


def test_every_figure_is_measured(monkeypatch):
    for name, value in {"LARGE": 4_000, "SMALL": 400, "PARAMETERS": 6, "FEW": 3, "CALLS": 5}.items():
        monkeypatch.setattr(demand_fit, name, value)
    monkeypatch.setattr(demand_fit, "SHOP", demand_fit.ShopSize(items=1_000, users=50, impressions=4_800, wishes=60))
    rows = {row.metric: row.value for row in demand_fit.run().rows}
    assert all(np.isfinite(value) for value in rows.values())
    assert rows["largest_coefficient_gap"] < 1e-6
    assert rows["largest_standard_error_gap"] < 1e-4
    assert rows["memory_on_top_of_data"] > 0
    assert rows["page_of_24"] < 1_000
