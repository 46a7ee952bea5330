"""Rollouts against a cluster and an endpoint that answer over HTTP: shown, made, tried with real quotes, undone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from rich.console import Console

from components.adapters.inference_service import InferenceService
from components.adapters.kserve import put_live
from fairtag.base.errors import ConfigError, UnavailableError
from fairtag.model.decision import GateResult, GateStatus, make_decision, write_decision
from pipelines.port_forward import addresses, forwarded
from pipelines.rollout import Rollout, Trial, TrialFailed, require_page, try_out

FIRST, SECOND = "s3://fairtag/models/first", "s3://fairtag/models/second"
SPLIT = [{"spec": {"rules": [{"backendRefs": [{"name": "fairtag-canary-second-predictor", "weight": 20}]}]}}]


class FakeEndpoint:
    """Answers pages: at a model's address as that model, at its own as a gateway that sends it every fifth page."""

    url: str

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.pages: dict[str, Callable[[], dict[str, Any] | int]] = {}
        self.honours = True
        self.asked: list[str] = []
        self.keys: list[str | None] = []

    def answer(self, asked: Any) -> tuple[int, dict[str, Any]]:
        self.keys.append(asked.headers["authorization"])
        if asked.path.endswith(":verify"):
            if self.honours:
                return 200, {"item_id": asked.body["item_id"]}
            return 409, {"error": "not signed by us", "code": "QuoteTampered"}
        place = asked.path.split("/v1/")[0].strip("/")
        version = place or self._split()
        self.asked.append(place or "gateway")
        made = self.pages.get(version, lambda: page(version))()
        return (made, {"error": "no"}) if isinstance(made, int) else (200, {"predictions": [made]})

    def _split(self) -> str:
        uris = [self.cluster.stable, *(each["predictor"]["model"]["storageUri"] for each in self.cluster.canaries)]
        return str(uris[-1 if len(self.asked) % 5 == 4 else 0]).rpartition("/")[2]


def page(version: str, **changes: Any) -> dict[str, Any]:
    items = [{"item_id": "i1", "price_minor": 995}]
    return {"model_version": version, "quote": version, "degraded": None, "items": items, **changes}


@pytest.fixture
def shop(fake_cluster: Any, listen: Callable[[FakeEndpoint], FakeEndpoint]) -> FakeEndpoint:
    return listen(FakeEndpoint(fake_cluster))


@pytest.fixture
def service(fake_cluster: Any) -> Iterator[InferenceService]:
    with client.ApiClient(client.Configuration(host=fake_cluster.url)) as api:
        yield InferenceService("shop", api=api, patience=0.2)


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=200)


@pytest.fixture
def rollout(service: InferenceService, console: Console, shop: FakeEndpoint) -> Callable[..., Rollout]:
    def make(url: str = "", *, timeout: float = 5.0, pages: int = 4) -> Rollout:
        @contextmanager
        def address(deployment: str, storage_uri: str) -> Iterator[str]:
            yield f"{shop.url}/{storage_uri.rpartition('/')[2]}"

        trial = Trial(url, api_key="k1", pages=pages)
        return Rollout(service, console, timeout=timeout, trial=trial, address=address, every=0.01)

    return make


def test_a_canary_starts_dark_is_tried_at_its_own_service_and_then_gets_its_share(
    fake_cluster: Any, shop: FakeEndpoint, rollout: Callable[..., Rollout], console: Console
) -> None:
    rollout().canary(SECOND, 20, {"model-version": "second"})
    assert [change["canary"][0]["trafficPercent"] for change in fake_cluster.changes] == [0, 20]
    assert shop.asked == ["first", *["second"] * 4]
    assert set(shop.keys) == {"Bearer k1"}
    shown = console.export_text()
    assert "at fairtag-canary-second-predictor: 4 pages (4 by second)" in shown
    assert "No gateway splits the traffic" in shown


def test_a_gateway_that_splits_is_asked_until_the_canary_answers(
    fake_cluster: Any, shop: FakeEndpoint, rollout: Callable[..., Rollout], console: Console
) -> None:
    fake_cluster.routes = SPLIT
    rollout(shop.url).canary(SECOND, 20, {})
    shown = console.export_text()
    assert "the gateway sends the canary 20 % of the pages" in shown
    assert "1 by second" in shown


