"""The core of Fairtag: mathematics and model. It knows nothing of Kubeflow, KServe, Feast, MLflow or the clock."""
