"""The price-fairness job: price promises on every quote, and price gaps between groups of customers.

Only this job reads protected attributes. They come from the audit table, and leave the job only as aggregates of groups
that are large enough. User ids are replaced by pseudonyms with the endpoint's secret; no id is kept.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.files import read_json, write_json
from fairtag.base.pseudonym import read_secret, read_secrets, user_key
from fairtag.base.tables import coerce
from fairtag.base.types import Status
from fairtag.fairness.audit import CROSS, AuditReport, audit, cross_groups
from fairtag.fairness.invariants import Floats
from fairtag.fairness.privacy import PrivacyBudget, private_means
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.profile.builder import stratified_sample
from monitoring.detect.checks import log_check, remember_since, traffic_check
from monitoring.detect.window import LogReader
from monitoring.inputs import Inputs, Reference, job_state, read_reference
from monitoring.job_report import Check, JobReport
from monitoring.jobs.fairness_checks import gap_checks, limits_of, not_judged, promise_checks
from monitoring.jobs.policy_history import PolicyHistory
from monitoring.report import evidently_report

JOB = "fairness"
PRIVATE = "fairness-private.json"


def run(inputs: Inputs) -> JobReport:
    """Check every promise on every quote, and compare every audited group with all other customers."""
    reference = read_reference(inputs.model_folder)
    groups = read_groups(inputs.need("audit", JOB), inputs.need("secret", JOB), inputs.settings.cross_attributes)
    with job_state(inputs, JOB, reference.version) as state:
        reader = LogReader(inputs.quotes, schema.QUOTES, inputs.window)
        quotes = reader.frame()
        pages = int((quotes[schema.RANK] == 1).sum())
        traffic = traffic_check(pages, len(quotes), inputs.settings.min_pages)
        checks: tuple[Check, ...] = (log_check(reader.intake), traffic)
        audited = None
        if len(quotes):
            checks += promise_checks(quotes, *promised_bounds(reference, inputs, quotes))
        if traffic.status is Status.PASS:
            audited = audit(quotes, groups, seed=inputs.settings.seed, limits=limits_of(inputs))
            checks += gap_checks(inputs, quotes, groups, audited, state)
        checks = remember_since(checks, inputs.window.start.isoformat(), state)
    detail = {"model_folder": reference.version, "pages": pages, **_groups_detail(audited), **not_judged(checks)}
    if inputs.settings.privacy_epsilon is not None and audited is not None:
        detail["private"] = write_private(inputs, quotes, groups).name
    if inputs.evidently and audited is not None:
        detail |= _evidently(inputs, quotes, groups, audited)
    models = tuple(sorted(quotes[schema.MODEL_VERSION].unique()))
    window = inputs.window
    return JobReport(
        JOB, window.start.isoformat(), window.end.isoformat(), checks, models, reader.intake.as_json(), detail
    )


def write_private(inputs: Inputs, quotes: pd.DataFrame, groups: pd.DataFrame) -> Path:
    """Write each group's mean ratio of price to list price with differential-privacy noise, for a wider audience.

    The noise is derived from the pseudonyms' secret and the window: releasing one window twice shows the same figures
    and spends its budget once. Overlapping windows each spend their own budget. The exact gaps stay in the job
    report.

    Args:
        inputs: The window, the secret and the budget.
        quotes: Quotes of the window.
        groups: The audit table; crossed attributes are left out, because each attribute takes a share of the budget.
    """
    settings, window = inputs.settings, inputs.window
    budget = PrivacyBudget(float(settings.privacy_epsilon or 0), settings.privacy_rows, settings.privacy_bound)
    single = groups[~groups[schema.ATTRIBUTE].astype(str).str.contains(CROSS, regex=False)]
    text = f"{window.start.isoformat()}/{window.end.isoformat()}"
    digest = hmac.new(read_secret(inputs.need("secret", JOB)), text.encode(), hashlib.sha256).digest()
    released = private_means(quotes, single, budget, seed=int.from_bytes(digest))
    document = {
        "schema": "fairtag.private-means/1",
        "window": {"start": window.start.isoformat(), "end": window.end.isoformat()},
        "what": "mean log(price / list price) by group, with Laplace noise; the error is that of the noise alone",
        "budget": {**asdict(budget), "attributes": int(single[schema.ATTRIBUTE].nunique()), "unit": "customer"},
        "means": [
            {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in asdict(mean).items()}
            for mean in released
        ],
    }
    return write_json(inputs.out / PRIVATE, document)


def read_groups(path: Path, secret: Path, crossed: int) -> pd.DataFrame:
    """The audit table with pseudonyms instead of user ids, and with crossed attributes.

    Args:
        path: Parquet file with columns user_id, attribute, group.
        secret: File with the secret of the pseudonyms.
        crossed: How many attributes to cross; 1 crosses none.

    Raises:
        MissingDataError: The table is absent or empty.
        DataError: The table breaks its contract.
        ConfigError: The secret cannot be read.
    """
    if not path.is_file():
        raise MissingDataError(
            f"{path}: no audit table here; it needs the columns user_id, attribute, group", table="audit_groups"
        )
    try:
        table = coerce(pd.read_parquet(path), schema.AUDIT_GROUPS)
    except OSError as error:
        raise DataError(f"{path}: cannot read the audit table ({error})", table="audit_groups") from error
    table = table.dropna()
    if table.empty:
        raise MissingDataError(f"{path}: the audit table is empty", table="audit_groups")
    parts = []
    for key in read_secrets(secret):  # a customer has a pseudonym for each key that the log was written under
        keys = {user: user_key(user, key) for user in table[schema.USER_ID].unique()}
        parts.append(table.assign(**{schema.USER_KEY: table[schema.USER_ID].map(keys)}).drop(columns=schema.USER_ID))
    hashed = pd.concat(parts, ignore_index=True)
    return cross_groups(hashed, crossed) if crossed > 1 else hashed


def promised_bounds(
    reference: Reference, inputs: Inputs, quotes: pd.DataFrame
) -> tuple[float | Floats, float | Floats]:
    """Corridor width and largest markup of the policy in force when each quote was made.

    Without a store of the live policy, those of the model folder; without a policy in it, the setting and no markup.
    """
    path = reference.path / "policy.json"
    if path.is_file() and inputs.policy_store is not None:
        return PolicyHistory.read(inputs.policy_store, reference.path, inputs.policy_keys).widths(quotes)
    if not path.is_file():
        return inputs.settings.corridor_rho, 0.0
    limits = PricingPolicy.from_json(read_json(path)).limits
    return limits.corridor_ratio, limits.markup


def _groups_detail(report: AuditReport | None) -> dict[str, Any]:
    return {} if report is None else {"unmatched": report.unmatched, "groups": len(report.findings)}


def _evidently(inputs: Inputs, quotes: pd.DataFrame, groups: pd.DataFrame, report: AuditReport) -> dict[str, Any]:
    attributes: dict[str, list[str]] = {}
    for finding in report.findings:
        if finding.rows >= inputs.settings.group_min_impressions and np.isfinite(finding.gap):
            attributes.setdefault(finding.attribute, []).append(finding.group)
    if not attributes:
        return {}
    sample = stratified_sample(quotes, schema.CATEGORY, inputs.settings.sample_rows, inputs.settings.seed)
    wide = groups.pivot(index=schema.USER_KEY, columns=schema.ATTRIBUTE, values=schema.GROUP)
    rows = sample.join(wide[list(attributes)], on=schema.USER_KEY)
    rows = rows[rows[list(attributes)].notna().all(axis=1)]
    if rows.empty:
        return {}
    snapshot = evidently_report.parity_report(rows, attributes)
    links = {"evidently": evidently_report.save_html(snapshot, inputs.out / "evidently-fairness.html").name}
    if inputs.workspace is not None:
        end = pd.Timestamp(inputs.window.end)
        links["snapshot"] = evidently_report.add_to_workspace(snapshot, inputs.workspace, JOB, end)
    return {"links": links, "sample_rows": len(rows)}
