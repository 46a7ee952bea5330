"""One file, one Kubeflow Pipelines component: a thin body that calls the core and at most one adapter."""
