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

MASTER = "FAIRTAG_SPARK"  # variable of the steps on tables: where Spark is; without it they work in their own process
# Every moment is in UTC, as in the tables; tables travel as Arrow.
SETTINGS: Mapping[str, str] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
LOOPBACK: Mapping[str, str] = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}


@contextmanager
def session(master: str, settings: Mapping[str, str] | None = None) -> Iterator[SparkSession | None]:
    """A session that is stopped at the end; none where no master is named, which means this process alone.

    Great Expectations and Feast work on the session that is active.

    Args:
        master: ``local[*]``, ``spark://host:7077`` or another that Spark takes; empty for none.
        settings: Spark's own settings over ours; the rest comes from ``SPARK_CONF_DIR``.

    Raises:
        ConfigError: pyspark is not installed.
        UnavailableError: No session could be started: there is no Java runtime, or the master does not answer.
    """
    if not master:
        yield None
        return
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigError(f"Spark at {master!r} needs pyspark; it is in the image of docs/cluster.md") from error
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # executors on this machine; pyspark reads it nowhere else
    builder = SparkSession.builder.master(master).appName("fairtag")
    for name, value in {**SETTINGS, **(LOOPBACK if master.startswith("local") else {}), **(settings or {})}.items():
        builder = builder.config(name, value)
    try:
        spark = builder.getOrCreate()
    except (PySparkRuntimeError, OSError) as error:
        raise UnavailableError(f"Spark at {master!r} did not start: {error}; is there a Java runtime?") from error
    try:
        yield spark
    finally:
        spark.stop()
