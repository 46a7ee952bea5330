"""A small simulated shop and a model folder fitted on it with a tiny random encoder: real parts, seconds to build."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch

from fairtag.base import schema
from fairtag.base.text import item_texts, tokens
from fairtag.data.point_in_time import training_set
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.training import train_encoder
from fairtag.model.pricing_model import PricingModel, load_pricing_model
from fairtag.page.pricing import retrieve
from fairtag.policy.context import UserContext
from fairtag.simulator.simulation import ShopSize, simulate_shop
from fairtag.training.model import Lineage, fit_model_folder

SIZE = ShopSize(items=240, users=300, impressions=36_000, page_size=12, wishes=200, judgements=1_500)
PREFIXES = {"query_prefix": "query ", "item_prefix": "passage "}


@pytest.fixture(scope="session")
def market():
    return simulate_shop(SIZE, seed=4)


@pytest.fixture(scope="session")
def joined(market):
    return training_set(market.tables)


@pytest.fixture(scope="session")
def tiny_encoder(market, tiny_bert, tmp_path_factory):
    """An encoder folder around a random BERT that knows the shop's words."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("encoder")
    texts = [*item_texts(market.tables.latest_items()), *market.tables.judgements[schema.QUERY].unique()]
    words = sorted({word for text in [*texts, *PREFIXES.values()] for word in tokens(text)})
    tiny_bert(folder / "base", words, layers=1, positions=40)
    config = EncoderConfig.from_json(
        {
            "base": {"name": str(folder / "base"), "max_length": 32, **PREFIXES},
            "schedule": {"max_steps": 0, "checkpoint_every": 0},
        }
    )
    train_encoder(config, market.tables.judgements, market.tables.latest_items(), folder / "encoder")
    return folder / "encoder"


@pytest.fixture(scope="session")
def model_folder(market, joined, tiny_encoder, tmp_path_factory):
    """The model folder."""
    lineage = Lineage(market.tables.fingerprint(), "test", datetime(2026, 1, 1, tzinfo=UTC).isoformat(), "synthetic")
    return fit_model_folder(
        market.tables, joined, tiny_encoder, tmp_path_factory.mktemp("fit") / "model_folder", lineage=lineage
    )


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
    return retrieve(model, query, "oak bookcase white", UserContext(), 12)


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
