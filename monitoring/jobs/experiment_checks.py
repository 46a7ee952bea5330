"""Checks of the experiments that run: do customers arrive in the planned shares, and does an arm do harm?

The figures are those of ``fairtag experiment report``: over the whole experiment, not over the job's window.
"""

from __future__ import annotations

from datetime import timedelta

from fairtag.base.errors import FairtagError
from fairtag.base.types import Status
from fairtag.evaluation.experiment_log import ExperimentLog
from fairtag.evaluation.experiment_report import ExperimentReport, Verdict, report_experiment
from fairtag.model.signature import policy_verifier
from fairtag.policy.experiments import Experiment
from fairtag.policy.live_policy import open_store
from monitoring.inputs import Inputs
from monitoring.job_report import Check

SPLIT, HARM = "experiment_split", "experiment_harm"


def experiment_checks(inputs: Inputs) -> tuple[Check, ...]:
    """Two checks of each experiment that runs, or whose last customers are still watched; none without a policy store.

    Raises:
        UnavailableError: The store of the live policy, or a log, does not answer.
    """
    if inputs.policy_store is None:
        return ()
    verify = None if inputs.policy_keys is None else policy_verifier(inputs.policy_keys)
    versions, _ = open_store(inputs.policy_store, verify=verify).trusted_history()
    running = [each for each in (versions[-1].policy.experiments if versions else ()) if _watched(each, inputs)]
    if not running:
        return ()
    log = ExperimentLog(inputs.quotes, inputs.outcomes)
    return tuple(check for each in running for check in _checks(each, log, inputs))


def _watched(experiment: Experiment, inputs: Inputs) -> bool:
    today = inputs.window.end.date()
    begun = experiment.starts is None or experiment.starts <= today
    last = None if experiment.ends is None else experiment.ends + timedelta(days=experiment.window_days + 1)
    return begun and not experiment.stopped and (last is None or today <= last)


def _checks(experiment: Experiment, log: ExperimentLog, inputs: Inputs) -> tuple[Check, ...]:
    try:
        report = report_experiment(experiment, log.read(experiment.name), now=inputs.window.end)
    except FairtagError as error:
        return tuple(Check(name, Status.UNKNOWN, str(error), experiment.name) for name in (SPLIT, HARM))
    return _split(report), _harm(report)


def _split(report: ExperimentReport) -> Check:
    seen, split = sum(arm.customers for arm in report.arms), report.split
    said = "not in the planned shares" if split.broken else "in the planned shares"
    counts = ", ".join(f"{arm.arm} {arm.customers:,}" for arm in report.arms)
    status = Status.URGENT if split.broken else Status.PASS
    return Check(SPLIT, status, f"customers arrive {said}: {counts}", report.name, n=seen, value=split.p_value)


def _harm(report: ExperimentReport) -> Check:
    harmed = report.verdict is Verdict.HARM
    detail = {"verdict": report.verdict.value}
    seen = sum(arm.whole for arm in report.arms)
    said = f"{report.verdict}: {report.words}"
    return Check(HARM, Status.URGENT if harmed else Status.PASS, said, report.name, n=seen, detail=detail)
