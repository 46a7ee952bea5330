"""The jobs: drift, performance, price fairness, quality and stock."""
