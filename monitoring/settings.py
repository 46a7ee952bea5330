"""What a person may set about monitoring, frozen, read from the environment or a file.

Every default says where it comes from; a deployment changes them with ``FAIRTAG_MONITORING_<NAME>`` or a YAML file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fairtag.base.errors import ConfigError
from monitoring.detect.evidence import Tolerance

INFINITY = float("inf")

# Changes that a shop would act on. Prices are tight: 1 % in a whole category is money. Mixes of categories and words
# follow the season and the news, and page only when they move as far as an outage does.
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


class Settings(BaseSettings):
    """Settings of all monitoring jobs.

    Args:
        min_pages: Pages below which a window is too small to be judged.
        increment_pages: New pages that the hourly detectors wait for before they take a step.
        level: Error level of one look (no state), over all its checks.
        page_days: Mean days between false pages of a job, at least.
        warn_days: Mean days between false warnings of a job, at least.
        spread_warn: Training's own day-to-day standard deviations that are tolerated before a warning.
        spread_page: The same before a page.
        least_effect_warn: Change of the whole shop's price level below which a category's own warns nobody: the change
            of a category times its share of training's quotes.
        least_effect_page: The same before a page: a category of 2 % of the quotes pages nobody below 15 %.
        drift: Tolerances by measure.
        performance: Tolerances by check.
        sample_rows: Rows an Evidently report reads.
        text_rows: Queries an Evidently text classifier reads.
        embed_queries: Distinct queries that are embedded a window.
        maturity_hours: Hours after a quote within which its purchase is reported.
        stale_feature_hours: Age of a customer's features beyond which they are yesterday's.
        stale_stock_hours: Age of the stock levels beyond which nobody can tell what lies on the shelf.
        corridor_rho: Width of the corridor, where the model folder has no policy to say it.
        group_min_impressions: Priced impressions below which a group is not judged (docs/pricing-model.md, section 7).
        cross_attributes: How many attributes are crossed: 1 none, 2 pairs.
        privacy_epsilon: Differential-privacy budget of the group means that the fairness job writes for a wider circle
            (``fairness-private.json``), spent once a window; None writes none.
        privacy_rows: Most quotes of one customer that count there.
        privacy_bound: Largest ``|log(price / list)|`` there, from the policy's deepest discount, never from the data.
        seed: Seed of samples and bootstraps.
        runbook: Address of the runbook; checks append their anchor.
    """

    model_config = SettingsConfigDict(env_prefix="FAIRTAG_MONITORING_", frozen=True, extra="forbid")

    min_pages: int = Field(default=100, ge=1)
    increment_pages: int = Field(default=100, ge=1)
    level: float = Field(default=0.01, gt=0, lt=0.5)
    page_days: float = Field(default=1000.0, gt=0)
    warn_days: float = Field(default=60.0, gt=0)
    spread_warn: float = Field(default=2.0, ge=0)
    spread_page: float = Field(default=3.0, ge=0)
    least_effect_warn: float = Field(default=0.0002, ge=0)
    least_effect_page: float = Field(default=0.003, ge=0)
    drift: dict[str, tuple[float, float]] = Field(default_factory=lambda: dict(DRIFT))
    performance: dict[str, tuple[float, float]] = Field(default_factory=lambda: dict(PERFORMANCE))
    sample_rows: int = Field(default=50_000, ge=100)
    text_rows: int = Field(default=2_000, ge=100)
    embed_queries: int = Field(default=2_000, ge=0)
    maturity_hours: float = Field(default=24.0, ge=0)
    stale_feature_hours: float = Field(default=24.0, gt=0)
    stale_stock_hours: float = Field(default=48.0, gt=0)
    corridor_rho: float = Field(default=1.25, ge=1)
    group_min_impressions: int = Field(default=1_000, ge=1)
    cross_attributes: int = Field(default=2, ge=1, le=3)
    privacy_epsilon: float | None = Field(default=None, gt=0)
    privacy_rows: int = Field(default=20, ge=1)
    privacy_bound: float = Field(default=0.5, gt=0)
    seed: int = 0
    runbook: str = "docs/operations.md"

    @field_validator("drift", "performance")
    @classmethod
    def _known(cls, value: dict[str, tuple[float, float]], info: Any) -> dict[str, tuple[float, float]]:
        defaults = DRIFT if info.field_name == "drift" else PERFORMANCE
        unknown = sorted(set(value) - set(defaults))
        if unknown:
            raise ValueError(f"no check is called {', '.join(unknown)}; there are {', '.join(defaults)}")
        for name, pair in value.items():
            try:
                Tolerance(*pair)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return {**defaults, **value}

    def tolerance(self, name: str) -> Tolerance:
        """Tolerance of a drift or performance check; a check nobody set pages never and warns at 5 %."""
        pair = self.drift.get(name) or self.performance.get(name) or (0.05, INFINITY)
        return Tolerance(*pair)


def read_settings(path: Path | None = None) -> Settings:
    """Settings of the environment, with a YAML file over them.

    Raises:
        ConfigError: A setting is unknown or outside what it may be, or the file cannot be read.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) if path is not None else {}
        if not isinstance(values or {}, dict):
            raise ConfigError(f"{path}: the settings must be a mapping of names to values")
        return Settings(**(values or {}))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: the settings cannot be read ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"monitoring setting {where}: {first['msg']}; got {first['input']!r}") from error
