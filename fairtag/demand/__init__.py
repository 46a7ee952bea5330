"""Demand on a results page: estimation, calibration and cross-check (docs/pricing-model.md, section 4).

What a researcher needs stands here: elasticities of any panel (:class:`Panel`, :func:`compare_elasticities`), and
conditional logits of counts with an outside option (:class:`Choices`, :func:`fit_logit`, :func:`laplace`).
"""

from fairtag.demand.choices import Choices
from fairtag.demand.logit import LogitFit, Prior, fit_logit, laplace
from fairtag.demand.panel import Panel, PanelElasticity, compare_elasticities

__all__ = [
    "Choices",
    "LogitFit",
    "Panel",
    "PanelElasticity",
    "Prior",
    "compare_elasticities",
    "fit_logit",
    "laplace",
]
