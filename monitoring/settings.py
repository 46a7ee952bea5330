"""Settings of the monitoring jobs, read from the environment and from a YAML file.

``FAIRTAG_MONITORING_<NAME>`` or a line in the file of ``--settings`` replaces a default. Each field carries its own
description; ``python -m monitoring settings`` prints them as the table in docs/operations.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fairtag.base.errors import ConfigError
from fairtag.base.settings import explain

PREFIX = "FAIRTAG_MONITORING_"
INFINITY = float("inf")

# Check -> change that warns, change that is urgent: changes that a shop would act on. Prices are tight, because 1 %
# in a whole category is money. The mix of categories and of words follows the season and the news, so that only a
# change as large as an outage is urgent. Shares are in points, levels are log ratios, the query embedding is in
# standard deviations.
DRIFT: dict[str, tuple[float, float]] = {
    "similarity": (0.05, 0.15),
    "price_to_list": (0.05, 0.15),
    "margin": (0.05, 0.15),
    "purchase_probability": (0.05, 0.15),
    "category_mix": (0.05, 0.20),
    "reasons": (0.05, 0.20),
    "price_level": (0.01, 0.03),
    "list_price_level": (0.02, 0.10),
    "reference_price_level": (0.02, 0.10),
    "unit_cost_level": (0.02, 0.10),
    "repriced_items": (0.05, 0.25),
    "recosted_items": (0.02, 0.08),  # floors and margins rest on costs, and costs do not jump
    "unknown_items": (0.05, 0.25),
    "query_words": (0.02, 0.10),
    "new_words": (0.05, 0.20),
    "query_embedding": (0.25, 0.75),
    "feature_absent": (0.05, 0.20),
}
# log(observed / expected): 10 % off is worth a look, 25 % off makes the prices wrong.
PERFORMANCE: dict[str, tuple[float, float]] = {
    "purchases": (0.10, 0.25),
    "revenue": (0.10, 0.25),
    "category_purchases": (0.20, 0.50),
    "calibration_slope": (0.20, 0.50),
    "log_loss": (0.05, 0.15),
    "elasticity": (0.75, 1.50),
}


@dataclass(frozen=True)
class Tolerance:
    """Sizes of change that warn and that are urgent, in the unit of the measure; ``urgent`` may be infinite.

    Raises:
        ValueError: ``urgent`` is below ``warn``, or ``warn`` is negative.
    """

    warn: float
    urgent: float

    def __post_init__(self) -> None:
        if not 0 <= self.warn <= self.urgent:
            raise ValueError(f"a tolerance needs 0 <= warn <= urgent; got warn {self.warn}, urgent {self.urgent}")


class Settings(BaseSettings):
    """Settings of all monitoring jobs; each field's description is its documentation."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")
    RENAMED: ClassVar[dict[str, str]] = {  # read by explain: former name -> present name
        "page_days": "urgent_days",
        "spread_page": "spread_urgent",
        "least_effect_page": "least_effect_urgent",
    }

    min_pages: int = Field(100, ge=1, description="Pages below which a window is too small to tell anything.")
    increment_pages: int = Field(
        100, ge=1, description="New pages that the hourly detectors wait for before they take a step."
    )
    level: float = Field(
        0.01, gt=0, lt=0.5, description="Error level of a single look (no `--state`), shared by all checks of a job."
    )
    urgent_days: float = Field(1000.0, gt=0, description="Mean days between false urgent alerts of a job, at least.")
    warn_days: float = Field(60.0, gt=0, description="Mean days between false warnings of a job, at least.")
    spread_warn: float = Field(
        2.0, ge=0, description="Day-to-day standard deviations of training that are tolerated before a warning."
    )
    spread_urgent: float = Field(3.0, ge=0, description="The same before an urgent alert.")
    least_effect_warn: float = Field(
        0.0002,
        ge=0,
        description="Least effect on the whole shop's price level for a category to warn: "
        "the category's change times its share of training's quotes.",
    )
    least_effect_urgent: float = Field(
        0.003, ge=0, description="The same for an urgent alert: a category of 2 % of the quotes needs a change of 15 %."
    )
    drift: dict[str, tuple[float, float]] = Field(
        default_factory=lambda: dict(DRIFT), description="Tolerances of the drift checks: `check: [warn, urgent]`."
    )
    performance: dict[str, tuple[float, float]] = Field(
        default_factory=lambda: dict(PERFORMANCE),
        description="Tolerances of the performance checks: `check: [warn, urgent]`.",
    )
    sample_rows: int = Field(50_000, ge=100, description="Rows that an Evidently report reads.")
    text_rows: int = Field(2_000, ge=100, description="Queries that Evidently's text classifier reads.")
    embed_queries: int = Field(2_000, ge=0, description="Distinct queries that are embedded for each window.")
    maturity_hours: float = Field(
        24.0, ge=0, description="Hours after a quote within which the shop reports its purchase."
    )
    stale_feature_hours: float = Field(
        30.0,
        gt=0,
        description="Hours since the last materialisation from which features are old: a daily run and six hours more.",
    )
    stale_stock_hours: float = Field(48.0, gt=0, description="Age in hours from which stock levels are too old to use.")
    policy_follow_seconds: float = Field(
        60.0,
        ge=0,
        description="Seconds after a change of the live policy from which a quote under the version before is late: "
        "the 30 s within which endpoints follow, and the difference of clocks.",
    )
    policy_stale_seconds: float = Field(
        3_600.0,
        gt=0,
        description="Seconds from which it is urgent: the endpoint's `FAIRTAG_POLICY_STALE_SECONDS`, after which it "
        "puts everything at list.",
    )
    corridor_rho: float = Field(
        1.25, ge=1, description="Width of the corridor if the model folder has no policy that states it."
    )
    group_min_impressions: int = Field(
        1_000,
        ge=1,
        description="Priced impressions below which a group is not assessed (docs/pricing-model.md, section 7).",
    )
    cross_attributes: int = Field(2, ge=1, le=3, description="Attributes that are crossed: 1 none, 2 pairs, 3 triples.")
    privacy_epsilon: float | None = Field(
        None,
        gt=0,
        description="Differential-privacy budget of `fairness-private.json`, spent once a window; unset: no file.",
    )
    privacy_rows: int = Field(20, ge=1, description="Most quotes of one customer that count in that file.")
    privacy_bound: float = Field(
        0.5,
        gt=0,
        description="Largest absolute log(price / list) in that file, from the policy's deepest discount.",
    )
    seed: int = Field(0, description="Seed of samples and bootstraps.")
    ledger_key: Path | None = Field(
        None,
        description="PEM file of the Ed25519 private key that signs the head of the trigger's ledger; only the trigger "
        "needs it (docs/how-to/keys.md). Unset: the head is not signed.",
    )
    runbook: str = Field("docs/operations.md", description="Address of the runbook; alerts append their section.")

    @field_validator("drift", "performance")
    @classmethod
    def _complete(cls, value: dict[str, tuple[float, float]], info: Any) -> dict[str, tuple[float, float]]:
        defaults = DRIFT if info.field_name == "drift" else PERFORMANCE
        unknown = sorted(set(value) - set(defaults))
        if unknown:
            raise ValueError(f"there is no check {', '.join(unknown)}; use {', '.join(defaults)}")
        for name, pair in value.items():
            try:
                Tolerance(*pair)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return {**defaults, **value}

    def tolerance(self, name: str) -> Tolerance:
        """Tolerance of a drift or performance check; any other check warns at 5 % and is never urgent."""
        pair = self.drift.get(name) or self.performance.get(name) or (0.05, INFINITY)
        return Tolerance(*pair)


def read_settings(path: Path | None = None) -> Settings:
    """Read the settings from the environment and, with precedence, from a YAML file.

    Raises:
        ConfigError: A setting is unknown or out of range, or the file cannot be read.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) if path is not None else {}
        if not isinstance(values or {}, dict):
            raise ConfigError(f"{path}: the settings must be a mapping of names to values")
        return Settings(**(values or {}))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot read the settings ({error})") from error
    except ValidationError as error:
        raise ConfigError(
            f"monitoring settings: {explain(error, Settings)}; `python -m monitoring settings` lists them all"
        ) from error


def settings_table() -> str:
    """All settings and the default tolerances as two Markdown tables."""
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    lines += [
        f"| `{name}` | {'below' if field.default_factory else _plain(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    lines += ["", "| check | warns at | urgent at |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {warn:g} | {urgent:g} |" for name, (warn, urgent) in {**DRIFT, **PERFORMANCE}.items()]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return "unset" if value is None else f"{value:,g}" if isinstance(value, (int, float)) else f"`{value}`"
