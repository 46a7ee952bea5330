"""The training-set step: joins each impression with its features as they were known at the time."""

from kfp.dsl import Dataset, Input, Output

from components.images import component


@component("data")
def training_set(tables: Input[Dataset], joined: Output[Dataset]) -> None:
    """Join features to impressions point in time, through Feast; no impression is lost.

    Args:
        tables: Folder of validated tables.
        joined: Parquet file with one row for each impression.
    """
    import os
    import tempfile
    from pathlib import Path

    from fairtag.base.files import write_atomic
    from fairtag.base.tables import read_tables
    from fairtag.data import point_in_time

    shop = read_tables(Path(tables.path))
    if shop.impressions.empty:  # there is nothing to join
        frame = point_in_time.training_set(shop)
    else:
        from components.adapters import feast
        from components.adapters.spark import MASTER, session

        with tempfile.TemporaryDirectory() as folder, session(os.environ.get(MASTER, "")) as spark:
            feast.write_repository(Path(folder), spark=spark is not None)
            frame = feast.training_set(feast.apply(Path(folder), shop), shop)
    write_atomic(Path(joined.path), lambda path: frame.to_parquet(path, index=False))
    joined.metadata["rows"] = len(frame)
    print(f"training set: {len(frame):,} impressions, {frame.shape[1]} columns")
