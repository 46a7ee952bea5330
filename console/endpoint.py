"""The endpoint as the console asks it: over HTTP, as any shop does (docs/api.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import httpx

from fairtag.base.errors import UnavailableError, error_of_answer

_INSTANCE = re.compile(r"\binstances\[\d+\]\.")
Request = Mapping[str, Any]


class Endpoint:
    """One endpoint.

    Args:
        url: ``http://host:port``.
        model: Name of the model.
        api_key: Bearer key, if it asks for one.
        timeout: Longest wait, seconds.
        transport: How requests travel; the network by default.
    """

    def __init__(
        self,
        url: str,
        model: str = "fairtag",
        *,
        api_key: str | None = None,
        timeout: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, transport=transport)
        self.url, self._model = url, model

    async def page(self, request: Request) -> dict[str, Any]:
        """One priced page.

        Raises:
            RequestRefused: The endpoint refused the request.
            UnavailableError: It did not answer with a page.
        """
        return (await self.pages([request]))[0]

    async def pages(self, requests: list[Request]) -> list[dict[str, Any]]:
        """The page of each request, in one call."""
        body = {"instances": [_given(request) for request in requests]}
        answer = await self._post(f"/v1/models/{self._model}:predict", body)
        return cast(list[dict[str, Any]], answer["predictions"])

    async def explain(self, request: Request) -> dict[str, Any]:
        """Why the prices of a page are what they are; nothing is locked or logged."""
        answer = await self._post(f"/v1/models/{self._model}:explain", {"instances": [_given(request)]})
        return cast(dict[str, Any], answer["explanations"][0])

    async def verify(self, quote: str, item_id: str, *, user_id: str | None, price_minor: int) -> dict[str, Any]:
        """What a quote promises for an item.

        Raises:
            QuoteError: It is not honoured; the subclass says why.
        """
        body = {"quote": quote, "item_id": item_id, "user_id": user_id, "price_minor": price_minor}
        return await self._post("/v1/quotes:verify", body)

    async def ready(self) -> bool:
        """Whether the model answers."""
        try:
            return (await self._http.get(f"/v2/models/{self._model}/ready")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    async def model_version(self) -> str:
        """Version of the model that it serves; empty where it does not say."""
        try:
            answer = await self._http.get(f"/v2/models/{self._model}")
            return str(answer.json()["versions"][0]) if answer.is_success else ""
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError):
            return ""

    async def metrics(self) -> dict[str, float]:
        """The endpoint's gauges and counters without labels, by name; empty where it does not answer."""
        try:
            text = (await self._http.get("/metrics")).text
        except httpx.HTTPError:
            return {}
        lines = (line.split(" ") for line in text.splitlines() if not line.startswith("#") and "{" not in line)
        return {line[0]: float(line[1]) for line in lines if len(line) == 2}

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = await self._http.post(path, json=body)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the endpoint at {self.url} does not answer ({type(error).__name__}); `fairtag serve RUN` starts one"
            ) from error
        if response.is_success:
            return cast(dict[str, Any], response.json())
        raise _refusal(response)


def _given(request: Request) -> dict[str, Any]:
    """A request without the fields that say nothing."""
    return {name: value for name, value in request.items() if value not in (None, "", [], ())}


def _refusal(response: httpx.Response) -> Exception:
    """The error of our error tree that stands for an answer."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    if isinstance(body, dict) and isinstance(body.get("error"), str):  # a person asked, and sees one field
        body["error"] = _INSTANCE.sub("", body["error"])
    return error_of_answer(response.status_code, response.reason_phrase, body)
