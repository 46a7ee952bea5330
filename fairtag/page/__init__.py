"""The exact prices of one page: problem, solver, guardrails, reasons (PRICING.md sections 5 and 6)."""
