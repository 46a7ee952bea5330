"""An S3 server of this machine that a test may end and start again, with what it held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.loading import load

KEY = {"accessKey": "key", "secretKey": "secret"}
ADMIN = {"identities": [{"name": "admin", "credentials": [KEY], "actions": ["Admin"]}]}


class ObjectServer:
    """An object store with the buckets of a deployment.

    Attributes:
        policy: Address of the live policy in it.
        address: Where it listens; the same after every start.
    """

    policy = "s3://fairtag-policy"

    def __init__(self, module: Any) -> None:
        self._module, self._store, self._open = module, module.S3(ADMIN), ExitStack()
        self.address = ""
        self.start()

    def start(self) -> None:
        port = urlsplit(self.address).port or 0
        self.address = self._open.enter_context(self._module.serving(self._store, port))

    def kill(self) -> None:
        """Nothing answers any more; what was written stays."""
        self._open.close()


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    """An S3 server of this test, which s3fs finds by the environment."""
    s3fs = pytest.importorskip("s3fs")
    server = ObjectServer(load("k8s/s3_server.py"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY["accessKey"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY["secretKey"])
    s3fs.S3FileSystem.clear_instance_cache()
    yield server
    server.kill()
    s3fs.S3FileSystem.clear_instance_cache()
