"""Demand on a results page: estimation, calibration and cross-check (docs/pricing-model.md, section 4).

What a researcher needs stands here: elasticities of any panel (:class:`Panel`, :func:`compare_elasticities`), a nested
logit of any panel of counts (:class:`ChoicePanel`, :func:`nested_logit`), and conditional or nested logits from arrays
(:class:`Choices`, :class:`Cells`, :func:`fit_logit`, :func:`laplace`).
"""

from fairtag.demand.choices import Choices
from fairtag.demand.logit import LogitFit, Prior, fit_logit, laplace
from fairtag.demand.nested_panel import ChoicePanel, NestedLogit, nested_logit
from fairtag.demand.panel import Panel, PanelElasticity, compare_elasticities
from fairtag.solver.cells import Cells

__all__ = [
    "Cells",
    "ChoicePanel",
    "Choices",
    "LogitFit",
    "NestedLogit",
    "Panel",
    "PanelElasticity",
    "Prior",
    "compare_elasticities",
    "fit_logit",
    "laplace",
    "nested_logit",
]
