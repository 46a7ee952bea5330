"""A Spark session for the steps on tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fairtag.base.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MASTER = "FAIRTAG_SPARK"  # variable with the Spark master; without it a step on tables works in its own process
# Times are in UTC, as in the tables, and tables travel as Arrow.
SETTINGS: Mapping[str, str] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
LOOPBACK: Mapping[str, str] = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}


@contextmanager
def session(master: str, settings: Mapping[str, str] | None = None) -> Iterator[SparkSession | None]:
    """A session that is stopped at the end; None without a master, for this process alone.

    Great Expectations and Feast use the active session.

    Args:
        master: ``local[*]``, ``spark://host:7077`` or another that Spark accepts; empty for none.
        settings: Spark settings that replace ours; the rest comes from ``SPARK_CONF_DIR``.

    Raises:
        ConfigError: pyspark is not installed.
        UnavailableError: No session started: there is no Java runtime, or the master does not answer.
    """
    if not master:
        yield None
        return
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigError(
            f"Spark at {master!r} needs pyspark, which is not installed; use the image that docs/cluster.md names"
        ) from error
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # executors on this machine; pyspark reads it nowhere else
    builder = SparkSession.builder.master(master).appName("fairtag")
    for name, value in {**SETTINGS, **(LOOPBACK if master.startswith("local") else {}), **(settings or {})}.items():
        builder = builder.config(name, value)
    try:
        spark = builder.getOrCreate()
    except (PySparkRuntimeError, OSError) as error:
        raise UnavailableError(
            f"Spark at {master!r} did not start: {error}; check the address, and that a Java runtime is installed"
        ) from error
    try:
        yield spark
    finally:
        spark.stop()
