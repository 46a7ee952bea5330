"""The ingest step: a named data set becomes a folder of tables."""

from kfp.dsl import Dataset, Output

from components.images import component


@component("train")  # the image that has the object store's client
def ingest(
    tables: Output[Dataset],
    dataset: str,
    data: str,
    data_fingerprint: str,
    items: int,
    users: int,
    impressions: int,
    seed: int,
) -> None:
    """Read a data set into the tables of the contract.

    Args:
        tables: Folder of tables, one parquet file each.
        dataset: Name of the data set, such as synthetic, complete-journey, csv or parquet.
        data: Folder of the data set, or its fsspec URL; not used by synthetic.
        data_fingerprint: Digest of the source files; with caching on, the step runs again when it changes.
        items: Products of the simulated shop.
        users: Customers of the simulated shop.
        impressions: Items shown in the simulated shop.
        seed: Seed of the simulated shop.
    """
    from pathlib import Path

    from components.adapters.data_folder import data_folder
    from fairtag.base.tables import write_tables
    from fairtag.data import load
    from fairtag.simulator.simulation import ShopSize

    size = ShopSize(items=items, users=users, impressions=impressions)
    with data_folder(data) as folder:
        shop = load(dataset, folder, seed=seed, size=size)
        write_tables(shop, Path(tables.path))
    rows = {name: len(frame) for name, frame in shop.frames().items()}
    tables.metadata.update(dataset=dataset, data_fingerprint=data_fingerprint, **rows)
    print("ingest:", ", ".join(f"{count:,} {name}" for name, count in rows.items()))
