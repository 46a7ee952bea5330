"""Calls of a Kubernetes API server: reads, lists and server-side applies, refused in the server's own words.

>>> api = KubernetesApi()  # doctest: +SKIP
>>> api.get("/api/v1/namespaces/fairtag/configmaps/fairtag-live")  # doctest: +SKIP
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from fairtag.base.errors import ConfigError, UnavailableError

MANAGER = "fairtag"  # the field manager of everything that is applied here
TIMEOUT = 30.0  # seconds for one call
PASSING = frozenset({408, 429, 500, 502, 503, 504})  # the server, or a webhook that it asks, cannot answer just now
FORBIDDEN = re.compile(r'User ".*" cannot \w+ ')  # RBAC's own words; a webhook's or a quota's refusal is a 403 too


class NoAnswer(UnavailableError):
    """The cluster did not answer, or says that it cannot now; the same call may succeed later."""


class Refused(UnavailableError):
    """The cluster refused a call."""


class NotThere(Refused):
    """The object, or its kind, is not there."""


class Conflict(Refused):
    """The object was changed at the same time."""


class KubernetesApi:
    """The API server of a cluster.

    Args:
        client: A ``kubernetes.client.ApiClient``; by default that of the pod or of the user's configuration.
        patience: How long a call is tried again where the cluster cannot answer, seconds.
    """

    def __init__(self, client: Any = None, *, patience: float = 20.0) -> None:
        self._client = client or _default_client()
        self._patience = patience

    def get(self, path: str) -> dict[str, Any]:
        """An object.

        Raises:
            NotThere: It is not there.
            Refused: The cluster refuses to show it.
            NoAnswer: The cluster did not answer.
        """
        return self._again(NoAnswer)(self._call, "GET", path)

    def find(self, path: str, labels: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Objects of a kind that have these labels; all of the kind when none are named."""
        selector = ",".join(f"{name}={value}" for name, value in (labels or {}).items())
        found = self._call("GET", path, query=[("labelSelector", selector)] if selector else [])
        return cast("list[dict[str, Any]]", found.get("items") or [])

    def apply(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Apply the fields of an object that are ours, and take those over that another field manager holds.

        Args:
            path: Path of the object.
            body: Its kind, its name and our fields; a field of ours that is left out is removed.
            dry_run: Have the cluster check the change without making it.

        Returns:
            The object after the change.
        """
        query = [("fieldManager", MANAGER), ("force", "true"), *([("dryRun", "All")] if dry_run else [])]
        return self._again(Conflict, NoAnswer)(self._call, "PATCH", path, body, query)

    def delete(self, path: str) -> None:
        """Delete an object, and what belongs to it; one that is not there is gone already."""
        with suppress(NotThere):
            self._call("DELETE", path)

    def _again(self, *kinds: type[Refused | NoAnswer]) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(kinds),
            stop=stop_after_delay(self._patience),
            wait=wait_exponential(multiplier=0.1, max=2),
            reraise=True,
        )

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: list[tuple[str, str]] | None = None
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/apply-patch+yaml"  # JSON is YAML
        with _errors(f"{method} {path}"):
            found = self._client.call_api(
                path,
                method,
                query_params=query or [],
                header_params=headers,
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=TIMEOUT,
            )
        return cast("dict[str, Any]", found)


@contextmanager
def _errors(call: str) -> Iterator[None]:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        kind = {404: NotThere, 409: Conflict}.get(error.status, NoAnswer if error.status in PASSING else Refused)
        raise kind(f"{call}: {_words(error)}") from error
    except (HTTPError, OSError) as error:
        raise NoAnswer(f"{call}: the cluster did not answer ({type(error).__name__})") from error


def _words(error: Any) -> str:
    """HTTP status and reason, the server's message, and what may help."""
    message = _message(error.body)
    text = f"{error.status} {error.reason}" + (f": {message}" if message else "")
    if error.status == 401:
        return f"{text}; the cluster does not know these credentials: log in again, or set KUBECONFIG"
    if error.status == 403 and FORBIDDEN.search(message):
        return (
            f"{text}; the account is not allowed to do this: k8s/base/pipelines/role.yaml grants what a rollout needs"
        )
    if error.status == 409:
        return f"{text}; it was changed at the same time: try again"
    return text


def _message(body: Any) -> str:
    """The message of a Status object, or the text of any other answer."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        status = json.loads(text)
        text = str(status["message"])
    except (ValueError, KeyError, TypeError):
        pass  # of a proxy in between, perhaps
    return " ".join(text.split())


def _default_client() -> Any:
    from kubernetes import client, config

    try:
        config.load_config()  # of the pod, or of the user
    except config.ConfigException as error:
        raise ConfigError(f"no cluster is configured: {error}; set KUBECONFIG") from error
    return client.ApiClient()
