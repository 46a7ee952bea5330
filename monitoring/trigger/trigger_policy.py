"""When a verdict starts a training run: the policy file, frozen and checked."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fairtag.base.errors import ConfigError
from fairtag.base.types import Status
from monitoring.job_report import JobReport
from monitoring.report.knowledge import check_names

SCHEMA = "fairtag.trigger-policy/1"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuietHours(_Frozen):
    """Hours in which nothing is started; what is due then waits.

    Args:
        start: Local time at which they begin.
        end: Local time at which they end; before ``start`` they span midnight.
        timezone: IANA name of the zone.
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
            raise ValueError(f"{value!r} is no IANA time zone such as Europe/Berlin") from error
        return value

    def hold(self, now: datetime) -> bool:
        """Whether an instant lies in the quiet hours."""
        local = now.astimezone(ZoneInfo(self.timezone)).time()
        if self.start <= self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end


class LocalTarget(_Frozen):
    """A command on this machine.

    Args:
        command: Arguments of the command; ``{run_name}``, ``{reason}`` and ``{evidence}`` (a JSON file) are filled in.
        timeout_hours: Time after which it counts as failed.
        rejected_codes: Exit codes of a run that went well and whose model was rejected (``fairtag run`` ends with 5).
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
        parameters: Parameters of the pipeline; the placeholders of :class:`LocalTarget` are filled in.
        namespace: Namespace on a multi-user installation.
    """

    kind: Literal["kubeflow"] = "kubeflow"
    host: str
    pipeline: str
    experiment: str = "fairtag"
    parameters: dict[str, str] = Field(default_factory=dict)
    namespace: str | None = None


Target = Annotated[LocalTarget | KubeflowTarget, Field(discriminator="kind")]


class TriggerPolicy(_Frozen):
    """What starts a run, how often, and where.

    Args:
        when: Job, or job/check, which goes before its job, -> statuses that ask for a run. Fairness is not there by
            default: a model that breaks the corridor is rolled back first (docs/operations.md), not retrained on its
            own output.
        ignore_checks: Checks that never ask for a run.
        cooldown_hours: Least time between two starts.
        max_per_day: Most starts in any 24 hours.
        quiet_hours: Hours in which nothing starts.
        repeat_after_hours: Time after which the same finding may start another run.
        max_age_hours: Age of a verdict's window beyond which it asks for nothing: the shop has moved on.
        dry_run: Decide and record, start nothing.
        attempts: Tries of the target before the start counts as failed; the next call tries again.
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
                raise ValueError(f"when.{job}: no check is called {check}; docs/operations.md has an entry for each")
            wrong = {status for status in statuses if status in (Status.PASS, Status.UNKNOWN)}
            if wrong:
                raise ValueError(f"when.{job}: {', '.join(sorted(wrong))} cannot ask for a run; use warn or page")
        return self

    def recent(self, verdict: JobReport, now: datetime) -> bool:
        """Whether a verdict's window ended recently enough to act on."""
        return now - datetime.fromisoformat(verdict.end) <= timedelta(hours=self.max_age_hours)

    def calls(self, verdict: JobReport) -> tuple[str, ...]:
        """Names of the checks of a verdict that ask for a run."""
        usual = self.when.get(verdict.job, ())
        asking = {
            check.name
            for check in verdict.failing
            if check.status in self.when.get(f"{verdict.job}/{check.name.partition(':')[0]}", usual)
        }
        return tuple(sorted(asking - set(self.ignore_checks)))


def read_policy(path: Path) -> TriggerPolicy:
    """Read a policy from a YAML file.

    Raises:
        ConfigError: The file cannot be read, or a setting is unknown or outside its range.
    """
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TriggerPolicy.model_validate(document)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: the trigger policy cannot be read ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "policy"
        raise ConfigError(f"{path}: {where}: {first['msg']}; got {first['input']!r}") from error
