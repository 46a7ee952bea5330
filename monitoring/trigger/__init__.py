"""The retraining trigger: its policy, its targets, and the ledger of every decision."""
