"""Fairness: the corridor, the audit, invariants of quotes, privacy (docs/pricing-model.md, section 7)."""
