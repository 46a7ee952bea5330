"""Home Depot search judgements: how well the served search orders products, and what a smaller encoder loses."""
