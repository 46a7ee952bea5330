"""The only places that speak to Great Expectations, Feast, MLflow and KServe; the core knows none of them."""
