"""Whether a model may serve: challenger and champion on the same hold-out, gate by gate, ending in a decision."""
