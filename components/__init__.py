"""The steps of the pipeline: one file, one component, which calls the core and at most one adapter."""
