"""Demand on a results page: estimation, calibration and cross-check (docs/pricing-model.md, section 4).

What a researcher needs stands here: elasticities of any panel (:class:`Panel`, :func:`compare_elasticities`), and
conditional or nested logits of counts with an outside option (:class:`Choices`, :class:`Cells`, :func:`fit_logit`,
:func:`laplace`).
"""

from fairtag.demand.choices import Choices
from fairtag.demand.logit import LogitFit, Prior, fit_logit, laplace
from fairtag.demand.panel import Panel, PanelElasticity, compare_elasticities
from fairtag.solver.cells import Cells

__all__ = [
    "Cells",
    "Choices",
    "LogitFit",
    "Panel",
    "PanelElasticity",
    "Prior",
    "compare_elasticities",
    "fit_logit",
    "laplace",
]
