"""Monitoring of a running shop: drift, performance, price fairness, log quality, stock, and the retraining trigger."""
