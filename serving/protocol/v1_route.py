"""The V1 prediction route without the web framework, which takes a quarter of the event loop's time under load.

KServe's own handler answers it. All other paths go through the framework.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.v1_endpoints import V1Endpoints
from starlette.requests import Request
from starlette.responses import Response

from serving.protocol.guard import Receive, Scope, Send

PREDICT = re.compile(r"/v1/models/([^/]+):predict")


class PredictRoute:
    """An ASGI application that answers the V1 prediction route itself.

    Args:
        application: Answers all other routes, and turns errors of this one into answers.
        dataplane: Answers the route.
    """

    def __init__(self, application: FastAPI, dataplane: DataPlane) -> None:
        self._application = application
        self._endpoints = V1Endpoints(dataplane)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        route = PREDICT.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self._application(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response: Response = await self._endpoints.predict(route[1], request)
        except Exception as error:
            response = await self._refusal(request, error)
        await response(scope, receive, send)

    async def _refusal(self, request: Request, error: Exception) -> Response:
        handlers: Any = self._application.exception_handlers
        handler = next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)
        answer: Response = await handler(request, error)
        return answer
