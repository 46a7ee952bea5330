"""The fit step: price model, demand and everything the endpoint needs, as one model folder."""

from kfp.dsl import Dataset, Input, Model, Output

from components.images import component


@component("train")
def fit(
    tables: Input[Dataset],
    joined: Input[Dataset],
    encoder: Input[Model],
    model_folder: Output[Model],
    dataset: str,
    code_version: str = "",
    pipeline_run: str = "",
    seed: int = 0,
) -> None:
    """Fit f(v) and demand on the training set and write the model folder.

    Args:
        tables: Folder of validated tables.
        joined: Point-in-time training set.
        encoder: Folder of the trained encoder.
        model_folder: Folder of the model folder.
        dataset: Name of the data set, for the lineage.
        code_version: Version of the code, for the lineage.
        pipeline_run: Pipeline run, for the lineage.
        seed: Seed of every draw.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    import pandas as pd

    from fairtag.base.tables import read_tables
    from fairtag.model.manifest import read_manifest
    from fairtag.training.model import Lineage, fit_model_folder

    shop = read_tables(Path(tables.path))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    fit_model_folder(
        shop,
        pd.read_parquet(joined.path),
        Path(encoder.path),
        Path(model_folder.path),
        lineage=Lineage(shop.fingerprint(), code_version, now, dataset, pipeline_run),
        seed=seed,
        progress=lambda line: print(f"fit: {line}", flush=True),
    )
    manifest = read_manifest(Path(model_folder.path))
    model_folder.metadata.update(version=manifest["version"], model_digest=manifest["digest"])
    print(f"fit: model folder {manifest['version']}")
