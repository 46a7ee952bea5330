"""The drift job: one pass over the quotes, the questions of the profile, Evidently."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd

from fairtag.base import schema
from fairtag.base.tables import read_tables
from fairtag.base.types import Status
from fairtag.profile.builder import stratified_sample
from fairtag.profile.measures import NEW
from monitoring.detect.checks import Judge, Question, remember_since
from monitoring.detect.scan import Scan, scan
from monitoring.detect.state import State
from monitoring.detect.window import LogReader
from monitoring.inputs import Inputs, Reference, cursor_of, job_state, read_reference, take_step
from monitoring.job_report import Check, JobReport
from monitoring.jobs import drift_questions, feature_questions
from monitoring.jobs.drift_examples import with_company, with_examples
from monitoring.jobs.log_checks import log_check, traffic_check
from monitoring.report import evidently_report

JOB = "drift"


def run(inputs: Inputs) -> JobReport:
    """Hold the window's quotes against the profile of the model."""
    reference = read_reference(inputs.model_folder)
    with job_state(inputs, JOB, reference.version) as state:
        reader = LogReader(inputs.quotes, schema.QUOTES, inputs.window)
        cursor = cursor_of(inputs, state)
        found = scan(reader.batches(), reference.profile, cursor=cursor, seed=inputs.settings.seed)
        sample = found.sample.frame()
        checks = (log_check(reader.intake), *_checks(inputs, reference, found, sample, state))
        checks = remember_since(checks, inputs.window.start.isoformat(), state)
    found.sketches.save(inputs.out / "sketches")
    detail = {
        "model_folder": reference.version,
        "pages": found.pages,
        "hours": dict(sorted(found.hours.items())),
        "sketch": found.sketches.summary(),
        "sketch_bytes": found.sketches.size,
        **(_evidently(inputs, reference, sample) if inputs.evidently and len(sample) else {}),
    }
    window = inputs.window
    models = tuple(sorted(found.models))
    return JobReport(
        JOB, window.start.isoformat(), window.end.isoformat(), checks, models, reader.intake.as_json(), detail
    )


def _checks(
    inputs: Inputs, reference: Reference, found: Scan, sample: pd.DataFrame, state: State | None
) -> tuple[Check, ...]:
    traffic = traffic_check(inputs, found.pages, found.rows)
    if traffic.status is not Status.PASS:
        return (traffic,)
    settings = inputs.settings
    hours = take_step(inputs, found.increment_pages, state)
    # a day is held against training's days, an hour of it against training's hours as well
    asked = drift_questions.questions(found, reference.profile, settings, hours or inputs.window.hours)
    asked += _embedding(inputs, reference, sample, found.cursor)
    if hours is None:  # the detectors keep what they hold
        asked = [replace(question, fresh=None) for question in asked]
    judge = Judge(settings, len(asked), hours, state)
    answers = with_company([judge.answer(question) for question in asked], asked)
    checks = (*_new_category(found), *answers, *_absent(inputs, reference, sample))
    return (traffic, *with_examples(checks, sample, reference.profile))


def _absent(inputs: Inputs, reference: Reference, sample: pd.DataFrame) -> list[Check]:
    """Item columns that went missing, where the shop's tables were given; one look, whatever the state."""
    if inputs.tables is None:
        return []
    items = read_tables(inputs.tables).latest_items()
    question = feature_questions.absent_question(sample, items, reference.profile, inputs.settings)
    return [] if question is None else [Judge(inputs.settings, 1).answer(question)]


def _new_category(found: Scan) -> list[Check]:
    """Quotes of a category that training never saw have no reference to be held against."""
    measure = next((measure for measure in found.measures if measure.name == "category_mix"), None)
    if measure is None:
        return []
    rows = int(found.whole[measure.name].numerator[:, measure.components.index(NEW)].sum())
    status = Status.UNKNOWN if rows else Status.PASS
    said = f"{rows:,} quotes of a category that training never saw" if rows else "every category is known"
    return [Check("new_category", status, said, value=float(rows), reference=0.0, unit="quotes", n=found.rows)]


def _embedding(inputs: Inputs, reference: Reference, sample: pd.DataFrame, cursor: datetime | None) -> list[Question]:
    space = reference.profile.queries
    if space is None or not inputs.settings.embed_queries:
        return []
    from fairtag.encoder.encoder import load_encoder
    from fairtag.model.pricing_model import ENCODER

    folder = reference.path / ENCODER
    if not folder.is_dir():  # a bare profile has no encoder
        return []
    fresh = None if cursor is None else pd.Timestamp(cursor)
    embed = partial(load_encoder(folder).encode, role="query")
    return [drift_questions.embedding_question(sample, space, embed, inputs.settings, fresh)]


def _evidently(inputs: Inputs, reference: Reference, sample: pd.DataFrame) -> dict[str, Any]:
    settings, training = inputs.settings, reference.profile.sample
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
