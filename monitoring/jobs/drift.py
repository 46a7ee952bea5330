"""The drift job: compares the quotes of a window with the reference profile of the model.

One pass over the log gives the sums of every measure, sketches and a sample. The checks come from the sums; Evidently's
own report comes from the sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd

from fairtag.base import schema
from fairtag.base.tables import read_tables
from fairtag.base.types import Reason, Status
from fairtag.profile.builder import stratified_sample
from fairtag.profile.measures import NEW
from monitoring.detect.checks import ChangeDetector, Comparison, log_check, remember_since, traffic_check
from monitoring.detect.scan import Scan, scan
from monitoring.detect.state import State
from monitoring.detect.window import LogReader
from monitoring.inputs import Inputs, Reference, cursor_of, job_state, read_reference, take_step
from monitoring.job_report import Check, JobReport
from monitoring.jobs import drift_checks
from monitoring.jobs.drift_examples import with_examples, with_related_changes
from monitoring.report import evidently_report

JOB = "drift"


def run(inputs: Inputs) -> JobReport:
    """Compare the window's quotes with the profile of the model."""
    reference = read_reference(inputs.model_folder)
    with job_state(inputs, JOB, reference.version) as state:
        reader = LogReader(inputs.quotes, schema.QUOTES, inputs.window)
        cursor = cursor_of(inputs, state)
        left_out: Counter[str] = Counter()
        frames = _priced_by_the_model(reader.batches(), left_out)
        result = scan(frames, reference.profile, cursor=cursor, seed=inputs.settings.seed)
        sample = result.sample.frame()
        checks = (log_check(reader.intake), *_checks(inputs, reference, result, sample, state))
        checks = remember_since(checks, inputs.window.start.isoformat(), state)
    result.sketches.save(inputs.out / "sketches")
    detail = {
        "model_folder": reference.version,
        "pages": result.pages,
        "experiment_pages_left_out": left_out.total(),
        "hours": dict(sorted(result.hours.items())),
        "sketch": result.sketches.summary(),
        "sketch_bytes": result.sketches.size,
        **(_evidently(inputs, reference, sample) if inputs.evidently and len(sample) else {}),
    }
    window = inputs.window
    models = tuple(sorted(result.models))
    return JobReport(
        JOB, window.start.isoformat(), window.end.isoformat(), checks, models, reader.intake.as_json(), detail
    )


def _priced_by_the_model(frames: Iterable[pd.DataFrame], left_out: Counter[str]) -> Iterator[pd.DataFrame]:
    """Quotes without the pages of experiment arms whose prices the model does not choose, which are counted by arm.

    List prices for half of the customers are no drift of the model, and must not have it trained again.
    """
    for frame in frames:
        if schema.EXPERIMENT not in frame or not frame[schema.EXPERIMENT].notna().any():
            yield frame
            continue
        named = frame[schema.REASONS].map(lambda reasons: Reason.EXPERIMENT in reasons).astype(bool)
        pages = frame[named].drop_duplicates(schema.QUOTE_ID)
        left_out.update(pages[schema.ARM].astype(str).tolist())
        yield frame[~frame[schema.QUOTE_ID].isin(pages[schema.QUOTE_ID])].reset_index(drop=True)


def _checks(
    inputs: Inputs, reference: Reference, result: Scan, sample: pd.DataFrame, state: State | None
) -> tuple[Check, ...]:
    traffic = traffic_check(result.pages, result.rows, inputs.settings.min_pages)
    if traffic.status is not Status.PASS:
        return (traffic,)
    settings = inputs.settings
    hours = take_step(inputs, result.increment_pages, state)
    # a day is compared with the days of training; an hour also allows for the spread of training's hours
    span = hours or inputs.window.hours
    comparisons = drift_checks.comparisons(result, reference.profile, settings, span, at_list=reference.at_list)
    comparisons += _embedding(inputs, reference, sample, result.cursor)
    if hours is None:  # the detectors keep what they hold
        comparisons = [replace(comparison, fresh=None) for comparison in comparisons]
    detector = ChangeDetector(settings, len(comparisons), hours, state)
    checks = with_related_changes([detector.check(comparison) for comparison in comparisons], comparisons)
    checks = (*_new_category(result), *checks, *_absent_columns(inputs, reference, sample))
    return (traffic, *with_examples(checks, sample, reference.profile))


def _absent_columns(inputs: Inputs, reference: Reference, sample: pd.DataFrame) -> list[Check]:
    """Item columns that went missing, if the shop's tables are given; always a single look."""
    if inputs.tables is None:
        return []
    items = read_tables(inputs.tables).latest_items()
    comparison = drift_checks.absent_comparison(sample, items, reference.profile, inputs.settings)
    return [] if comparison is None else [ChangeDetector(inputs.settings, 1).check(comparison)]


def _new_category(result: Scan) -> list[Check]:
    """Quotes of a category that was not in training have no reference; they make the check unknown."""
    measure = next((measure for measure in result.measures if measure.name == "category_mix"), None)
    if measure is None:
        return []
    rows = int(result.whole[measure.name].numerator[:, measure.components.index(NEW)].sum())
    status = Status.UNKNOWN if rows else Status.PASS
    summary = f"{rows:,} quotes of a category that was not in training" if rows else "every category was in training"
    return [Check("new_category", status, summary, value=float(rows), reference=0.0, unit="quotes", n=result.rows)]


def _embedding(inputs: Inputs, reference: Reference, sample: pd.DataFrame, cursor: datetime | None) -> list[Comparison]:
    space = reference.profile.queries
    if space is None or not inputs.settings.embed_queries:
        return []
    from fairtag.model.pricing_model import ENCODER, query_embedder

    folder = reference.path / ENCODER
    if not folder.is_dir():  # a profile folder alone has no encoder
        return []
    fresh = None if cursor is None else pd.Timestamp(cursor)
    embed = query_embedder(reference.path)
    return [drift_checks.embedding_comparison(sample, space, embed, inputs.settings, fresh)]


def _evidently(inputs: Inputs, reference: Reference, sample: pd.DataFrame) -> dict[str, Any]:
    settings, training = inputs.settings, reference.profile.sample
    inputs.say(f"{JOB}: Evidently compares {len(sample):,} rows and the words of queries, the longest part")
    current = stratified_sample(sample, schema.CATEGORY, settings.sample_rows, settings.seed)
    columns = evidently_report.drift_report(current, training)
    text = evidently_report.text_report(current, training, settings.text_rows, settings.seed)
    links = {"evidently": evidently_report.save_html(columns, inputs.out / "evidently-drift.html").name}
    scores = evidently_report.scores(columns)
    if text is not None:
        links["evidently_queries"] = evidently_report.save_html(text, inputs.out / "evidently-queries.html").name
        scores |= evidently_report.scores(text)
    if inputs.workspace is not None:
        end = pd.Timestamp(inputs.window.end)
        links["snapshot"] = evidently_report.add_to_workspace(columns, inputs.workspace, JOB, end)
    return {"links": links, "evidently_scores": scores, "sample_rows": len(current)}
