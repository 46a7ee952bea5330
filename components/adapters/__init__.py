"""The only code that calls Great Expectations, Feast, MLflow, KServe and Spark; the core imports none of them."""
