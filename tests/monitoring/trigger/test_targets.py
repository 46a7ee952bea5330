"""Where the trigger starts runs: a command on this machine, a pipeline on Kubeflow."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from fairtag.base.errors import UnavailableError
from fairtag.base.files import canonical_json, read_json, sha256_text
from monitoring.trigger.targets import Kubeflow, Local, Run, RunRequest
from monitoring.trigger.trigger_policy import KubeflowTarget, LocalTarget


def request(tmp_path):
    return RunRequest("retrain-1", "drift is urgent", {"why": 1}, tmp_path)


def test_the_local_target_runs_the_command_with_reason_and_evidence(tmp_path):
    script = "import sys, json, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2] + open(sys.argv[3]).read())"
    command = (sys.executable, "-c", script, str(tmp_path / "ran"), "{run_name}: {reason} ", "{evidence}")
    assert Local(LocalTarget(command=command)).start(request(tmp_path)) == Run("retrain-1", "accepted")
    assert (tmp_path / "ran").read_text().startswith("retrain-1: drift is urgent {")


@pytest.mark.parametrize("command", [(sys.executable, "-c", "import sys; sys.exit('no disk')"), ("/no/such/program",)])
def test_a_command_that_fails_says_why(tmp_path, command):
    with pytest.raises(UnavailableError, match=r"no disk|No such file"):
        Local(LocalTarget(command=command)).start(request(tmp_path))


def past_run(name, parameters, state="SUCCEEDED", pipeline="p1"):
    """A run as Kubeflow lists it; a run without parameters has no configuration."""
    return SimpleNamespace(
        run_id=name,
        display_name=name,
        state=state,
        pipeline_version_reference=SimpleNamespace(pipeline_id=pipeline),
        runtime_config=SimpleNamespace(parameters=parameters) if parameters else None,
    )


class FakeKubeflow:
    """The calls of kfp.Client that the target makes."""

    def __init__(self, runs=(), pipeline="p1", versions=("ver2", "ver1")):
        self.runs = [*runs, past_run("run-1", {"dataset": "csv", "data": "s3://shop", "seed": 3, "reason": ""})]
        self.pipeline, self.versions, self.submitted = pipeline, versions, []

    def create_experiment(self, name, namespace=None):
        return SimpleNamespace(experiment_id=f"exp-{name}")

    def list_runs(self, **_):
        return SimpleNamespace(runs=self.runs)

    def get_pipeline_id(self, name):
        return self.pipeline

    def list_pipeline_versions(self, pipeline, **_):
        return SimpleNamespace(pipeline_versions=[SimpleNamespace(pipeline_version_id=v) for v in self.versions])

    @property
    def _run_api(self):
        return self

    def run_service_create_run(self, run):
        self.submitted.append(run)
        return SimpleNamespace(run_id="run-7")


KUBEFLOW = KubeflowTarget(host="http://kfp", pipeline="fairtag", parameters={"reason": "{reason}"})


def test_kubeflow_runs_the_newest_version_with_the_reason_as_a_parameter(tmp_path):
    client = FakeKubeflow()
    assert Kubeflow(KUBEFLOW, client).start(request(tmp_path)) == Run("run-7")
    submitted = client.submitted[0]
    assert submitted.pipeline_version_reference.pipeline_version_id == "ver2"
    assert (submitted.display_name, submitted.experiment_id) == ("retrain-1", "exp-fairtag")
    assert submitted.runtime_config.parameters["reason"] == "drift is urgent"
    assert submitted.description.startswith("drift is urgent. Evidence: retrain-1.json, sha256:")


LONG = "drift is urgent: " + ", ".join(f"category_mix_of_département_{n}" for n in range(60))


@pytest.mark.parametrize("reason", [LONG, "drift is urgent: " + "é" * 900, "x" * 2_000, "drift is urgent"])
def test_a_description_fits_kubeflows_column_and_still_names_the_evidence(tmp_path, reason):
    client = FakeKubeflow()
    asked = RunRequest("retrain-0123456789ab", reason, {"reason": reason, "checks": {"drift": ["a"] * 99}}, tmp_path)
    Kubeflow(KUBEFLOW, client).start(asked)
    (sent,) = client.submitted
    assert len(sent.description.encode()) <= 255
    digest = sha256_text(canonical_json(asked.evidence))
    assert sent.description.endswith(f". Evidence: retrain-0123456789ab.json, sha256:{digest}")
    assert len(sent.display_name.encode()) <= 255
    assert read_json(asked.file)["reason"] == reason, "what does not fit is whole in the evidence file"
    assert sent.runtime_config.parameters["reason"] == reason, "and in the parameter that asks for it"


def test_a_reason_that_does_not_fit_ends_with_a_whole_word(tmp_path):
    kept = RunRequest("retrain-1", LONG, {}, tmp_path).description.partition(" …. Evidence")[0]
    assert kept in LONG
    assert LONG[len(kept)] in ", "


def test_the_evidence_of_a_run_on_kubeflow_is_the_file_that_its_description_names(tmp_path):
    client = FakeKubeflow()
    Kubeflow(KUBEFLOW, client).start(request(tmp_path))
    evidence = read_json(tmp_path / "retrain-1.json")
    assert sha256_text(canonical_json(evidence)) in client.submitted[0].description


def test_kubeflow_does_not_start_a_run_of_the_same_name_twice(tmp_path):
    client = FakeKubeflow(runs=[past_run("retrain-1", {}, "RUNNING")])
    assert Kubeflow(KUBEFLOW, client).start(request(tmp_path)) == Run("retrain-1")
    assert not client.submitted


def test_a_retraining_repeats_the_last_run_that_succeeded_with_the_policys_parameters_on_top(tmp_path):
    """Not the pipeline's defaults: they name the simulated shop."""
    later = [
        past_run("run-4", {"data": "s3://new"}, "FAILED"),
        past_run("run-3", {"data": "s3://other"}, pipeline="p2"),
    ]
    client = FakeKubeflow(runs=later)
    Kubeflow(KUBEFLOW, client).start(request(tmp_path))
    repeated = {"dataset": "csv", "data": "s3://shop", "seed": 3}
    assert client.submitted[0].runtime_config.parameters == {**repeated, "reason": "drift is urgent"}


def test_without_a_run_that_succeeded_nothing_is_retrained(tmp_path):
    client = FakeKubeflow()
    client.runs = [past_run("run-4", {"data": "s3://new"}, "FAILED")]
    with pytest.raises(UnavailableError, match="start one with `fairtag submit`"):
        Kubeflow(KUBEFLOW, client).start(request(tmp_path))
    assert not client.submitted


@pytest.mark.parametrize(
    ("client", "message"),
    [(FakeKubeflow(pipeline=None), "no pipeline"), (FakeKubeflow(versions=()), "no version"), (object(), "Attribute")],
)
def test_kubeflow_that_cannot_run_says_why(tmp_path, client, message):
    with pytest.raises(UnavailableError, match=message):
        Kubeflow(KUBEFLOW, client).start(request(tmp_path))
