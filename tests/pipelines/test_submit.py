"""Submission against an API that answers over HTTP as Kubeflow Pipelines does: versions, runs, schedules, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.parser import BytesParser
from typing import Any

import pytest

from fairtag.base.errors import ConfigError, TrainingError, UnavailableError
from pipelines.settings import Platform
from pipelines.submit import Kubeflow

PREFIX = "/apis/v2beta1"


class FakeKubeflow:
    """What the API keeps, and the state that each look at a run finds."""

    url: str

    def __init__(self) -> None:
        self.pipelines: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.schedules: list[dict[str, Any]] = []
        self.experiments: list[dict[str, Any]] = []
        self.packages: list[bytes] = []
        self.looks: list[tuple[str, dict[str, str]]] = []
        self.status = 200

    def answer(self, asked: Any) -> tuple[int, dict[str, Any]]:
        """Lists, looks and makes things, as the API does."""
        if self.status != 200:
            return self.status, {"message": "no"}
        path = asked.path.removeprefix(PREFIX)
        return self._read(path) if asked.method == "GET" else (200, self._make(path, asked))

    def _read(self, path: str) -> tuple[int, dict[str, Any]]:
        lists: dict[str, dict[str, Any]] = {
            "/healthz": {"multi_user": False},
            "/pipelines": {"pipelines": self.pipelines},
            "/experiments": {"experiments": self.experiments},
            "/runs": {"runs": self.runs},
            "/recurringruns": {"recurringRuns": self.schedules},
        }
        if path in lists:
            return 200, lists[path]
        if path.endswith("/versions"):
            return 200, {"pipeline_versions": self.versions}
        if path.startswith("/runs/"):
            return 200, self._look(path.removeprefix("/runs/"))
        return 404, {"message": f"no such thing: {path}"}

    def _make(self, path: str, asked: Any) -> dict[str, Any]:
        uploads = {
            "/pipelines/upload": (self.pipelines, "pipeline_id"),
            "/pipelines/upload_version": (self.versions, "pipeline_version_id"),
        }
        if path in uploads:
            self.packages.append(_file(asked))
            kept, key = uploads[path]
            return self._keep(kept, {"display_name": asked.query["name"][0]}, key)
        refuse_long(asked.body)
        kept, key = {
            "/experiments": (self.experiments, "experiment_id"),
            "/runs": (self.runs, "run_id"),
            "/recurringruns": (self.schedules, "recurring_run_id"),
        }[path]
        return self._keep(kept, {"state": "PENDING", **asked.body}, key)

    def _keep(self, kept: list[dict[str, Any]], thing: dict[str, Any], key: str) -> dict[str, Any]:
        thing[key] = f"{key}-{len(kept) + 1}"
        kept.append(thing)
        return thing

    def _look(self, run_id: str) -> dict[str, Any]:
        state, tasks = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        details: list[dict[str, str]] = [
            {"display_name": name, "state": task} for name, task in _with_pods(state, tasks)
        ]
        details.append({"execution_id": "2"})  # what its metadata adds: no name, no state
        return {"run_id": run_id, "state": state, "run_details": {"task_details": details}}


def _with_pods(state: str, tasks: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The steps with all that Kubeflow 2.16 lists beside them: the workflow, its root, and the pods of each step."""
    yield from (("fairtag-training-dbbph", state), ("root-driver", "SUCCEEDED"), ("root", state))
    for name, task in tasks.items():
        yield from ((f"{name}-driver", "SUCCEEDED"), (name, task), ("executor", task))


def refuse_long(body: dict[str, Any]) -> None:
    """Kubeflow's database keeps 255 characters of each of these, and answers a longer one with status 500."""
    for field in ("name", "display_name", "description"):
        assert len((body.get(field) or "").encode()) <= 255, field


def _file(asked: Any) -> bytes:
    """The file of an upload's form."""
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    part = next(part for part in BytesParser().parsebytes(head + asked.content).walk() if not part.is_multipart())
    return bytes(part.get_payload(decode=True))


@pytest.fixture
def api(listen: Callable[[FakeKubeflow], FakeKubeflow]) -> FakeKubeflow:
    return listen(FakeKubeflow())


def test_a_run_starts_with_the_parameters_on_an_uploaded_version(api: FakeKubeflow) -> None:
    sent = Kubeflow(api.url).submit({"dataset": "synthetic", "seed": 3}, Platform())
    assert sent.created
    assert sent.url == f"{api.url}/#/runs/details/{sent.run_id}"
    run = api.runs[0]
    assert run["runtime_config"]["parameters"] == {"dataset": "synthetic", "seed": 3}
    assert run["experiment_id"] == api.experiments[0]["experiment_id"]
    assert run["pipeline_version_reference"]["pipeline_version_id"] == api.versions[0]["pipeline_version_id"]
    assert b"pip install" not in api.packages[0]
    assert b"fairtag-training" in api.packages[0]


