"""Challenger and champion on the same hold-out, gate by gate, ending in a decision."""

from fairtag.evaluation.evaluate import EvaluationLimits, evaluate

__all__ = ["EvaluationLimits", "evaluate"]
