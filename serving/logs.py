"""Logs as JSON lines on standard error, without personal data.

Our own log lines never contain a user id, a query or a body. Libraries may log exceptions whose text quotes a request:
of such a record only the kind of exception is kept.
"""

from __future__ import annotations

import logging
import logging.config
import traceback
from pathlib import Path
from typing import Any

FIELDS = "%(asctime)s %(levelname)s %(name)s %(message)s"
QUIET = {  # each of these logs a line for every request, or quotes requests
    "kserve.trace": "ERROR",
    "uvicorn.access": "WARNING",
    "httpx": "WARNING",
    "grpc": "ERROR",
    "faiss": "WARNING",
    "feast": "WARNING",
}
FOREIGN = ("kserve", "uvicorn", "grpc", "asyncio", "fastapi")


class RequestTextFilter(logging.Filter):
    """Reduces a library's record of an exception to the kind of that exception."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record, and of a library's warning only its kind."""
        foreign = record.name.split(".", maxsplit=1)[0] in FOREIGN
        if foreign and record.levelno >= logging.WARNING and (record.exc_info or record.args):
            kind = type(record.exc_info[1]).__name__ if record.exc_info and record.exc_info[1] else "message"
            record.msg, record.args, record.exc_info, record.exc_text = f"{kind} in {record.name}", (), None, None
        return True


def configuration(level: str) -> dict[str, Any]:
    """The logging configuration, for :func:`logging.config.dictConfig`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"private": {"()": RequestTextFilter}},
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": FIELDS,
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
            }
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "json",
                "filters": ["private"],
            }
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {name: {"level": quiet} for name, quiet in QUIET.items()},
    }


def configure(level: str) -> None:
    """Send every logger's records to standard error as JSON."""
    logging.config.dictConfig(configuration(level))


def where(error: BaseException) -> str:
    """The last places of an error's traceback as ``module.py:line``, without its text, which may quote a request."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
