"""What an item like this costs: ``f(v)`` with its interval, and the reference price (PRICING.md section 3)."""
