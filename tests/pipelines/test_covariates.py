"""A shop that logs displays: from `fairtag check` on its CSV files to the decision that lists what a display does."""

import json

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.base.tables import coerce
from fairtag.data import load
from fairtag.data.derived_tables import complete_tables
from fairtag.data.point_in_time import training_set
from fairtag.evaluation.calibration_gate import inputs_of
from fairtag.evaluation.evaluate import evaluate
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.model.pricing_model import load_pricing_model
from fairtag.training.model import Lineage, fit_model_folder
from pipelines.check import check_shop

PAGES = 1_200  # of twelve items


@pytest.fixture(scope="module")
def files(market, tmp_path_factory):
    """CSV files of the simulated shop, which puts what it sells cheaply into the display, and what sells."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    tables = market.tables
    pages = tables.impressions[schema.PAGE_ID].drop_duplicates()
    shown = tables.impressions[tables.impressions[schema.PAGE_ID].isin(pages.iloc[:: max(1, len(pages) // PAGES)])]
    ratio = shown[schema.PRICE] / shown[schema.LIST_PRICE]
    chance = 0.1 + 1.2 * (1.0 - ratio) + 0.2 * shown[schema.PURCHASED]
    impressions = shown.assign(
        Display=(rng.random(len(shown)) < chance).astype(int),
        deal=(ratio < 0.999).astype(int),
        X_shelf=rng.integers(1, 4, len(shown)),
        ad=0,
    )
    items, users = (frame.copy() for frame in (tables.items, tables.users))
    for name in (schema.HISTORY_ITEMS, schema.HISTORY_AGE_DAYS):
        users[name] = users[name].map(lambda values: json.dumps(list(values)))
    for name, frame in (("items", items), ("users", users), ("impressions", impressions)):
        frame.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def shop(files, tmp_path_factory):
    """The shop as ingestion and validation leave it."""
    from components.adapters.great_expectations import validate_tables  # it warns where it is imported

    raw = load("csv", files)
    accepted, found = validate_tables(raw.frames(), tmp_path_factory.mktemp("validation"), pages=False)
    found.require_accepted()
    typed = {name: coerce(frame, schema.table(name)) for name, frame in accepted.items()}
    return complete_tables(typed, raw.metadata)


@pytest.fixture(scope="module")
def joined(shop):
    return training_set(shop)


@pytest.fixture(scope="module")
def folder(shop, joined, tiny_encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "model_folder"
    lineage = Lineage(shop.fingerprint(), "test", "2026-01-01T00:00:00+00:00", "csv")
    return fit_model_folder(shop, joined, tiny_encoder, out, lineage=lineage)


def test_a_check_says_which_columns_demand_uses_and_which_it_does_not(files):
    report = check_shop("", files)
    assert not report.refused, report.problems
    lines = [line for line in report.notes if line.startswith("demand ")]
    assert lines[0] == "demand uses display"
    assert lines[1].startswith("demand does not use deal: it follows from the price, which explains 100% of it")
    assert lines[2] == "demand does not use ad: it never varies: 0 throughout"
    assert lines[3].startswith("demand may use x_shelf where it is named")


def test_every_impression_carries_its_columns_to_the_fit(shop, joined):
    wanted = [schema.DISPLAY, schema.DEAL, schema.AD, "x_shelf"]
    assert joined[wanted].isna().sum().sum() == 0
    np.testing.assert_array_equal(joined[schema.DISPLAY], shop.impressions[schema.DISPLAY])


@pytest.mark.slow
def test_the_model_folder_keeps_the_display_and_held_out_pages_are_read_with_it(folder, joined):
    model = load_pricing_model(folder)
    assert model.demand.covariates.names == (schema.DISPLAY,)
    late = joined.tail(600)
    data = inputs_of(model, late)
    assert data.covariate_names == (schema.DISPLAY,)
    assert data.covariates.mean() == pytest.approx(late.loc[late[schema.IN_STOCK], schema.DISPLAY].mean())


@pytest.mark.slow
def test_the_decision_lists_the_effect_of_each_covariate_with_its_interval(folder, shop, joined):
    decision = evaluate(folder, None, shop, joined, limits=EvaluationLimits(pages=40, audit_pages=1, audit_users=10))
    said = {
        note["what"]: note["outcome"] for note in decision["metrics"]["notes"] if note["what"].startswith("column ")
    }
    assert list(said) == ["column display of impressions", "column deal of impressions", "column ad of impressions"]
    effect = load_pricing_model(folder).demand.covariate_effects()[schema.DISPLAY]
    assert effect[1] > 0
    assert "demand uses it: {:+.2f} [{:+.2f}, {:+.2f}]".format(*effect) in said["column display of impressions"]
    assert said["column deal of impressions"].startswith("not used by demand: it follows from the price")


def refused(folder, files, **columns):
    for name in ("items", "users"):
        (folder / f"{name}.csv").write_text((files / f"{name}.csv").read_text())
    lines = (files / "impressions.csv").read_text().splitlines()[:40]
    added = [",".join(columns), *(",".join(columns.values()) for _ in lines[1:])]
    (folder / "impressions.csv").write_text(
        "\n".join(f"{line},{more}" for line, more in zip(lines, added, strict=True))
    )
    report = check_shop("", folder)
    return {(problem.column, problem.rule): problem for problem in report.problems if problem.table == "impressions"}


def test_a_text_an_empty_cell_and_a_protected_name_are_refused_with_their_remedy(files, tmp_path):
    found = refused(tmp_path, files, x_place="front", x_weight="", x_income="1")
    assert found[("x_place", "readable as number")].remedy == "write a number"
    assert "fill the cell" in found[("x_weight", "not null")].remedy
    assert "x_income names income" in found[("x_income", "column of the contract")].remedy
    found = refused(tmp_path, files, colour="red")
    assert "may begin with x_" in found[("colour", "column of the contract")].remedy
