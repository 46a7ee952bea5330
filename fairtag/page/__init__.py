"""The exact prices of one page: problem, solver, guardrails, reasons (docs/pricing-model.md, sections 5 and 6)."""