def test_the_same_submission_again_finds_the_run_and_uploads_nothing(api: FakeKubeflow) -> None:
    first = Kubeflow(api.url).submit({"seed": 3}, Platform())
    uploads = len(api.packages)
    again = Kubeflow(api.url).submit({"seed": 3}, Platform())
    assert (again.run_id, again.created) == (first.run_id, False)
    assert (len(api.runs), len(api.packages)) == (1, uploads)
    assert Kubeflow(api.url).submit({"seed": 4}, Platform()).created
    assert len(api.packages) == uploads


def test_a_failed_run_may_be_tried_again(api: FakeKubeflow) -> None:
    Kubeflow(api.url).submit({}, Platform())
    api.runs[0]["state"] = "FAILED"
    assert Kubeflow(api.url).submit({}, Platform()).created
    assert len(api.runs) == 2


def test_a_name_that_is_too_long_is_cut_between_words_and_two_of_them_stay_two_runs(api: FakeKubeflow) -> None:
    long = "Modèle d'automne, avec toutes les catégories et la politique de prix révisée; " * 6
    first = Kubeflow(api.url).submit({"seed": 1}, Platform(), name=f"{long}A")
    again = Kubeflow(api.url).submit({"seed": 1}, Platform(), name=f"{long}A")
    other = Kubeflow(api.url).submit({"seed": 1}, Platform(), name=f"{long}B")
    assert (first.created, again.created, other.created) == (True, False, True)
    sent = [run["display_name"] for run in api.runs]
    assert all(len(name.encode()) <= 255 for name in sent)
    kept, _, digest = sent[0].rpartition(" … ")
    assert long.startswith(f"{kept} ") or long[len(kept)] in ",; "
    assert len(digest) == 12


def test_another_platform_makes_another_version(api: FakeKubeflow) -> None:
    Kubeflow(api.url).submit({}, Platform())
    Kubeflow(api.url).submit({}, Platform(gpus=1))
    assert len({version["display_name"] for version in api.versions}) == 2
    assert b"nvidia.com/gpu" in api.packages[-1]


def test_a_schedule_never_runs_twice_at_once_and_is_made_once(api: FakeKubeflow) -> None:
    sent = Kubeflow(api.url).schedule("0 0 3 * * *", {"seed": 1}, Platform())
    again = Kubeflow(api.url).schedule("0 0 3 * * *", {"seed": 1}, Platform())
    assert (sent.created, again.created, len(api.schedules)) == (True, False, 1)
    job = api.schedules[0]
    assert (job["trigger"]["cron_schedule"]["cron"], job["max_concurrency"], job["no_catchup"]) == (
        "0 0 3 * * *",
        1,
        True,
    )
    with pytest.raises(ConfigError, match="six fields"):
        Kubeflow(api.url).schedule("0 3 * * *", {}, Platform())


def test_waiting_shows_each_change_once_and_ends_with_success(api: FakeKubeflow) -> None:
    seen: list[tuple[str, str]] = []
    api.looks = [
        ("RUNNING", {"ingest": "RUNNING"}),
        ("RUNNING", {"ingest": "RUNNING"}),
        ("SUCCEEDED", {"ingest": "SUCCEEDED", "deploy": "SUCCEEDED"}),
    ]
    Kubeflow(api.url).wait("run-1", lambda *line: seen.append(line), timeout=10, every=0.01)
    assert seen == [("ingest", "RUNNING"), ("ingest", "SUCCEEDED"), ("deploy", "SUCCEEDED")]


def test_a_run_that_fails_names_its_step(api: FakeKubeflow) -> None:
    api.looks = [("FAILED", {"validate": "FAILED", "train": "SKIPPED"})]
    with pytest.raises(TrainingError, match=r"ended FAILED: validate failed;"):
        Kubeflow(api.url).wait("run-1", lambda *_: None, timeout=10)


def test_a_run_that_does_not_end_in_time_goes_on_without_us(api: FakeKubeflow) -> None:
    api.looks = [("RUNNING", {})]
    with pytest.raises(UnavailableError, match="goes on without us"):
        Kubeflow(api.url).wait("run-1", lambda *_: None, timeout=0, every=0.01)


@pytest.mark.parametrize(("status", "message"), [(403, "check the token"), (409, "409"), (500, "500")])
def test_a_refusal_is_told_with_its_status(api: FakeKubeflow, status: int, message: str) -> None:
    kubeflow = Kubeflow(api.url)
    api.status = status
    with pytest.raises(UnavailableError, match=message):
        kubeflow.submit({}, Platform())


def test_an_api_that_is_not_there_is_an_error_of_ours() -> None:
    with pytest.raises(UnavailableError, match="did not answer"):
        Kubeflow("http://127.0.0.1:1")
