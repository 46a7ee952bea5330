"""Rollouts against a cluster and an endpoint that answer over HTTP: shown, made, tried with real quotes, undone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from rich.console import Console

from components.adapters.inference_service import InferenceService
from fairtag.base.errors import UnavailableError
from fairtag.model.decision import GateResult, GateStatus, make_decision, write_decision
from pipelines.rollout import Trial, TrialFailed, change, newest_model, require_page, try_out

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"  # mlflow's use of SQLAlchemy
)
FIRST, SECOND = "s3://fairtag/models/first", "s3://fairtag/models/second"


class FakeShop:
    """A cluster with one service, and the endpoint that serves what the cluster says: one thing behind two paths."""

    url: str

    def __init__(self) -> None:
        model = {"name": "kserve-container", "modelFormat": {"name": "fairtag"}, "storageUri": FIRST}
        self.service: dict[str, Any] = {
            "metadata": {"name": "fairtag", "generation": 1},
            "spec": {"predictor": {"model": model}},
        }
        self.never_ready: set[str] = set()
        self.pages: dict[str, Callable[[], dict[str, Any] | int]] = {}
        self.honours = True
        self.changes = 0
        self.asked = 0
        self.keys: list[str | None] = []

    @property
    def stable(self) -> str:
        return str(self.service["spec"]["predictor"]["model"]["storageUri"])

    def answering(self) -> str:
        """Who answers the next page: the canary every fifth time."""
        self.asked += 1
        canaries = self.service["spec"].get("canary") or []
        uri = canaries[0]["predictor"]["model"]["storageUri"] if canaries and self.asked % 5 == 0 else self.stable
        return str(uri).rpartition("/")[2]

    def answer(self, asked: Any) -> tuple[int, dict[str, Any]]:
        """The cluster's reads and applies, and the endpoint's pages."""
        return {"GET": self._read, "PATCH": self._apply, "POST": self._serve}[asked.method](asked)

    def _read(self, asked: Any) -> tuple[int, dict[str, Any]]:
        canaries = self.service["spec"].get("canary") or []
        uris = [self.stable, *(each["predictor"]["model"]["storageUri"] for each in canaries)]
        ready = "False" if self.never_ready & set(uris) else "True"
        conditions = [{"type": "Ready", "status": ready}, {"type": "PredictorReady", "status": ready}]
        status = {"conditions": conditions, "observedGeneration": self.service["metadata"]["generation"]}
        return 200, {**self.service, "status": status}

    def _apply(self, asked: Any) -> tuple[int, dict[str, Any]]:
        body = asked.body
        if "configmaps" in asked.path:
            return 200, body
        after = copy.deepcopy(self.service)
        after["metadata"]["annotations"] = body["metadata"]["annotations"]
        after["spec"]["predictor"]["model"] |= body["spec"]["predictor"]["model"]
        after["spec"]["canary"] = body["spec"].get("canary", [])
        if "dryRun" not in asked.query:
            self.service, self.changes = after, self.changes + 1
        return 200, after

    def _serve(self, asked: Any) -> tuple[int, dict[str, Any]]:
        self.keys.append(asked.headers["authorization"])
        if asked.path.endswith(":verify"):
            if self.honours:
                return 200, {"item_id": asked.body["item_id"]}
            return 409, {"error": "not signed by us", "code": "QuoteTampered"}
        version = self.answering()
        made = self.pages.get(version, lambda: page(version))()
        return (made, {"error": "no"}) if isinstance(made, int) else (200, {"predictions": [made]})


def page(version: str, **changes: Any) -> dict[str, Any]:
    items = [{"item_id": "i1", "price_minor": 995}]
    return {"model_version": version, "quote": version, "degraded": None, "items": items, **changes}


@pytest.fixture
def shop(listen: Callable[[FakeShop], FakeShop]) -> FakeShop:
    return listen(FakeShop())


@pytest.fixture
def service(shop: FakeShop) -> Iterator[InferenceService]:
    with client.ApiClient(client.Configuration(host=shop.url)) as api:
        yield InferenceService("shop", api=api)


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=200)


def _canary(live: InferenceService, dry: bool) -> dict[str, Any]:
    return live.canary(SECOND, 20, {"fairtag.io/model-version": "second"}, dry_run=dry)


def _deploy(live: InferenceService, dry: bool) -> dict[str, Any]:
    return live.deploy(SECOND, {"fairtag.io/model-version": "second"}, dry_run=dry)


def test_a_canary_is_asked_until_it_has_answered_often_enough_itself(
    shop: FakeShop, service: InferenceService, console: Console
) -> None:
    change(_canary, service, console, timeout=5, trial=Trial(shop.url, api_key="k1", pages=4))
    shown = console.export_text()
    assert "+    trafficPercent: 20" in shown
    assert "4 by second" in shown
    assert "15 by first" in shown
    assert set(shop.keys) == {"Bearer k1"}
    assert shop.service["spec"]["canary"]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: 500, "answered 500"),
        (lambda: 400, "refuses a plain search"),
        (lambda: page("second", items=[]), "found nothing"),
        (lambda: page("second", items=[{"item_id": "i1", "price_minor": 0}]), "gives i1 away"),
        (lambda: page("second", degraded="features"), "carry list prices"),
    ],
    ids=["error", "refusal", "empty", "free", "degraded"],
)
def test_a_model_whose_pages_cannot_be_trusted_is_taken_back(
    shop: FakeShop, service: InferenceService, console: Console, made: Callable[[], Any], message: str
) -> None:
    shop.pages["second"] = made
    with pytest.raises(UnavailableError, match=message):
        change(_deploy, service, console, timeout=5, trial=Trial(shop.url, pages=3))
    assert shop.stable == FIRST
    assert "rolled back" in console.export_text()


def test_a_canary_that_fails_is_taken_away_and_the_stable_model_never_moved(
    shop: FakeShop, service: InferenceService, console: Console
) -> None:
    shop.pages["second"] = lambda: 500
    with pytest.raises(UnavailableError, match="answered 500"):
        change(_canary, service, console, timeout=5, trial=Trial(shop.url, pages=3))
    assert shop.service["spec"]["canary"] == []
    assert shop.stable == FIRST


def test_a_quote_that_checkout_would_refuse_fails_the_trial(shop: FakeShop) -> None:
    shop.honours = False
    with pytest.raises(TrialFailed, match=r"quote of model first is not honoured: not signed by us"):
        try_out(Trial(shop.url, pages=1))


def test_a_model_that_is_too_slow_fails_the_trial(shop: FakeShop) -> None:
    ticks = iter(range(100))
    with pytest.raises(TrialFailed, match=r"p95 2000 ms.*slower than 1000 ms"):
        try_out(Trial(shop.url, pages=3), clock=lambda: 2.0 * next(ticks))


def test_a_model_that_never_answers_fails_the_trial(shop: FakeShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.rollout.MOST_PAGES", 6)
    with pytest.raises(TrialFailed, match="model second answered 0 of 6 pages"):
        try_out(Trial(shop.url), "second")


def test_nothing_is_changed_where_a_trial_could_say_nothing(
    shop: FakeShop, service: InferenceService, console: Console
) -> None:
    shop.pages["first"] = lambda: 401
    for trial in (Trial("http://127.0.0.1:1"), Trial(shop.url)):
        with pytest.raises(UnavailableError, match=r"nothing was changed.*--url and --key-file"):
            change(_deploy, service, console, timeout=5, trial=trial)
    assert shop.changes == 0


def test_an_address_that_answers_can_be_tried(shop: FakeShop) -> None:
    require_page(Trial(shop.url))
    assert shop.asked == 1


def test_a_pod_that_never_becomes_ready_is_taken_back_without_being_asked(
    shop: FakeShop, service: InferenceService, console: Console
) -> None:
    shop.never_ready = {SECOND}
    with pytest.raises(UnavailableError, match="not ready in 0 s"):
        change(_deploy, service, console, timeout=0, trial=Trial(shop.url))
    assert shop.stable == FIRST
    assert shop.asked == 1, "only the look before the change"


def test_a_rollback_is_made_even_where_the_live_model_gives_no_page(
    shop: FakeShop, service: InferenceService, console: Console
) -> None:
    service.deploy(SECOND, {})
    shop.pages["second"] = lambda: 500
    change(lambda live, dry: live.rollback(dry_run=dry), service, console, timeout=5, undo=False, trial=Trial(shop.url))
    assert shop.stable == FIRST
    assert "20 by first" in console.export_text()


def test_a_dry_run_prints_the_difference_and_asks_nobody(
    shop: FakeShop, service: InferenceService, console: Console
) -> None:
    change(_deploy, service, console, timeout=5, dry_run=True, trial=Trial("http://127.0.0.1:1"))
    shown = console.export_text()
    assert f"-      storageUri: {FIRST}" in shown
    assert f"+      storageUri: {SECOND}" in shown
    assert (shop.changes, shop.asked) == (0, 0)


def test_the_newest_model_is_the_canary_where_there_is_one() -> None:
    stable = {"model": {"storageUri": FIRST}}
    assert newest_model({"spec": {"predictor": stable}}) == "first"
    entry = {"trafficPercent": 10, "predictor": {"model": {"storageUri": SECOND + "/"}}}
    assert newest_model({"spec": {"predictor": stable, "canary": [entry]}}) == "second"


DIGEST = "5ec0d1" + "0" * 58
STORED = f"s3://fairtag/models/{DIGEST[:12]}"


@pytest.fixture
def typed(shop: FakeShop, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command line as a person types it, on that cluster."""
    from pipelines.cli import main

    api = client.ApiClient(client.Configuration(host=shop.url))
    monkeypatch.setattr("components.adapters.inference_service._default_api", lambda: api)
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
    shop: FakeShop, typed: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted = str(_decision(tmp_path))
    assert typed("canary", STORED, "--to", "20", "--decision", accepted, "--url", shop.url, "--pages", "2") == 0
    noted = shop.service["metadata"]["annotations"]
    assert noted["fairtag.io/canary-model-digest"] == DIGEST
    assert noted["fairtag.io/canary-data-fingerprint"] == "d" * 64
    capsys.readouterr()
    assert typed("lineage", "--live") == 0
    shown = capsys.readouterr().out
    assert "20 %" in shown
    assert "5ec0d1" in shown
    assert typed("promote", "--url", shop.url, "--pages", "2") == 0
    assert shop.stable == STORED
    assert shop.service["metadata"]["annotations"]["fairtag.io/model-digest"] == DIGEST
    assert typed("rollback", "--no-smoke") == 0
    assert shop.stable == FIRST


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("canary", STORED), 2, "only an accepted model may go live"),
        (("canary", STORED, "--decision", "rejected"), 5, "the decision is rejected"),
        (("canary", SECOND, "--decision", "accepted"), 5, "the decision is about model folder 5ec0d1"),
        (("canary", STORED, "--registry", "folder"), 5, "no registered version has that model folder"),
        (("canary", STORED, "--decision", "accepted"), 2, "the service has no address of its own"),
        (("canary", STORED, "--decision", "accepted", "--to", "0", "--no-smoke"), 2, "1 to 99 percent"),
        (("promote", "--no-smoke"), 2, "no canary to promote"),
        (("rollback", "--no-smoke"), 2, "nothing to go back to"),
    ],
)
def test_what_must_not_go_live_does_not(
    shop: FakeShop,
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
    assert shop.changes == 0


def test_an_altered_decision_lets_nothing_live(
    shop: FakeShop, typed: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _decision(tmp_path, "fail")
    file.write_text(file.read_text(encoding="utf-8").replace('"accepted": false', '"accepted": true'), encoding="utf-8")
    assert typed("canary", STORED, "--decision", str(file), "--no-smoke") == 5
    assert "was altered" in capsys.readouterr().err
    assert shop.changes == 0
