"""What the shop allows: limits, guardrails, disclosure."""
