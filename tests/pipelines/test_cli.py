"""The command line: help that teaches, one line an error, exit codes that tell failures apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fairtag.base import errors
from fairtag.base.errors import CODES, ConfigError, FairtagError, exit_code
from pipelines.cli import main


def test_every_deliberate_error_has_an_exit_code_of_its_kind() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FairtagError)]
    for kind in kinds:
        if kind is not FairtagError:
            assert any(issubclass(kind, known) for known, _, _ in CODES), kind
    codes = [code for _, code, _ in CODES]
    assert len(set(codes)) == len(codes)
    assert not {0, 1} & set(codes)
    assert exit_code(ValueError()) == 1


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["serve"],
        ["quote"],
        ["verify"],
        ["report"],
        ["study"],
        ["doctor"],
        ["compile"],
        ["submit"],
        ["lineage"],
    ],
)
def test_help_explains_every_option(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Usage:" in shown
    assert len(shown) > 300


def _fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(list(arguments))
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    return code, shown.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "--preset", "moon"), 2, "--preset: 'moon' is refused; it must be 'demo', 'standard' or 'gpu'"),
        (
            ("run", "--max-quarantined", "2"),
            2,
            "--max-quarantined: 2.0 is refused; it must be less than 1 (Largest share",
        ),
        (("run", "--items", "0"), 2, "--items: 0 is refused; it must be greater than or equal to 1"),
        (("run", "--encoder", "{"), 2, "--encoder: '{' is neither JSON nor YAML"),
        (("run", "--encoder", "[1]"), 2, "it must be an object of settings"),
        (("run", "--encoder", '{"epoch": 3}'), 2, "epoch is not a setting"),
        (("run", "--encoder", "nowhere.yaml"), 2, "nowhere.yaml: cannot be read (No such file or directory)"),
        (("run", "--evaluation", '{"launch": {"ess": -1}}'), 2, "evaluation.launch.ess: -1 is refused; it must be"),
        (
            ("run", "--policy", '{"limits": {"max_discount": 2}}'),
            2,
            "policy.limits.max_discount: 2 is refused; it must be",
        ),
        (("run", "--demand", '{"round": 2}'), 2, "demand.round is not a setting"),
        (("run", "--settings", "nowhere.yaml"), 2, "--settings: nowhere.yaml: cannot be read"),
        (("run", "--dataset", "csv", "--data", "/nowhere"), 3, "/nowhere: no such folder"),
        (("run", "--dataset", "complete-journey"), 3, "name it with --data"),
        (("quote",), 2, "either a query or"),
        (("quote", "drill", "--url", "http://127.0.0.1:1"), 7, "start an endpoint with `fairtag serve RUN`"),
        (("quote", "drill", "--url", "http://127.0.0.1:1"), 7, "nobody answers at http://127.0.0.1:1 (the endpoint"),
        (
            ("verify", "q", "--item", "i", "--url", "http://127.0.0.1:1"),
            7,
            "or name the address of one that runs with --url",
        ),
        (("study", "moon"), 2, "'moon' is no study or benchmark"),
        (
            ("compile", "--image", "moon=x"),
            2,
            "--image: moon=x is refused; write role=image with a role of data, train",
        ),
        (("submit", "-p", "moon=1"), 2, "write name=value with a name of seed, dataset"),
        (("submit", "-p", "seed=x"), 2, "--seed: 'x' is refused; it must be a valid integer"),
        (("submit", "--gpus", "-1"), 2, "--gpus: -1 is refused; it must be greater than or equal to 0"),
        (("submit", "--host", "http://127.0.0.1:1"), 7, "did not answer"),
        (("nonsense",), 2, "No such command"),
        (("run", "--seed", "one"), 2, "a valid integer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_wrong_command_is_one_line_and_a_code(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, shown = _fails(capsys, *arguments)
    assert found == code, shown
    assert message in shown


def test_serving_a_run_without_a_model_says_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = _fails(capsys, "serve", str(tmp_path))
    assert code == 6
    assert "a run with an accepted decision makes one" in shown


def test_a_failure_nobody_foresaw_is_one_line_unless_the_traceback_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: str) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("pipelines.doctor.checks", fail)
    assert _fails(capsys, "doctor") == (1, "unexpected ZeroDivisionError: by zero\n")
    monkeypatch.setenv("FAIRTAG_DEBUG", "1")
    assert main(["doctor"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.doctor.checks", interrupt)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_doctor_fails_only_for_what_a_local_run_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import doctor

    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "kfp" else object())
    assert main(["doctor"]) == 1
    assert "no kfp" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    monkeypatch.setattr("shutil.which", lambda tool: None)
    monkeypatch.setattr(doctor, "MEMORY_GIB", 0)
    monkeypatch.setattr(doctor, "DISK_GIB", 0)
    assert main(["doctor"]) == 0


def test_doctor_for_a_cluster_fails_for_each_thing_that_a_cluster_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import doctor

    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    monkeypatch.setattr(doctor, "_is_free", lambda port: True)
    monkeypatch.setattr("shutil.which", lambda tool: f"/bin/{tool}")
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=7 << 40))
    for name in ("MEMORY_GIB", "CLUSTER_PROCESSORS", "CLUSTER_MEMORY_GIB", "CLUSTER_DISK_GIB"):
        monkeypatch.setattr(doctor, name, 0)
    assert main(["doctor", "--cluster", "minikube"]) == 0
    shown = capsys.readouterr().out
    assert "minikube" in shown
    assert "40 GiB" not in shown
    for name in ("CLUSTER_PROCESSORS", "CLUSTER_MEMORY_GIB", "CLUSTER_DISK_GIB"):
        with monkeypatch.context() as worse:
            worse.setattr(doctor, name, 10**6)
            assert main(["doctor", "--cluster", "kind"]) == 1, name
    with monkeypatch.context() as worse:
        worse.setattr("shutil.which", lambda tool: None if tool == "kind" else f"/bin/{tool}")
        assert main(["doctor", "--cluster", "kind"]) == 1
        assert main(["doctor", "--cluster", "minikube"]) == 0
    monkeypatch.setattr(doctor, "_is_free", lambda port: port != 8888)
    assert main(["doctor", "--cluster", "kind"]) == 1
    assert main(["doctor"]) == 0, "a local run needs no port of a cluster"
    code, shown = _fails(capsys, "doctor", "--cluster", "k3s")
    assert (code, "kind, minikube" in shown) == (2, True)


def test_a_folder_in_use_by_another_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from filelock import FileLock

    (tmp_path / ".owner").write_text("process 4711 on here, since 2026-01-01T00:00:00+00:00\n")
    with FileLock(tmp_path / ".lock"):
        code, shown = _fails(capsys, "run", "--out", str(tmp_path))
    assert code == 2
    assert "another run works there (process 4711 on here, since 2026" in shown


def test_compile_writes_the_pipeline(tmp_path: Path) -> None:
    assert main(["compile", "--out", str(tmp_path / "p.yaml")]) == 0
    assert "fairtag-training" in (tmp_path / "p.yaml").read_text()


def test_a_dry_submission_prints_the_pipeline_and_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "--dry-run", "--host", "http://127.0.0.1:1", "--gpus", "4"]) == 0
    assert "resourceCount: '4'" in capsys.readouterr().out


def test_run_state_that_speaks_of_an_altered_model_folder_stops_the_run(tmp_path: Path) -> None:
    from fairtag.base.errors import DigestMismatch
    from fairtag.model.decision import GateResult, make_decision, write_decision
    from fairtag.model.manifest import write_manifest
    from pipelines.loop import _finished
    from pipelines.run_folder import RunFolder

    folder = RunFolder(tmp_path)
    for made in (folder.model_folder, folder.live):
        made.mkdir()
        (made / "weights").write_text("weights")
        manifest = write_manifest(made, {})
    challenger = {"version": manifest["version"], "model_digest": manifest["digest"]}
    gate = GateResult("relevance", 1.0, "any", "pass")
    write_decision(
        folder.decision,
        make_decision(challenger=challenger, champion=None, data_fingerprint="f", gates=[gate], metrics={}),
    )
    folder.state.write_text(json.dumps({"key": "k", "end": "accepted"}))
    assert _finished(folder, "k")
    assert not _finished(folder, "another")
    (folder.live / "weights").write_text("wicked")
    with pytest.raises(DigestMismatch, match="weights"):
        _finished(folder, "k")


def test_a_run_after_a_rollback_leaves_the_earlier_model_live_and_says_who_went_back(tmp_path: Path) -> None:
    """The same data, code and settings: the model that a person took away is neither back nor an error."""
    from components.adapters.kserve import deploy_model_folder, roll_back_folder
    from fairtag.base.errors import DecisionMismatch
    from fairtag.model.decision import GateResult, make_decision, write_decision
    from fairtag.model.manifest import write_manifest
    from pipelines.loop import UNCHANGED, _finished
    from pipelines.run_folder import RunFolder

    folder, gate = RunFolder(tmp_path), GateResult("relevance", 1.0, "any", "pass")
    for weights in ("good", "bad"):
        folder.model_folder.mkdir(exist_ok=True)
        (folder.model_folder / "weights").write_text(weights)
        manifest = write_manifest(folder.model_folder, {})
        challenger = {"version": manifest["version"], "model_digest": manifest["digest"]}
        decision = make_decision(challenger=challenger, champion=None, data_fingerprint="f", gates=[gate], metrics={})
        write_decision(folder.decision, decision)
        deploy_model_folder(folder.model_folder, decision, str(tmp_path), timeout=1.0)
    folder.state.write_text(json.dumps({"key": "k", "end": "accepted"}))
    assert _finished(folder, "k") == UNCHANGED
    before, now = roll_back_folder(tmp_path, who="ada", why="prices fell")
    said = _finished(folder, "k")
    assert f"whose model {before} was rolled back by ada on 2" in said
    assert f": prices fell; {now} serves, and --force" in said
    assert (folder.live / "weights").read_text() == "good"
    with (tmp_path / "deployments.jsonl").open("a") as log:
        log.write(json.dumps({"at": "2026-01-01", "version": now, "run": ""}) + "\n")
    with pytest.raises(DecisionMismatch):
        _finished(folder, "k")  # nobody said why another model than the run's is live


def test_the_loop_leaves_its_snapshots_where_make_monitor_ui_looks(tmp_path: Path) -> None:
    from pipelines.loop import monitoring_options
    from pipelines.run_folder import RunFolder

    options = monitoring_options(RunFolder(tmp_path / "runs" / "demo"), "drift", "24h")
    workspace = options[options.index("--workspace") + 1]
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert f"WORKSPACE ?= {Path(workspace).relative_to(tmp_path)}" in makefile


class _KeyedEndpoint:
    """An endpoint that notes the key of each request."""

    url: str

    def __init__(self) -> None:
        self.keys: list[str | None] = []

    def answer(self, asked: Any) -> tuple[int, dict[str, Any]]:
        self.keys.append(asked.headers["authorization"])
        if asked.path.endswith(":verify"):
            return 200, {"item_id": "i1"}
        return 401, {"error": "authorization: '(not shown)' is refused"}


KEY = "s3cret-key"


def _asked_with(endpoint: _KeyedEndpoint, *words: str) -> str | None:
    main([*words, "--url", endpoint.url])
    return endpoint.keys[-1]


def test_the_key_of_an_endpoint_comes_from_an_option_the_environment_or_a_file(
    listen: Callable[[_KeyedEndpoint], _KeyedEndpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, file = listen(_KeyedEndpoint()), tmp_path / "keys"
    file.write_text("from-file\nanother\n")
    assert _asked_with(endpoint, "quote", "drill") is None
    assert _asked_with(endpoint, "quote", "drill", "--api-key", KEY) == f"Bearer {KEY}"
    monkeypatch.setenv("FAIRTAG_API_KEY", KEY)
    assert _asked_with(endpoint, "quote", "drill") == f"Bearer {KEY}"
    assert _asked_with(endpoint, "quote", "drill", "--key-file", str(file)) == "Bearer from-file"
    assert _asked_with(endpoint, "verify", "q", "--item", "i1", "--json") == f"Bearer {KEY}"


@pytest.mark.parametrize("words", [("quote", "drill"), ("quote", "--help"), ("verify", "q", "--item", "i1")])
@pytest.mark.parametrize("key", [KEY, f"{KEY} two", f"{KEY}\n", f"{KEY}\u00e9", ""])
def test_a_key_is_never_shown(
    key: str,
    words: tuple[str, ...],
    listen: Callable[[_KeyedEndpoint], _KeyedEndpoint],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FAIRTAG_API_KEY", key)
    monkeypatch.setenv("FAIRTAG_DEBUG", "1")
    code = main([*words, "--url", listen(_KeyedEndpoint()).url])
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err
    if key not in (KEY, "") and "--help" not in words:
        assert code == 2
        assert "FAIRTAG_API_KEY: (not shown) is refused" in shown.err


def test_a_key_file_that_cannot_be_used_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"", b"\xff\xfe"):
        (tmp_path / "keys").write_bytes(content)
        code, shown = _fails(capsys, "quote", "drill", "--key-file", str(tmp_path / "keys"))
        assert code == 2
        assert "--key-file" in shown
    assert _fails(capsys, "quote", "drill", "--key-file", str(tmp_path))[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--jurisdiction", "Germany"), "--jurisdiction: 'Germany' is no place; write a code of ISO 3166"),
        (("--dataset", "cvs", "--data", "."), "did you mean csv?"),
        (("--encoder", '{"epoch": 3}'), "epoch is not a setting"),
        (("--policy", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("--policy", '{"currency": "YEN"}'), "did you mean JPY"),
        (("--policy", '{"limits": {"minor_per_unit": 1}}'), "limits.minor_per_unit is not a setting"),
        (("--dataset", "csv", "--data", "shop", "--policy", '{"currency": "EUR"}'), "currency is EUR, "),
        (("--out", "file/run"), "is a file; choose a folder"),
        (("--out", "."), "the folder holds other files (file, shop); choose one of the run's own"),
        (("--dataset", "csv", "--data", "nowhere"), "no such folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_could_only_fail_is_refused_before_anything_is_made(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "metadata.json").write_text('{"currency": "JPY"}')
    out = () if "--out" in arguments else ("--out", "runs/new")
    code, shown = _fails(capsys, "run", *arguments, *out)
    assert code in (2, 3)
    assert message in shown
    assert {path.name for path in tmp_path.iterdir()} == {"file", "shop"}


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.preflight import require_startable
    from pipelines.settings import RunSettings

    monkeypatch.setattr("pipelines.preflight.os.access", lambda *_: False)
    with pytest.raises(ConfigError, match="cannot be written to"):
        require_startable(RunSettings(local={"out": tmp_path / "run"}))
    assert not (tmp_path / "run").exists()


def test_each_shop_has_a_folder_of_its_own_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fairtag.base.files import write_json
    from pipelines.preflight import require_startable
    from pipelines.settings import RunSettings

    monkeypatch.chdir(tmp_path)
    for shop in ("a/export", "b/export"):
        (tmp_path / shop).mkdir(parents=True)
    first, second = (RunSettings(data={"dataset": "csv", "folder": Path(each)}) for each in ("a/export", "b/export"))
    assert RunSettings().folder.root == tmp_path / "runs" / "demo"
    assert first.folder.root == second.folder.root == tmp_path / "runs" / "export"
    require_startable(first)
    first.folder.root.mkdir(parents=True)
    write_json(first.folder.state, {"dataset": "csv", "data": str(tmp_path / "a/export")})
    require_startable(first)
    with pytest.raises(ConfigError, match="name the folder of this shop's runs with --out"):
        require_startable(second)
    named = RunSettings(data={"dataset": "parquet", "folder": Path("b/export")}, local={"out": first.folder.root})
    require_startable(named)  # the export moved, and its form changed; the shop is the same
    with pytest.raises(ConfigError, match="a run of the data set csv lies there, this is one of synthetic"):
        require_startable(RunSettings(local={"out": first.folder.root}))


def test_a_taken_port_is_said_before_the_model_is_loaded() -> None:
    import socket

    from serving.ports import require_free

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"HTTP port {port} of 127.0.0.1 cannot be opened"):
            require_free("127.0.0.1", port, -1)
        with pytest.raises(ConfigError, match=f"gRPC port {port}"):
            require_free("127.0.0.1", 0, port)
    require_free("127.0.0.1", port, -1)
    with pytest.raises(ConfigError, match="both HTTP and gRPC"):
        require_free("127.0.0.1", port, port)


@pytest.mark.parametrize(
    "line", [("run", "--dataset", "csv", "--data"), ("check",), ("run", "--dataset", "shopify", "--data")], ids=" ".join
)
def test_an_object_store_is_for_a_cluster_and_the_way_here_is_told(
    line: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown = _fails(capsys, *line, "s3://bucket/my-shop")
    assert code == 2
    assert "`fairtag submit -p data=s3://bucket/my-shop`" in shown
    assert "python -m monitoring.fetch s3://bucket/my-shop=my-shop" in shown
    assert list(tmp_path.iterdir()) == []
