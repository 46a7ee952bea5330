"""The KServe predictor: request, features, page price, signed quote."""
