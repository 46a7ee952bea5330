"""What the shop allows: the pricing policy, guardrails, disclosure (docs/pricing-model.md, section 6)."""
