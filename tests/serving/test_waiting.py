"""An endpoint whose model or feature store is not there yet: alive, not ready, and it says why."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from fairtag.base.errors import ConfigError, DecisionRejected, FeaturesMissing, UnavailableError
from serving.metrics import Metrics
from serving.settings import ServingSettings

REASON = "waiting for the first model: {} holds none; the pipeline deploys one (fairtag submit)"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path) -> ServingSettings:
    return ServingSettings(
        model_folder=tmp_path / "model", host="127.0.0.1", http_port=free_port(), run_dir=tmp_path, wait_seconds=0.05
    )


class Endpoints:
    """Stands for what a start builds: fails with each error in turn, then serves."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.starts = 0

    def __call__(self, *_: Any) -> Endpoints:
        if self.errors:
            raise self.errors.pop(0)
        return self

    def start(self) -> None:
        self.starts += 1


@pytest.fixture
def endpoints(monkeypatch: pytest.MonkeyPatch) -> Endpoints:
    from serving import waiting

    made = Endpoints()
    monkeypatch.setattr(waiting, "Assembly", made)
    monkeypatch.setattr(waiting, "PricingServer", lambda assembly, _say: assembly)
    return made


def asked(settings: ServingSettings, path: str) -> httpx.Response:
    """The answer, once somebody listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return httpx.get(f"http://127.0.0.1:{settings.http_port}{path}", timeout=30)
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def test_without_a_model_it_is_alive_not_ready_and_says_what_it_waits_for(settings: ServingSettings) -> None:
    from serving.waiting import answer_while, wait_for_model

    metrics, over = Metrics(CollectorRegistry()), []
    waiting = threading.Thread(
        target=lambda: over.append(
            asyncio.run(answer_while(wait_for_model(settings), settings, metrics, signals=False))
        )
    )
    waiting.start()
    assert asked(settings, "/v2/health/live").status_code == 200
    for path in ("/v2/models/fairtag/ready", "/v2/health/ready", "/v1/models/fairtag:predict", "/"):
        answer = asked(settings, path)
        assert (answer.status_code, answer.json()) == (503, {"error": REASON.format(settings.model_folder)}), path
        assert answer.headers["retry-after"]
    page = httpx.post(f"http://127.0.0.1:{settings.http_port}/v1/models/fairtag:predict", json={"instances": []})
    assert page.status_code == 503
    assert 'fairtag_endpoint_waiting{cause="model"} 1.0' in asked(settings, "/metrics").text
    assert not over
    settings.model_folder.mkdir()
    (settings.model_folder / "manifest.json").write_text("{}")
    waiting.join(30)
    assert over == [True]
    assert metrics.registry.get_sample_value("fairtag_endpoint_waiting", {"cause": "model"}) == 0
    refused = {"protocol": "rest", "status": "503"}
    assert metrics.registry.get_sample_value("fairtag_refusals_total", refused) == 1, "the page; probes are no refusals"


@pytest.mark.parametrize(
    "error", [FeaturesMissing("the view item_market was not applied"), UnavailableError("the registry is down")]
)
def test_a_store_that_is_not_there_yet_is_waited_for(
    settings: ServingSettings, endpoints: Endpoints, error: Exception
) -> None:
    from serving.waiting import start

    settings.model_folder.mkdir()
    (settings.model_folder / "manifest.json").write_text("{}")
    endpoints.errors = [error, error]
    start(settings, Metrics(CollectorRegistry()))
    assert (endpoints.starts, endpoints.errors) == (1, [])


@pytest.mark.parametrize("error", [DecisionRejected("rejected"), ConfigError("no such store")])
def test_what_waiting_does_not_cure_ends_the_start(
    settings: ServingSettings, endpoints: Endpoints, error: Exception
) -> None:
    from serving.waiting import start

    settings.model_folder.mkdir()
    (settings.model_folder / "manifest.json").write_text("{}")
    endpoints.errors = [error]
    with pytest.raises(type(error)):
        start(settings, Metrics(CollectorRegistry()))


def test_without_the_setting_nothing_is_waited_for(settings: ServingSettings, endpoints: Endpoints) -> None:
    from serving.waiting import start

    impatient = settings.model_copy(update={"wait_seconds": 0.0})
    endpoints.errors = [FeaturesMissing("not applied")]
    with pytest.raises(FeaturesMissing):
        start(impatient, Metrics(CollectorRegistry()))
    start(impatient, Metrics(CollectorRegistry()))
    assert endpoints.starts == 1, "an absent model is the start's own error"


@pytest.mark.slow
def test_the_process_waits_and_ends_cleanly_when_asked(settings: ServingSettings) -> None:
    line = [sys.executable, "-m", "serving", "--model-folder", str(settings.model_folder), "--host", "127.0.0.1"]
    line += ["--http-port", str(settings.http_port), "--grpc-port", "-1", "--wait-seconds", "0.2"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            assert process.stderr is not None
            said = next(text for text in process.stderr if "waiting for the first model" in text)
            assert "answering 503" in said
            assert asked(settings, "/v2/health/live").status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
