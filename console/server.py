"""Serves a console until it is interrupted."""

from __future__ import annotations

import uvicorn

from console.app import console_app
from console.settings import ConsoleSettings
from console.work import Deployment


def serve_console(settings: ConsoleSettings, deployment: Deployment | None = None) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: Of the console.
        deployment: Promotes and rolls back; None where it cannot.

    Raises:
        ConfigError: It would be open to other machines without users.
    """
    app = console_app(settings, deployment=deployment)
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning", server_header=False)
