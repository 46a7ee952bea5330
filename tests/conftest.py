"""Fixtures for every package: what is made once for all test processes, and stand-ins for the services around the code.

A simulated shop and the model folder fitted on it, with a tiny random encoder, are made once: real parts, seconds to
build, and whole packages of tests use them.

The services listen on the loopback: an API whose answers the test gives, and a real Redis, which a test may kill,
freeze or reach over a slow road.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import pwd
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    import pandas as pd

    from fairtag.simulator.simulation import SimulatedShop


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Modules with slow tests go first where several processes share the work: what starts last should be short."""
    if config.getoption("dist", "no") != "no":
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Makes a folder that all processes of a run share: ``made_once("shop", make)`` calls ``make(folder)`` once.

    The first test process that asks makes it, the others wait for it. Nobody writes into the folder afterwards: a test
    that changes something copies it first.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each worker has a folder of its own below the run's

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = root / "made_once" / name, root / "made_once" / f"{name}.made"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that died while it made it
                folder.mkdir()
                make(folder)
                made.touch()
        return folder

    return once


@pytest.fixture(scope="session")
def empty_registry(made_once: Callable[..., Path]) -> Callable[[Path], Path]:
    """Puts an empty model registry into a folder: MLflow creates its tables once (2 s), and each test has a copy."""

    def make(folder: Path) -> None:
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()

    def copy(folder: Path) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a session fixture stands outside the tests' own exceptions
            made = made_once("registry", make)
        folder.mkdir(parents=True)
        shutil.copy(made / "mlflow.db", folder)
        return folder

    return copy


