"""A model folder is whole, the same for the same inputs, and refused when a byte of it changed."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.base.errors import DigestMismatch, ModelFolderError, ModelFolderMissing
from fairtag.base.files import load_arrays, save_arrays
from fairtag.base.text import item_texts
from fairtag.data.splits import time_split
from fairtag.evaluation.calibration_gate import inputs_of
from fairtag.model.manifest import DECISION, read_manifest, write_manifest
from fairtag.model.pricing_model import EMBEDDINGS, ESTIMATES, PROFILE, load_pricing_model
from fairtag.policy.guardrails import price_bounds
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.profile.builder import Profile
from fairtag.training.inputs import cost_instrument, fit_part
from fairtag.training.model import Lineage, fit_model_folder
from fairtag.training.stock import ordered_rate, value_stock
from serving.page.core import ModelCore


def test_the_model_folder_holds_what_the_endpoint_needs(model, market):
    items = market.tables.latest_items()
    assert list(model.item_ids) == items[schema.ITEM_ID].tolist()
    assert model.embeddings.shape == (len(items), model.encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(model.embeddings, axis=1), 1.0, atol=1e-5)
    assert (model.estimates.f_low <= model.estimates.f).all()
    assert (model.estimates.f <= model.estimates.f_high).all()
    assert model.manifest["data_fingerprint"] == market.tables.fingerprint()
    Profile.load(model.path / PROFILE)


def test_items_lie_in_the_model_folder_behind_their_own_prefix_and_queries_are_embedded_behind_theirs(model, market):
    texts = item_texts(market.tables.latest_items())
    np.testing.assert_allclose(model.embeddings, model.encoder.encode(texts, "item"), atol=1e-6)
    assert np.abs(model.embeddings - model.encoder.encode(texts, "query")).max() > 0.01
    prefixes = {"query": "query ", "item": "passage "}
    assert model.manifest["encoder"] == {**model.manifest["encoder"], "prefixes": prefixes, "pooling": "mean"}
    core, asked = ModelCore(model), ["oak bookcase white", "garden hose"]
    np.testing.assert_array_equal(core.encode(asked), model.encoder.encode(asked, "query"))


def test_the_corridor_lies_between_the_guardrails(model):
    low, rho = model.estimates.corridor_low, model.policy.limits.corridor_ratio
    market = model.market
    bounds = price_bounds(model.policy.limits, list_price=market.list_price, unit_cost=market.unit_cost)
    feasible = bounds.lo <= bounds.hi
    assert (low[feasible] >= bounds.lo[feasible] / rho - 1e-9).all()
    assert (low * rho <= market.list_price * (1 + 1e-9))[feasible].mean() > 0.5  # discounts are for everybody


@pytest.mark.slow
def test_the_same_inputs_give_the_same_digest(model_folder, market, joined, tiny_encoder, tmp_path):
    again = fit_model_folder(
        market.tables, joined, tiny_encoder, tmp_path / "again", lineage=Lineage("other", "later", "tomorrow")
    )
    assert read_manifest(again)["digest"] == read_manifest(model_folder)["digest"]


def test_a_cost_made_from_the_list_price_is_no_instrument(joined):
    assert np.isfinite(cost_instrument(joined)).all()
    stated = joined.assign(**{schema.UNIT_COST: (joined[schema.LIST_PRICE] * 0.7).round(2)})
    assert np.isnan(cost_instrument(stated)).all()


def test_the_hold_out_never_enters_a_fit(joined):
    known = fit_part(joined)
    cut = time_split(joined).hold_out_from
    assert known[schema.TS].max() < cut
    assert 0.7 < len(known) / len(joined) < 0.8


@pytest.mark.parametrize("name", [EMBEDDINGS, "demand.safetensors", "policy.json", "encoder/encoder.json"])
def test_a_model_folder_with_one_changed_byte_is_refused(model_folder, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    data = bytearray((copy / name).read_bytes())
    data[-2] ^= 1
    (copy / name).write_bytes(bytes(data))
    with pytest.raises(DigestMismatch, match=name.rsplit("/", 1)[-1]):
        load_pricing_model(copy)


def test_parts_that_do_not_fit_each_other_are_refused_though_their_digests_fit(model_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    np.save(copy / EMBEDDINGS, np.load(copy / EMBEDDINGS)[:-1])
    (copy / DECISION).unlink()  # it is about the model as it was
    write_manifest(copy, {})
    with pytest.raises(ModelFolderError, match="embeddings"):
        load_pricing_model(copy)


def test_a_missing_model_folder_says_so(tmp_path):
    with pytest.raises(ModelFolderMissing, match="no model folder"):
        load_pricing_model(tmp_path)


def test_stock_that_outlasts_demand_is_free_and_stock_that_does_not_has_a_price(model, market, joined):
    known = fit_part(joined)
    data = inputs_of(model, known)
    plenty = model.catalogue.assign(**{schema.STOCK: 1e6})
    scarce = model.catalogue.assign(**{schema.STOCK: 0.05})
    given = (model.estimates.f, PricingPolicy(), market.tables.orders)
    assert (value_stock(known, data, model.demand, plenty, *given).shadow == 0).all()
    mu = value_stock(known, data, model.demand, scarce, *given).shadow
    assert (mu > 0).mean() > 0.3
    assert (mu <= model.market.list_price).all()


def test_the_value_of_stock_does_not_depend_on_the_unit_of_prices(model, market, joined):
    known = fit_part(joined)
    data = inputs_of(model, known)
    scarce = model.catalogue.assign(**{schema.STOCK: 0.05})
    half = 0.5 * scarce[schema.LIST_PRICE].to_numpy(dtype=float)
    listed = value_stock(known, data, model.demand, scarce, half, PricingPolicy(), market.tables.orders)
    # the same demand with prices over f, half of list, in place of list: y doubles, so slopes halve
    posterior, slopes = model.demand.posterior, slice(model.demand.layout.half, 2 * model.demand.layout.half)
    theta = posterior.theta.copy()
    theta[slopes] /= 2
    same = replace(
        model.demand,
        posterior=replace(posterior, theta=theta, effects=posterior.effects * [1.0, 0.5]),
        b_min=model.demand.b_min / 2,
        usual_ratio=2 * model.demand.usual_ratio,
    )
    by_f = PricingPolicy(reference_weights=(1.0, 0.0, 0.0))
    found = value_stock(known, data, same, scarce, half, by_f, market.tables.orders)
    assert (listed.shadow > 0).mean() > 0.3
    np.testing.assert_allclose(found.shadow, listed.shadow, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.sales_rate, listed.sales_rate, rtol=1e-6)


def test_items_sell_at_least_as_fast_as_they_were_ordered_lately(model, market):
    ordered = ordered_rate(market.tables.orders, model.catalogue[schema.ITEM_ID])
    assert (ordered >= 0).all()
    assert ordered.sum() > 0
    assert (model.estimates.sales_rate >= ordered - 1e-12).all()
    assert not ordered_rate(market.tables.orders.iloc[:0], model.catalogue[schema.ITEM_ID]).any()


def test_a_model_folder_of_another_version_is_refused(model_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    arrays, facts = load_arrays(copy, ESTIMATES)
    save_arrays(copy, ESTIMATES, {name: values for name, values in arrays.items() if name != "sales_rate"}, facts)
    (copy / DECISION).unlink()  # it is about the model as it was
    write_manifest(copy, {})
    with pytest.raises(ModelFolderError, match="train again"):
        load_pricing_model(copy)
