"""The monitoring jobs: drift, performance, price fairness, log quality and stock; each has a ``run(inputs)``."""
