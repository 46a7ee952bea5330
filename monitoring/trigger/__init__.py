"""When a report starts a training run, where it runs, and the ledger of every decision."""
