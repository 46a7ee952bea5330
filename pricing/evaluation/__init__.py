"""Challenger and champion on the same hold-out, gate by gate, ending in a decision. Trains no model it judges."""

from pricing.evaluation.evaluate import EvaluationLimits, evaluate

__all__ = ["EvaluationLimits", "evaluate"]
