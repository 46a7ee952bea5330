"""The trigger policy: a YAML file that says when a job report starts a training run, and where."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fairtag.base.errors import ConfigError
from fairtag.base.settings import explain
from fairtag.base.types import Status
from monitoring.job_report import JobReport
from monitoring.runbook import check_names

SCHEMA = "fairtag.trigger-policy/1"
NAME = 128  # longest name of a pipeline or an experiment on Kubeflow, characters


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuietHours(_Frozen):
    """Hours in which no run starts; a run that is due waits.

    Args:
        start: Local time at which they begin.
        end: Local time at which they end; if it is before ``start``, they span midnight.
        timezone: IANA name of the time zone.
    """

    start: time
    end: time
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone; write for instance Europe/Berlin") from error
        return value

    def hold(self, now: datetime) -> bool:
        """Whether a time lies in the quiet hours."""
        local = now.astimezone(ZoneInfo(self.timezone)).time()
        if self.start <= self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end


class LocalTarget(_Frozen):
    """A command on this machine.

    Args:
        command: Arguments of the command; ``{run_name}``, ``{reason}`` and ``{evidence}`` (a JSON file) are filled in.
        timeout_hours: Hours after which the run counts as failed.
        rejected_codes: Exit codes of a complete run whose model was rejected (5 for ``fairtag run``).
    """

    kind: Literal["local"] = "local"
    command: tuple[str, ...] = Field(min_length=1)
    rejected_codes: tuple[int, ...] = (5,)
    timeout_hours: float = Field(default=12.0, gt=0)


class KubeflowTarget(_Frozen):
    """A pipeline on Kubeflow.

    Args:
        host: Address of the Kubeflow Pipelines API.
        pipeline: Name of the uploaded pipeline; its newest version runs.
        experiment: Experiment of the run.
        parameters: Parameters of the pipeline on top of those of its last run that succeeded; the placeholders of
            :class:`LocalTarget` are filled in.
        namespace: Namespace in a multi-user installation.
    """

    kind: Literal["kubeflow"] = "kubeflow"
    host: str
    pipeline: str = Field(max_length=NAME)
    experiment: str = Field(default="fairtag", max_length=NAME)
    parameters: dict[str, str] = Field(default_factory=dict)
    namespace: str | None = None


Target = Annotated[LocalTarget | KubeflowTarget, Field(discriminator="kind")]


class TriggerPolicy(_Frozen):
    """What starts a run, how often, and where.

    Args:
        when: Job or "job/check" -> statuses that call for a run; a check takes precedence over its job. Fairness is
            not among the defaults: a model that breaks the corridor is rolled back first (docs/operations.md), not
            retrained on its own prices.
        ignore_checks: Checks that never call for a run.
        cooldown_hours: Least time between two starts.
        max_per_day: Most starts in any 24 hours.
        quiet_hours: Hours in which no run starts.
        repeat_after_hours: Hours after which the same finding may start another run.
        max_age_hours: Age of a report's window from which it no longer calls for a run.
        dry_run: Decide and record, but start nothing.
        attempts: Attempts at the target before the start counts as failed; the next call tries again.
        target: Where the run goes.
    """

    schema_: Literal["fairtag.trigger-policy/1"] = Field(alias="schema")
    when: dict[str, tuple[Status, ...]] = Field(default={"drift": (Status.URGENT,), "performance": (Status.URGENT,)})
    ignore_checks: tuple[str, ...] = ()
    cooldown_hours: float = Field(default=24.0, ge=0)
    max_per_day: int = Field(default=2, ge=1)
    quiet_hours: QuietHours | None = None
    repeat_after_hours: float = Field(default=168.0, ge=0)
    max_age_hours: float = Field(default=48.0, gt=0)
    dry_run: bool = False
    attempts: int = Field(default=3, ge=1, le=10)
    target: Target

    @model_validator(mode="after")
    def _sane(self) -> TriggerPolicy:
        for job, statuses in self.when.items():
            _, _, check = job.partition("/")
            if check and check not in check_names():
                raise ValueError(f"when.{job}: there is no check {check}; docs/operations.md lists all checks")
            wrong = {status for status in statuses if status in (Status.PASS, Status.UNKNOWN)}
            if wrong:
                raise ValueError(f"when.{job}: {', '.join(sorted(wrong))} cannot call for a run; use warn or urgent")
        return self

    def recent(self, report: JobReport, now: datetime) -> bool:
        """Whether the window of a report ended recently enough to act on it."""
        return now - datetime.fromisoformat(report.end) <= timedelta(hours=self.max_age_hours)

    def calls(self, report: JobReport) -> tuple[str, ...]:
        """Names of the checks of a report that call for a run."""
        of_job = self.when.get(report.job, ())
        calling = {
            check.name
            for check in report.failing
            if check.status in self.when.get(f"{report.job}/{check.name.partition(':')[0]}", of_job)
        }
        return tuple(sorted(calling - set(self.ignore_checks)))


def read_policy(path: Path) -> TriggerPolicy:
    """Read a policy from a YAML file.

    Raises:
        ConfigError: The file cannot be read, or a setting is unknown or out of range.
    """
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TriggerPolicy.model_validate(document)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot read the trigger policy ({error})") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, TriggerPolicy)}") from error