def _tiny_bert(folder: Path, words: Iterable[str], *, layers: int, positions: int) -> Path:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: row for row, word in enumerate([*specials, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
    )
    BertModel(shape).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert() -> Callable[..., Path]:
    """Writes a random BERT of 32 dimensions and its word-piece tokenizer into a folder."""
    return _tiny_bert


PREFIXES = {"query_prefix": "query ", "item_prefix": "passage "}


@pytest.fixture(scope="session")
def market(made_once: Callable[..., Path]) -> SimulatedShop:
    """A small simulated shop with its truth, drawn once."""

    def make(folder: Path) -> None:
        from fairtag.simulator.simulation import ShopSize, simulate_shop

        size = ShopSize(items=240, users=300, impressions=36_000, page_size=12, wishes=200, judgements=1_500)
        (folder / "shop.pickle").write_bytes(pickle.dumps(simulate_shop(size, seed=4)))

    loaded: SimulatedShop = pickle.loads((made_once("simulated-shop", make) / "shop.pickle").read_bytes())
    return loaded


@pytest.fixture(scope="session")
def joined(market: SimulatedShop) -> pd.DataFrame:
    """The training set of the simulated shop."""
    from fairtag.data.point_in_time import training_set

    return training_set(market.tables)


@pytest.fixture(scope="session")
def tiny_encoder(market: SimulatedShop, made_once: Callable[..., Path]) -> Path:
    """An encoder folder around a random BERT that knows the shop's words, trained and exported once."""

    def make(folder: Path) -> None:
        import torch

        from fairtag.base import schema
        from fairtag.base.text import item_texts, tokens
        from fairtag.encoder.config import EncoderConfig
        from fairtag.encoder.training import train_encoder

        torch.set_num_threads(1)
        items, judgements = market.tables.latest_items(), market.tables.judgements
        assert judgements is not None
        texts = [*item_texts(items), *judgements[schema.QUERY].unique(), *PREFIXES.values()]
        base = _tiny_bert(
            folder / "base", sorted({word for text in texts for word in tokens(text)}), layers=1, positions=40
        )
        config = EncoderConfig.from_json(
            {
                "base": {"name": str(base), "max_length": 32, **PREFIXES},
                "schedule": {"max_steps": 0, "checkpoint_every": 0},
            }
        )
        train_encoder(config, judgements, items, folder / "encoder")

    return made_once("tiny-encoder", make) / "encoder"


def accept(model_folder: Path) -> None:
    """Enclose an accepted decision, which evaluation would make of gates and held-out data."""
    from fairtag.model.decision import GateResult, keep_decision, make_decision
    from fairtag.model.manifest import read_manifest

    manifest = read_manifest(model_folder)
    challenger = {"version": manifest["version"], "model_digest": manifest["digest"]}
    gate = GateResult("relevance", 0.9, "made by a test", "pass")
    decision = make_decision(challenger=challenger, champion=None, data_fingerprint="f", gates=[gate], metrics={})
    keep_decision(decision, model_folder)


@pytest.fixture(scope="session")
def accepted() -> Callable[[Path], None]:
    """Encloses an accepted decision in a model folder."""
    return accept


@pytest.fixture(scope="session")
def model_folder(
    market: SimulatedShop, joined: pd.DataFrame, tiny_encoder: Path, made_once: Callable[..., Path]
) -> Path:
    """The model folder of the simulated shop, fitted once."""

    def make(folder: Path) -> None:
        from fairtag.training.model import Lineage, fit_model_folder

        lineage = Lineage(market.tables.fingerprint(), "test", "2026-01-01T00:00:00+00:00", "synthetic")
        fit_model_folder(market.tables, joined, tiny_encoder, folder / "model_folder", lineage=lineage)
        accept(folder / "model_folder")

    return made_once("fitted", make) / "model_folder"


@dataclass(frozen=True)
class Asked:
    """One request as it came over the wire."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Message
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The content as JSON."""
        loaded: dict[str, Any] = json.loads(self.content)
        return loaded


class Api(Protocol):
    """What a test stands in for: it is told where it listens, and answers with a status and a body."""

    url: str

    def answer(self, asked: Asked) -> tuple[int, dict[str, Any]]:
        """Status and JSON body."""
        ...


@contextmanager
def _listening(api: Api) -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _respond(self) -> None:
            parts, length = urlsplit(self.path), int(self.headers.get("content-length") or 0)
            query = parse_qs(parts.query)
            status, body = api.answer(Asked(self.command, parts.path, query, self.headers, self.rfile.read(length)))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _respond

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def listen() -> Iterator[Callable[[Api], Any]]:
    """Puts a stand-in on a port of its own until the test ends, and hands it back."""
    with ExitStack() as open_:
        yield lambda api: open_.enter_context(_listening(api))


class RedisServer:
    """A Redis of its own process."""

    def __init__(self, program: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._line = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._line += ["--save", "", "--appendonly", "yes"]
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self) -> Any:
        """A client for a test that looks into the store, or harms what is in it."""
        from redis import Redis

        return Redis(port=self.port, decode_responses=True)

    def start(self) -> None:
        from redis import Redis
        from redis.exceptions import RedisError

        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._line, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while True:
            try:
                with Redis(port=self.port) as client:
                    client.ping()
                    return
            except RedisError:
                assert time.monotonic() < end, "redis-server did not answer in time"
                time.sleep(0.05)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(60)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server of this module alone."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed; Debian has it as a package of that name")
    server = RedisServer(program, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


class PostgresServer:
    """A PostgreSQL of its own, run by an ordinary user, with the superuser ``postgres`` from this machine."""

    def __init__(self, programs: Path, folder: Path) -> None:
        user = next((each.pw_name for each in pwd.getpwall() if each.pw_name in ("postgres", "nobody")), None)
        self._become = {"user": user, "group": pwd.getpwnam(user).pw_gid} if user and os.getuid() == 0 else {}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.folder, self._programs = folder, programs
        if self._become:
            os.chown(folder, pwd.getpwnam(str(user)).pw_uid, -1)
        accepted = ("--auth-host=scram-sha-256", "--auth-local=trust")
        self.call(str(programs / "initdb"), "-D", f"{folder}/d", "-U", "postgres", "--no-sync", *accepted)

    def call(self, *line: str, **variables: str) -> None:
        """Run a command as the server's user, as a client of it."""
        environment = {**os.environ, "PGHOST": str(self.folder), "PGPORT": str(self.port), **variables}
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, cwd=self.folder, env=environment, **self._become
        )
        assert done.returncode == 0, done.stderr or done.stdout

    def start(self) -> None:
        options = f"-k {self.folder} -p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("-w", "-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def sql(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the superuser."""
        for statement in statements:
            self.call("psql", "-q", "-U", "postgres", "-d", database, "-v", "ON_ERROR_STOP=1", "-c", statement)

    def _control(self, *line: str) -> None:
        self.call(str(self._programs / "pg_ctl"), "-D", f"{self.folder}/d", *line)


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this module alone; skips where it is not installed."""
    found = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        Path(shutil.which("initdb") or "/").parent,
    ]
    programs = next((each for each in found if (each / "initdb").exists() and (each / "pg_ctl").exists()), None)
    if programs is None or shutil.which("psql") is None:
        pytest.skip("PostgreSQL is not installed; Debian has it as postgresql")
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = PostgresServer(programs, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Road:
    """A TCP road to a server, over which each part of an answer may come late."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self._to = port
        self._late = 0.0
        self._quick = threading.Event()
        self._quick.set()
        road = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                road.connections += 1
                road._carry(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def slow(self, seconds: float) -> None:
        """From now on every part of an answer is so late."""
        self._late = seconds
        self._quick.clear()

    def quick(self) -> None:
        """No answer is late any more, those under way among them."""
        self._quick.set()

    def close(self) -> None:
        self.quick()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _carry(self, near: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._to)) as far:
            asking = threading.Thread(target=_pump, args=(near, far, lambda: None), daemon=True)
            asking.start()
            _pump(far, near, lambda: self._quick.wait(self._late))
            asking.join()


def _pump(source: socket.socket, target: socket.socket, before: Callable[[], object]) -> None:
    """Pass bytes on until either side has left."""
    with suppress(OSError):
        while part := source.recv(65_536):
            before()
            target.sendall(part)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def road(redis: RedisServer) -> Iterator[Road]:
    """A road to the Redis that a test may make slow."""
    opened = Road(redis.port)
    yield opened
    opened.close()


@pytest.fixture
def fake_cluster(listen: Callable[[Api], Any]) -> Any:
    """A stand-in for a cluster's API with one InferenceService (tests/fake_cluster.py), at its ``url``."""
    spec = importlib.util.spec_from_file_location("fake_cluster", Path(__file__).parent / "fake_cluster.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return listen(module.FakeCluster())


@pytest.fixture
def road_to() -> Iterator[Callable[[int], Road]]:
    """Builds a road to a port of this machine; closed when the test ends."""
    with ExitStack() as open_:

        def build(port: int) -> Road:
            road = Road(port)
            open_.callback(road.close)
            return road

        yield build
