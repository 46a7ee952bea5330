"""The fit step: the price model, demand and everything else the endpoint needs, in one model folder."""

from kfp.dsl import Dataset, Input, Model, Output

from components.images import component


@component("train")
def fit(
    tables: Input[Dataset],
    joined: Input[Dataset],
    encoder: Input[Model],
    model_folder: Output[Model],
    dataset: str,
    demand: str,
    policy: str,
    code_version: str,
    pipeline_run: str,
    seed: int,
) -> None:
    """Fit the price model and demand on the training set and write the model folder.

    Args:
        tables: Folder of validated tables.
        joined: Point-in-time training set.
        encoder: Folder of the trained encoder.
        model_folder: The model folder.
        dataset: Name of the data set, for the lineage.
        demand: JSON object of priors of the demand model that differ from the defaults.
        policy: JSON object of what the shop allows, where it differs from the defaults.
        code_version: Version of the code, for the lineage.
        pipeline_run: Pipeline run, for the lineage.
        seed: Seed of every draw.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    import pandas as pd

    from fairtag.base.settings import parse
    from fairtag.base.tables import read_tables
    from fairtag.demand.config import DemandConfig
    from fairtag.model.manifest import read_manifest
    from fairtag.training.model import Lineage, fit_model_folder, shop_policy

    shop = read_tables(Path(tables.path))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    fit_model_folder(
        shop,
        pd.read_parquet(joined.path),
        Path(encoder.path),
        Path(model_folder.path),
        demand=parse(DemandConfig, demand, "demand"),
        policy=shop_policy(shop, policy),
        lineage=Lineage(shop.fingerprint(), code_version, now, dataset, pipeline_run),
        seed=seed,
        progress=lambda line: print(f"fit: {line}", flush=True),
    )
    manifest = read_manifest(Path(model_folder.path))
    model_folder.metadata.update(version=manifest["version"], model_digest=manifest["digest"])
    print(f"fit: model folder {manifest['version']}")
