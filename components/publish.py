"""The publish step: what the monitors read of the shop goes to the object store. It is never cached."""

from kfp.dsl import Dataset, Input

from components.images import component


@component("train")  # the image that has the object store's client
def publish(tables: Input[Dataset], data: str, to_tables: str, to_audit: str, to_outcomes: str) -> None:
    """Write tables, audit groups and outcomes to an address each; an empty address writes nothing.

    Args:
        tables: Folder of validated tables.
        data: Folder of the shop's own files, where its outcomes lie, or its fsspec URL.
        to_tables: fsspec URL of the folder that the stock job reads.
        to_audit: fsspec URL of the folder that the fairness job reads.
        to_outcomes: fsspec URL of the folder that the performance job reads.
    """
    if not (to_tables or to_audit or to_outcomes):
        print("publish: no address is set, so that nothing is published")
        return
    from pathlib import Path

    from components.adapters.data_folder import data_folder
    from components.adapters.monitor_inputs import (
        publish_audit_groups,
        publish_outcomes,
        publish_tables,
        read_outcomes,
    )
    from fairtag.base.tables import read_tables

    shop = read_tables(Path(tables.path))
    if to_tables:
        print(f"publish: {publish_tables(shop, to_tables):,} rows of items and orders to {to_tables}")
    if to_audit:
        print(f"publish: {publish_audit_groups(shop, to_audit):,} audit groups to {to_audit}")
    if to_outcomes:
        with data_folder(data, begins="outcomes") as folder:
            if folder is not None and folder.is_dir():
                print(f"publish: {publish_outcomes(read_outcomes(folder), to_outcomes):,} outcomes to {to_outcomes}")
