"""A small simulated shop and a model folder fitted on it with a tiny random encoder: real parts, seconds to build."""

from dataclasses import replace

import pytest

from fairtag.base import schema
from fairtag.model.pricing_model import PricingModel, load_pricing_model
from fairtag.page.pricing import search
from fairtag.policy.context import UserContext
from fairtag.search.query import SearchQuery


@pytest.fixture(scope="session")
def model(model_folder):
    return load_pricing_model(model_folder)


BEHAVIOUR = {
    schema.RECENCY_DAYS: 3.0,
    schema.ORDERS_90D: 1.0,
    schema.SPEND_90D: 40.0,
    schema.PROMOTION_RESPONSE: 0.95,
}


@pytest.fixture(scope="session")
def query(model):
    return model.encoder.encode(["oak bookcase white"], "query")[0]


@pytest.fixture(scope="session")
def rows(model, query):
    return search(model, SearchQuery("oak bookcase white"), query, UserContext(), 12).rows


def _customer(model: PricingModel, **changes) -> UserContext:
    return replace(
        UserContext("u1", BEHAVIOUR, model.item_ids[:4], (1.0, 2.0, 30.0, 90.0), jurisdiction="US-NY"), **changes
    )


@pytest.fixture(scope="session")
def customer():
    return _customer


def _certain(model: PricingModel, **changes) -> PricingModel:
    """The model without exploration and without the fallback for want of confidence."""
    return replace(model, policy=replace(model.policy, exploration=0.0, confidence=0.0, **changes))


@pytest.fixture(scope="session")
def certain():
    return _certain


def _prices(page):
    return [item.price_minor for item in page.items]


@pytest.fixture(scope="session")
def prices():
    return _prices