def test_a_gateway_that_never_sends_the_canary_a_page_undoes_it(
    fake_cluster: Any, shop: FakeEndpoint, rollout: Callable[..., Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cluster.routes = SPLIT
    monkeypatch.setattr(shop, "_split", lambda: "first")
    with pytest.raises(UnavailableError, match="model second answered 0 of 62 pages"):
        rollout(shop.url).canary(SECOND, 20, {})
    assert fake_cluster.canaries == []


def test_a_route_that_does_not_name_the_canary_yet_is_waited_for_and_named(
    fake_cluster: Any, rollout: Callable[..., Rollout], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.rollout.ROUTE_SECONDS", 0.05)
    fake_cluster.routes = [{"spec": {"rules": [{"backendRefs": [{"name": "fairtag-predictor"}]}]}}]
    rollout().canary(SECOND, 20, {})
    assert "does not name the canary" in console.export_text()


BAD_PAGES = {
    "answered 500": lambda: 500,
    "is refused|no": lambda: 400,
    "found nothing": lambda: page("second", items=[]),
    "gives i1 away": lambda: page("second", items=[{"item_id": "i1", "price_minor": 0}]),
    "carry list prices": lambda: page("second", degraded="features"),
    "answered 0 of": lambda: page("third"),
}


@pytest.mark.parametrize("message", BAD_PAGES)
def test_a_canary_whose_pages_cannot_be_trusted_gets_no_traffic_and_goes(
    fake_cluster: Any, shop: FakeEndpoint, rollout: Callable[..., Rollout], console: Console, message: str
) -> None:
    shop.pages["second"] = BAD_PAGES[message]
    with pytest.raises(UnavailableError, match=message):
        rollout().canary(SECOND, 20, {})
    assert [(change.get("canary") or [{}])[0].get("trafficPercent") for change in fake_cluster.changes] == [0, None]
    assert (fake_cluster.stable, fake_cluster.canaries) == (FIRST, [])
    assert "going back" in console.export_text()


def test_a_promotion_keeps_the_service_and_takes_the_canary_away_last(
    fake_cluster: Any, rollout: Callable[..., Rollout], service: InferenceService
) -> None:
    rollout().canary(SECOND, 20, {"model-version": "second"})
    del fake_cluster.changes[:]
    rollout().promote()
    assert [(c["predictor"], len(c["canary"])) for c in fake_cluster.changes] == [
        ({"model": {"storageUri": SECOND}}, 1),
        ({"model": {"storageUri": SECOND}}, 0),
    ]
    assert fake_cluster.record["data"]["storageUri"] == SECOND
    rollout().rollback()
    assert fake_cluster.stable == FIRST
    assert fake_cluster.record["data"]["storageUri"] == FIRST


@pytest.mark.parametrize("where", ["pods", "pages"])
def test_a_promotion_that_fails_brings_the_model_and_the_canary_back(
    fake_cluster: Any,
    shop: FakeEndpoint,
    rollout: Callable[..., Rollout],
    service: InferenceService,
    where: str,
) -> None:
    rollout().canary(SECOND, 20, {})
    before, record = fake_cluster.service["spec"], fake_cluster.record
    calls = iter([page("first"), *[500] * 9])
    if where == "pods":
        wait, service.wait_ready = service.wait_ready, lambda *a, **k: _fail_once(service, wait, a, k)  # type: ignore[method-assign]
    else:
        shop.pages["second"] = lambda: next(calls)
        shop.pages["first"] = lambda: page("first")
    with pytest.raises(UnavailableError, match="rolled back: s3://fairtag/models/first is back"):
        rollout().promote()
    assert fake_cluster.service["spec"] == before
    assert json.loads(fake_cluster.record["data"]["lineage.json"]) == json.loads(record["data"]["lineage.json"])


def _fail_once(service: InferenceService, wait: Callable[..., None], given: Any, options: Any) -> None:
    service.wait_ready = wait  # type: ignore[method-assign]
    raise UnavailableError("pods died")


def test_where_going_back_fails_too_the_way_out_is_named(
    fake_cluster: Any, rollout: Callable[..., Rollout], service: InferenceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise UnavailableError("the cluster did not answer")

    fake_cluster.dying = {SECOND: "no such key"}
    monkeypatch.setattr(service, "restore", refuse)
    with pytest.raises(UnavailableError, match=r"no such key.*going back failed too.*run `fairtag rollback`"):
        rollout().canary(SECOND, 20, {})


def test_an_interrupt_says_how_to_undo_what_was_done(
    rollout: Callable[..., Rollout], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.rollout.try_out", interrupt)
    monkeypatch.setattr("pipelines.rollout.require_page", lambda trial: None)
    with pytest.raises(KeyboardInterrupt):
        rollout().canary(SECOND, 20, {})
    assert "`fairtag rollback` undoes it" in console.export_text()


def test_the_deploy_step_brings_the_previous_state_back(fake_cluster: Any, service: InferenceService) -> None:
    fake_cluster.dying = {SECOND: "no such key"}
    with pytest.raises(UnavailableError, match=r"no such key; rolled back: s3://fairtag/models/first is back"):
        put_live(service, SECOND, {}, timeout=5)
    assert fake_cluster.stable == FIRST
    fake_cluster.dying = {}
    put_live(service, SECOND, {"run": "r2"}, timeout=5)
    assert fake_cluster.record["data"]["storageUri"] == SECOND


def test_a_quote_that_checkout_would_refuse_fails_the_trial(shop: FakeEndpoint) -> None:
    shop.honours = False
    with pytest.raises(TrialFailed, match=r"quote of model first is not honoured: not signed by us"):
        try_out(Trial(shop.url, pages=1))


def test_a_model_that_is_too_slow_fails_the_trial(shop: FakeEndpoint) -> None:
    ticks = iter(range(100))
    with pytest.raises(TrialFailed, match=r"p95 2000 ms.*slower than 1000 ms"):
        try_out(Trial(shop.url, pages=3), clock=lambda: 2.0 * next(ticks))


def test_a_model_that_never_answers_fails_the_trial(shop: FakeEndpoint) -> None:
    with pytest.raises(TrialFailed, match="model second answered 0 of 6 pages"):
        try_out(Trial(shop.url), "second", most=6)


def test_nothing_is_changed_where_a_trial_could_say_nothing(
    fake_cluster: Any, shop: FakeEndpoint, rollout: Callable[..., Rollout]
) -> None:
    shop.pages["first"] = lambda: 401
    for url in ("http://127.0.0.1:1", ""):
        with pytest.raises(UnavailableError, match=r"nothing was changed.*--url and --key-file"):
            rollout(url).canary(SECOND, 20, {})
    assert fake_cluster.changes == []


def test_an_address_that_answers_can_be_tried(shop: FakeEndpoint) -> None:
    require_page(Trial(shop.url))
    assert shop.asked == ["gateway"]


def test_a_rollback_is_made_even_where_the_live_model_gives_no_page(
    fake_cluster: Any, shop: FakeEndpoint, rollout: Callable[..., Rollout], service: InferenceService, console: Console
) -> None:
    service.deploy(SECOND, {})
    shop.pages["second"] = lambda: 500
    rollout().rollback()
    assert fake_cluster.stable == FIRST
    assert "4 by first" in console.export_text()


def test_a_dry_run_prints_the_difference_and_asks_nobody(
    fake_cluster: Any, shop: FakeEndpoint, rollout: Callable[..., Rollout], console: Console
) -> None:
    rollout("http://127.0.0.1:1").canary(SECOND, 20, {}, dry_run=True)
    shown = console.export_text()
    assert re.search(rf"^\+ +storageUri: {SECOND}$", shown, re.MULTILINE)
    assert "then, when its own pages are right: trafficPercent: 20" in shown
    assert (fake_cluster.changes, shop.asked) == ([], [])


KUBECTL = """#!/bin/sh
echo "$@" > "$0.said"
[ -n "$BROKEN" ] && { echo 'error: pod is gone'; exit 1; }
echo 'Forwarding from 127.0.0.1:45671 -> 8080'
exec sleep 60
"""


def test_pods_are_reached_by_kubectl_from_outside_and_by_their_service_inside(
    service: InferenceService, fake_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with addresses(service)("fairtag-predictor", FIRST) as url:
        assert url == "http://127.0.0.1:45671"
    assert (tmp_path / "kubectl.said").read_text() == "port-forward --namespace shop pod/fairtag-predictor-1 :8080\n"
    with (
        pytest.raises(UnavailableError, match="no pod of fairtag-predictor takes requests"),
        addresses(service)("fairtag-predictor", SECOND),
    ):
        pass
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(UnavailableError, match="error: pod is gone"), forwarded("shop", "p"):
        pass
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="there is none: install it, or --no-smoke"), forwarded("shop", "p"):
        pass
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with addresses(service)("fairtag-predictor", FIRST) as url:
        assert url == "http://fairtag-predictor.shop.svc"


DIGEST = "5ec0d1" + "0" * 58
STORED = f"s3://fairtag/models/{DIGEST[:12]}"


@pytest.fixture
def typed(fake_cluster: Any, shop: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command line as a person types it, on that cluster."""
    from pipelines.cli import main

    @contextmanager
    def address(deployment: str, storage_uri: str) -> Iterator[str]:
        yield f"{shop.url}/{storage_uri.rpartition('/')[2]}"

    api = client.ApiClient(client.Configuration(host=fake_cluster.url))
    monkeypatch.setattr("components.adapters.kubernetes_api._default_client", lambda: api)
    monkeypatch.setattr("pipelines.port_forward.addresses", lambda service: address)
    return lambda *words: main(list(words))


def _decision(folder: Path, status: GateStatus = "pass") -> Path:
    decision = make_decision(
        challenger={"version": DIGEST[:12], "model_digest": DIGEST},
        champion=None,
        data_fingerprint="d" * 64,
        gates=[GateResult("relevance", 0.9, "at least 0.8", status)],
        metrics={},
    )
    return write_decision(folder / "DECISION.json", decision)


def test_a_canary_carries_its_lineage_and_the_service_tells_it_back(
    fake_cluster: Any, typed: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted = str(_decision(tmp_path))
    assert typed("canary", STORED, "--to", "20", "--decision", accepted, "--pages", "2") == 0
    capsys.readouterr()
    assert typed("lineage", "--live", "--json") == 0
    stable, canary = json.loads(capsys.readouterr().out)
    assert (stable["storage-uri"], canary["storage-uri"], canary["role"]) == (FIRST, STORED, "canary")
    assert (canary["model-digest"], canary["data-fingerprint"]) == (DIGEST, "d" * 64)
    assert typed("promote", "--pages", "2") == 0
    assert fake_cluster.stable == STORED
    capsys.readouterr()
    assert typed("lineage", "--live") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if STORED in line or DIGEST in line] == [
        ["storage-uri", STORED],
        ["model-digest", DIGEST],
    ], "one fact a line, unbroken"
    assert typed("rollback", "--no-smoke") == 0
    assert fake_cluster.stable == FIRST


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("canary", STORED), 2, "only an accepted model may go live"),
        (("canary", STORED, "--decision", "rejected"), 5, "the decision is rejected"),
        (("canary", SECOND, "--decision", "accepted"), 5, "the decision is about model folder 5ec0d1"),
        (("canary", STORED, "--registry", "folder"), 5, "no registered version has that model folder"),
        (("canary", STORED, "--decision", "accepted", "--to", "0", "--no-smoke"), 2, "1 to 99 percent"),
        (("promote", "--no-smoke"), 2, "no canary to promote"),
        (("rollback", "--no-smoke"), 2, "nothing to go back to"),
    ],
)
def test_what_must_not_go_live_does_not(
    fake_cluster: Any,
    typed: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    for name in ("accepted", "rejected"):
        (tmp_path / name).mkdir()
    _decision(tmp_path / "accepted")
    _decision(tmp_path / "rejected", "fail")
    files = {name: str(tmp_path / name / "DECISION.json") for name in ("accepted", "rejected")}
    files["folder"] = str(tmp_path / "registry")
    assert typed(*(files.get(word, word) for word in words)) == code
    assert message in capsys.readouterr().err
    assert fake_cluster.changes == []


def test_an_altered_decision_lets_nothing_live(
    fake_cluster: Any, typed: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _decision(tmp_path, "fail")
    file.write_text(file.read_text(encoding="utf-8").replace('"accepted": false', '"accepted": true'), encoding="utf-8")
    assert typed("canary", STORED, "--decision", str(file), "--no-smoke") == 5
    assert "was altered" in capsys.readouterr().err
    assert fake_cluster.changes == []
