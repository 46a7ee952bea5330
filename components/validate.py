"""The validation step: rows that keep the contract go on; rows that break it are set aside, or refuse their table."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from components.images import component


@component("data")
def validate(
    raw: Input[Dataset],
    tables: Output[Dataset],
    report: Output[HTML],
    details: Output[Artifact],
    metrics: Output[Metrics],
    max_quarantined: float,
) -> None:
    """Check the tables against the contract; a refused table ends the run with its column, rule and examples.

    Args:
        raw: Folder of tables as they were read.
        tables: Folder of the rows that go on.
        report: Every broken rule with examples, on one page.
        details: Folder with the report as JSON, the rows that were set aside and Great Expectations' own pages.
        metrics: Number of rows read and set aside, by table.
        max_quarantined: Largest share of a table's rows that may break a critical rule; above it the table is refused.
    """
    import os
    from pathlib import Path

    from components.adapters.great_expectations import read_raw, validate_tables
    from components.adapters.spark import MASTER, session
    from fairtag.base import schema
    from fairtag.base.files import write_text
    from fairtag.base.money import currency
    from fairtag.base.tables import coerce, write_tables
    from fairtag.data.derived_tables import complete_tables

    frames, metadata = read_raw(Path(raw.path))
    with session(os.environ.get(MASTER, "")) as spark:
        accepted, found = validate_tables(
            frames,
            Path(details.path),
            max_quarantined=max_quarantined,
            coin=currency(metadata.get("currency"), "metadata: currency"),
            spark=spark,
        )
    write_text(Path(report.path), (Path(details.path) / "report.html").read_text())
    for table in found.tables:
        metrics.log_metric(f"{table.table}_rows", table.rows)
        metrics.log_metric(f"{table.table}_quarantined", table.quarantined)
        print(f"validate: {table.table} {table.status}: {table.accepted:,} of {table.rows:,} rows go on")
    found.require_accepted()
    typed = {name: coerce(frame, schema.table(name)) for name, frame in accepted.items()}
    shop = complete_tables(typed, metadata)
    for name, frame in shop.frames().items():
        if len(frame) and name not in typed:
            print(f"validate: {name}: {len(frame):,} rows {shop.metadata['provenance'][name]}")
    write_tables(shop, Path(tables.path))
