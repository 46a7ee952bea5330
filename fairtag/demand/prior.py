"""Demand before anything was observed: the prior alone, under which every item stays at list.

A shop without pages has no demand model, but search, guardrails and quotes need the catalogue in the same shape.
:attr:`fairtag.demand.demand_model.DemandModel.learned` is false, no category may be priced, and the endpoint gives no
purchase probability.

>>> import pandas as pd
>>> shop = Assortment.of(pd.DataFrame({"item_id": ["mug", "bowl"], "category": ["cups", "bowls"]}))
>>> model = prior_demand(shop, "there are no pages")
>>> model.learned, model.priceable(np.array([0, 1])).tolist()
(False, [False, False])
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from fairtag.demand.config import DemandConfig
from fairtag.demand.demand_data import Assortment
from fairtag.demand.demand_model import DemandModel, Posterior, SlopeCorrection
from fairtag.demand.features import N_BEHAVIOUR, FeatureScaling, Layout, TextBasis
from fairtag.demand.fit import demand_prior

SIMILARITY = 0.5  # mean similarity to the intent where none was observed: cosine 0


def prior_demand(assortment: Assortment, why: str, config: DemandConfig | None = None) -> DemandModel:
    """The demand model of a catalogue of which no page was observed.

    Args:
        assortment: The catalogue.
        why: Why nothing could be learned, in words; kept in the report.
        config: Priors.
    """
    config = config or DemandConfig()
    layout = Layout(len(assortment.categories), 0)
    prior, tau = demand_prior(layout, config)
    items = assortment.category.size
    width = 0 if assortment.embeddings is None else assortment.embeddings.shape[1]
    nothing = np.zeros(N_BEHAVIOUR)
    return DemandModel(
        layout=layout,
        categories=assortment.categories,
        category=assortment.category,
        text=np.zeros((items, 0)),
        basis=TextBasis(np.zeros(width), np.zeros((width, 0))),
        scaling=FeatureScaling(SIMILARITY, nothing, np.ones(N_BEHAVIOUR), nothing, nothing),
        posterior=Posterior(
            theta=prior.mean,
            effects=np.zeros((items, 2)),
            factor=np.diag(prior.precision**-0.5),
            gain=np.zeros((items, 2, layout.size)),
            conditional=np.broadcast_to(np.diag(tau), (items, 2, 2)).copy(),
        ),
        correction=SlopeCorrection(np.ones(len(assortment.categories)), np.zeros(len(assortment.categories), bool)),
        usual_ratio=np.ones(len(assortment.categories)),
        b_min=config.b_min,
        contradicts=np.zeros(items, dtype=bool),
        nest=assortment.nest,
        dissimilarity=np.ones(len(assortment.categories)),
        units=np.ones(len(assortment.categories)),
        report={"not_learned": why, "config": asdict(config)},
    )
