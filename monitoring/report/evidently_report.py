"""Evidently's own reports on a bounded sample, as HTML pages and as snapshots in a workspace.

Evidently reads rows one by one, so that it gets a seeded, stratified sample of fixed size; the status of a job comes
from the sums over all rows. The drift method depends on type and size and is named in the report: a significance test
for small samples, a distance for large ones, where every difference is significant.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.files import write_atomic
from fairtag.profile.builder import queried_pages
from fairtag.profile.measures import MARGIN, PRICE_TO_LIST, derived

NUMERIC = (schema.SIMILARITY, PRICE_TO_LIST, MARGIN, schema.PURCHASE_PROBABILITY, schema.PRICE_MINOR)
CATEGORICAL = (schema.CATEGORY,)
SMALL = 1_000  # rows up to which a significance test still says something about the size of a change
PROJECT = "Fairtag"
ITEM_EPOCH = "item_epoch"  # the same item on the same price day
PARITY_LIMIT = 0.02  # the gap that is urgent (docs/pricing-model.md, section 7)


def method(kind: str, rows: int) -> tuple[str, float]:
    """Evidently's drift method and its threshold for a column.

    Args:
        kind: ``numeric``, ``categorical`` or ``text``.
        rows: Rows of the smaller sample.
    """
    if kind == "text":
        return "perc_text_content_drift", 0.95  # a classifier that separates the two better than 95 % of random ones
    if rows <= SMALL:
        return ("ks", 0.01) if kind == "numeric" else ("chisquare", 0.01)
    return ("wasserstein", 0.1) if kind == "numeric" else ("jensenshannon", 0.1)


def drift_report(current: pd.DataFrame, reference: pd.DataFrame) -> Any:
    """Drift of each numeric and categorical column, as an Evidently snapshot.

    Args:
        current: Sampled rows of schema.QUOTES.
        reference: The profile's sample.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    now, then = _columns(current), _columns(reference)
    numeric, categorical = _filled(now, then, NUMERIC), _filled(now, then, CATEGORICAL)
    rows = min(len(now), len(then))
    metrics = [_drift(ValueDrift, name, "numeric", rows) for name in numeric]
    metrics += [_drift(ValueDrift, name, "categorical", rows) for name in categorical]
    definition = DataDefinition(numerical_columns=numeric, categorical_columns=categorical)
    return Report(metrics).run(Dataset.from_pandas(now, definition), Dataset.from_pandas(then, definition))


def text_report(current: pd.DataFrame, reference: pd.DataFrame, rows: int, seed: int = 0) -> Any | None:
    """Drift of the words of queries, one row for each page, as a snapshot; None if a side has too few queries.

    Args:
        current: Sampled rows of schema.QUOTES.
        reference: The profile's sample.
        rows: Queries of each side that the classifier reads; it is by far the slowest method.
        seed: Seed of the sample of queries.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    sides = [queried_pages(frame, rows, seed)[[schema.QUERY]] for frame in (current, reference)]
    if min(map(len, sides)) < 100:  # the classifier is trained on half of them
        return None
    definition = DataDefinition(text_columns=[schema.QUERY])
    metric = _drift(ValueDrift, schema.QUERY, "text", min(map(len, sides)))
    with warnings.catch_warnings():  # the classifier warns that it stops after a fixed number of passes
        warnings.simplefilter("ignore")
        return Report([metric]).run(*(Dataset.from_pandas(side, definition) for side in sides))


def parity_report(current: pd.DataFrame, attributes: Mapping[str, Sequence[str]]) -> Any:
    """Price parity of each group with its test, as a snapshot.

    Args:
        current: Sampled quotes with one column for each attribute.
        attributes: Attribute -> groups with enough rows to show.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.tests import gte, lte

    from monitoring.report.evidently_metrics import PriceParity

    item_epoch = current[schema.ITEM_ID].astype(str) + "@" + current[schema.EPOCH].astype(str)
    frame = current[[schema.PRICE_MINOR, *attributes]].assign(**{ITEM_EPOCH: item_epoch})
    frame = frame.astype(dict.fromkeys(attributes, str))
    metrics = [
        PriceParity(
            group_column=attribute,
            group=group,
            item_column=ITEM_EPOCH,
            price_column=schema.PRICE_MINOR,
            tests=[gte(-PARITY_LIMIT), lte(PARITY_LIMIT)],
        )
        for attribute, groups in attributes.items()
        for group in groups
    ]
    definition = DataDefinition(numerical_columns=[schema.PRICE_MINOR], categorical_columns=[ITEM_EPOCH, *attributes])
    return Report(metrics).run(Dataset.from_pandas(frame, definition))


def save_html(snapshot: Any, path: Path) -> Path:
    """Write a snapshot as one HTML page, atomically."""
    return write_atomic(path, lambda temporary: snapshot.save_html(str(temporary)))


def add_to_workspace(snapshot: Any, workspace: Path, job: str, window_end: pd.Timestamp) -> str:
    """Add a snapshot to the job's project in a workspace; return the id of the snapshot."""
    from evidently.ui.workspace import Workspace

    workspace.mkdir(parents=True, exist_ok=True)
    store = Workspace(str(workspace))
    name = f"{PROJECT} {job}"
    projects = [project for project in store.list_projects() if project.name == name]
    project = projects[0] if projects else store.create_project(name)
    return str(store.add_run(project.id, snapshot, name=f"{job} until {window_end:%Y-%m-%d %H:%M}").id)


def scores(snapshot: Any) -> dict[str, float]:
    """Column -> drift score of a snapshot."""
    scored = {}
    for metric in snapshot.dict()["metrics"]:
        column = metric["config"].get("column")
        if column is not None and np.isfinite(float(metric["value"])):
            scored[column] = float(metric["value"])
    return scored


def _drift(metric: Any, column: str, kind: str, rows: int) -> Any:
    name, threshold = method(kind, rows)
    return metric(column=column, method=name, threshold=threshold)


def _columns(frame: pd.DataFrame) -> pd.DataFrame:
    columns = {name: derived(frame, name) for name in NUMERIC}
    return pd.DataFrame(columns).assign(**{name: frame[name].astype(str).to_numpy() for name in CATEGORICAL})


def _filled(now: pd.DataFrame, then: pd.DataFrame, names: Sequence[str]) -> list[str]:
    # Evidently fails on a column without values; the sums cover such a column
    return [name for name in names if now[name].notna().any() and then[name].notna().any()]
