"""The price model ``f(v)`` with its interval, and the reference price (docs/pricing-model.md, section 3)."""
