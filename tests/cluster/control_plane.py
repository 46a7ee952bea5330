"""A Kubernetes control plane of the tests' own: etcd, the API server, the controller manager and KServe's controller.

Nothing runs a pod: ``kubelet.py`` stands in for the nodes; ``node.py`` adds one that runs them. All ports are free.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from ssl import create_default_context
from typing import Any, TypeVar, cast

import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

T = TypeVar("T")

# KServe's own controller runs outside the cluster; its other controllers are not used by Fairtag.
KSERVE_KINDS = ("ConfigMap", "ClusterStorageContainer", "CustomResourceDefinition")
WEBHOOK_KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
KSERVE_WEBHOOKS = "kserve-webhook-server-service"
KSERVE = Path(__file__).parents[2] / "k8s" / "platform" / "kserve"  # what we add to its release
GATEWAY = {"disableIngressCreation": False, "enableGatewayApi": True, "kserveIngressGateway": "fairtag/fairtag"}
CONFIG_PATH = "/api/v1/namespaces/kserve/configmaps/inferenceservice-config"
MERGE = "application/merge-patch+json"
# Operators that a shop brings: the API server takes any of their objects, and tests/k8s holds them to their schemas.
FOREIGN = {
    "monitoring.coreos.com/v1": ("PodMonitor", "ServiceMonitor", "PrometheusRule"),
    "external-secrets.io/v1": ("ExternalSecret",),
    "trainer.kubeflow.org/v1alpha1": ("TrainJob",),
}


def until(condition: Callable[[], T], what: str | Callable[[], str], *, timeout: float = 60.0, every: float = 0.2) -> T:
    """The first result of a condition that counts as true; what was waited for stands in the failure."""
    end = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(every)


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """A process, its log, and the question whether it is ready."""

    def __init__(self, line: Sequence[object], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._line = [str(word) for word in line]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, is_ready: Callable[[], bool]) -> None:
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(self._line, stdout=stream, stderr=stream, env=self._environment)

        def ready() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"{self._line[0]} ended: {self.tail()}"
            return is_ready()

        try:
            until(ready, f"{self._line[0]} is ready", timeout=120)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
        self._process = None

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:]


class ControlPlane:
    """A running API server with its controllers.

    Args:
        programs: Folder that ``build.sh`` printed.
        folder: Where data, certificates and logs go.
        address: Where the API server answers.
    """

    def __init__(self, programs: Path, folder: Path, address: str = "127.0.0.1") -> None:
        self._programs = programs
        self._folder = folder
        self._token = secrets.token_hex(16)
        self._running: list[Program] = []
        self._ports = {name: free_port() for name in ("etcd", "peer", "api", "webhook", "health")}
        self._address = address
        self.url = f"https://{address}:{self._ports['api']}"
        self.kubeconfig = folder / "kubeconfig"
        self.certificate = folder / "tls.crt"
        self._kserve = self._kserve_controller()

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything; the nodes are still missing."""
        self._write_keys()
        self._write_kubeconfig()
        self._start_etcd()
        self._start_api_server()
        self._start_controller_manager()
        self._install_platform()
        self._start_kserve()

    def stop(self) -> None:
        """Stop what was started, the last first."""
        for program in (self._kserve, *reversed(self._running)):
            program.stop()

    def _write_keys(self) -> None:
        def openssl(*words: object) -> None:
            subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

        key = self._folder / "tls.key"
        names = f"subjectAltName=IP:127.0.0.1,DNS:localhost,IP:{self._address},IP:10.96.0.1,DNS:kubernetes.default.svc"
        subject = ("-subj", "/CN=fairtag-tests", "-addext", names, "-days", 2)
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-keyout", key, "-out", self.certificate)
        openssl("genrsa", "-out", self._folder / "accounts.key", 2048)
        hooks = self._folder / "tmp" / "k8s-webhook-server" / "serving-certs"  # where the controller looks by default
        hooks.mkdir(parents=True)
        shutil.copy(self.certificate, hooks / "tls.crt")
        shutil.copy(key, hooks / "tls.key")
        (self._folder / "tokens.csv").write_text(f'{self._token},admin,admin,"system:masters"\n', encoding="utf-8")

    def _write_kubeconfig(self) -> None:
        made = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
            "clusters": [
                {"name": "tests", "cluster": {"server": self.url, "certificate-authority": str(self.certificate)}}
            ],
            "users": [{"name": "admin", "user": {"token": self._token}}],
        }
        self.kubeconfig.write_text(json.dumps(made), encoding="utf-8")

    def _run(self, name: str, line: Sequence[object], is_ready: Callable[[], bool]) -> None:
        program = Program(line, self._folder / f"{name}.log")
        self._running.append(program)
        program.start(is_ready)

    def _start_etcd(self) -> None:
        client_url, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "peer"))
        line = ["etcd", "--data-dir", self._folder / "etcd", "--listen-client-urls", client_url]
        line += ["--advertise-client-urls", client_url, "--listen-peer-urls", peer]
        line += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
        self._run("etcd", line, lambda: answers(f"{client_url}/health"))

    def _start_api_server(self) -> None:
        line = [self._programs / "kube-apiserver"]
        line += [f"--{name}={value}" for name, value in self._api_server_flags().items()]
        self._run("api-server", line, lambda: answers(f"{self.url}/readyz", self.certificate, self._token))

    def _api_server_flags(self) -> dict[str, object]:
        accounts = self._folder / "accounts.key"
        return {
            "etcd-servers": f"http://127.0.0.1:{self._ports['etcd']}",
            "bind-address": self._address,
            "advertise-address": self._address,
            "secure-port": self._ports["api"],
            "tls-cert-file": self.certificate,
            "tls-private-key-file": self._folder / "tls.key",
            "token-auth-file": self._folder / "tokens.csv",
            "service-account-key-file": accounts,
            "service-account-signing-key-file": accounts,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-cluster-ip-range": "10.96.0.0/16",
            "authorization-mode": "RBAC",
            "endpoint-reconciler-type": "none",
            "feature-gates": "WatchList=false",  # etcd 3.4, Debian's, cannot do what it needs
        }

    def _start_controller_manager(self) -> None:
        flags = {
            "kubeconfig": self.kubeconfig,
            "service-account-private-key-file": self._folder / "accounts.key",
            "root-ca-file": self.certificate,
            "leader-elect": "false",
            "secure-port": 0,
            "controllers": self._controllers(),
        }
        line = [self._programs / "kube-controller-manager", *(f"--{name}={value}" for name, value in flags.items())]
        self._run(
            "controller-manager", line, lambda: self.get("/api/v1/namespaces/default/serviceaccounts/default") != {}
        )

    def _controllers(self) -> str:
        return "*,-nodeipam,-nodelifecycle,-attachdetach,-persistentvolume-binder"  # there is no node

    # -- KServe -----------------------------------------------------------------------------------------------------

    def _install_platform(self) -> None:
        definitions = sorted((self._programs / "manifests" / "definitions").glob("*.yaml"))
        ours = [_open_definition(group, kind) for group, kinds in FOREIGN.items() for kind in kinds]
        files = [word for file in definitions for word in ("-f", file)]
        self.kubectl("apply", "--server-side", *files)
        self.apply(ours)
        objects = _select(self._programs / "manifests" / "kserve.yaml")
        first = [each for kind, each in objects if kind == "CustomResourceDefinition"]
        first.append((KSERVE / "namespace.yaml").read_text("utf-8"))
        self.kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(first))
        until(self._definitions_are_established, "all definitions are established")
        rest = [each for kind, each in objects if kind in ("ConfigMap", "ClusterStorageContainer")]
        self.kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(rest))
        self.apply([self._by_url(yaml.safe_load(each)) for kind, each in objects if kind in WEBHOOK_KINDS])
        self.call("PATCH", CONFIG_PATH, yaml.safe_load((KSERVE / "patch-configmap.yaml").read_text("utf-8")), MERGE)

    def _definitions_are_established(self) -> bool:
        found = self.list("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
        held = [{each["type"]: each["status"] for each in one["status"].get("conditions") or []} for one in found]
        return all(conditions.get("Established") == "True" for conditions in held)

    def _by_url(self, configuration: dict[str, Any]) -> dict[str, Any]:
        """Webhooks that the API server calls by URL, since there is no network of pods."""
        bundle = base64.b64encode(self.certificate.read_bytes()).decode()
        for hook in configuration["webhooks"]:
            path = hook["clientConfig"].pop("service")["path"]
            hook["clientConfig"] = {"url": f"https://127.0.0.1:{self._ports['webhook']}{path}", "caBundle": bundle}
        configuration["metadata"] = {"name": configuration["metadata"]["name"]}
        return configuration

    def _kserve_controller(self) -> Program:
        environment = {
            "KUBECONFIG": str(self.kubeconfig),
            "POD_NAMESPACE": "kserve",
            "TMPDIR": str(self._folder / "tmp"),
            "HOME": str(self._folder),
        }
        line = [self._programs / "kserve-manager", "--metrics-addr=0", f"--webhook-port={self._ports['webhook']}"]
        line += [f"--health-probe-addr=127.0.0.1:{self._ports['health']}"]
        return Program(line, self._folder / "kserve.log", environment)

    def _start_kserve(self) -> None:
        self._kserve.start(lambda: answers(f"http://127.0.0.1:{self._ports['health']}/readyz"))

    def configure_kserve(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Merge changes into KServe's configuration, ``{"ingress": {"enableGatewayApi": True}}``, and restart it."""
        if self._change_config(changes):
            self._kserve.stop()
            self._start_kserve()

    def _change_config(self, changes: Mapping[str, Mapping[str, Any]]) -> bool:
        data = self.call("GET", CONFIG_PATH)["data"]
        after = {name: json.dumps({**json.loads(data[name]), **change}) for name, change in changes.items()}
        if all(json.loads(data[name]) == json.loads(value) for name, value in after.items()):
            return False
        self.call("PATCH", CONFIG_PATH, {"data": after}, MERGE)
        return True

    @contextmanager
    def gateway(self) -> Iterator[None]:
        """KServe with a gateway that splits traffic: it makes HTTPRoutes; without one, as on kind, it makes none."""
        before = json.loads(self.call("GET", CONFIG_PATH)["data"]["ingress"])
        self.configure_kserve({"ingress": GATEWAY})
        try:
            yield
        finally:
            self.configure_kserve({"ingress": before})

    # -- use --------------------------------------------------------------------------------------------------------

    def api(self, account: str = "") -> client.ApiClient:
        """A client: the administrator's, or that of a service account ``NAMESPACE/NAME``. Close it."""
        made = config.new_client_from_config(str(self.kubeconfig))
        if account:
            namespace, name = account.split("/")
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
            token = self.call("POST", path, body)["status"]["token"]
            made.configuration.refresh_api_key_hook = None  # it would bring the administrator back
            made.configuration.api_key["authorization"] = f"Bearer {token}"
        return made

    def call(self, method: str, path: str, body: Any = None, content: str = "application/json") -> dict[str, Any]:
        """One call of the API as the administrator.

        Raises:
            ApiException: It was refused.
        """
        if not hasattr(self, "_admin"):
            self._admin = self.api()
        headers = {"Accept": "application/json", "Content-Type": content}
        options = {"auth_settings": ["BearerToken"], "response_type": "object", "_return_http_data_only": True}
        found = self._admin.call_api(path, method, header_params=headers, body=body, _request_timeout=30, **options)
        return cast("dict[str, Any]", found)

    def get(self, path: str) -> dict[str, Any]:
        """An object, or nothing if it is not there."""
        try:
            return self.call("GET", path)
        except ApiException as error:
            if error.status == 404:
                return {}
            raise

    def list(self, path: str) -> list[dict[str, Any]]:
        """The objects of a collection."""
        return cast("list[dict[str, Any]]", self.call("GET", path)["items"])

    def kubectl(self, *words: object, stdin: str | None = None) -> str:
        """What kubectl prints; it fails with what kubectl said."""
        line = ["kubectl", f"--kubeconfig={self.kubeconfig}", *map(str, words)]
        done = subprocess.run(line, input=stdin, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, f"kubectl {' '.join(map(str, words))}: {done.stderr[-4000:]}"
        return done.stdout

    def apply(self, objects: Sequence[Mapping[str, Any]], *options: str) -> str:
        """Server-side apply."""
        return self.kubectl("apply", "--server-side", *options, "-f", "-", stdin=yaml.safe_dump_all(objects))

    def remove_namespace(self, name: str) -> None:
        """Delete a namespace and wait until nothing of it is left."""
        with suppress(ApiException):
            self.call("DELETE", f"/api/v1/namespaces/{name}")
        until(lambda: not self.get(f"/api/v1/namespaces/{name}"), f"namespace {name} is gone", timeout=120)

    @contextmanager
    def watching(self, path: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
        """What happens to the objects of a collection, as it happens: (``ADDED``, ..., the object).

        with cluster.watching("/api/v1/namespaces/shop/services") as seen: ...
        """
        seen: list[tuple[str, dict[str, Any]]] = []
        version = self.call("GET", path)["metadata"]["resourceVersion"]
        request = urllib.request.Request(f"{self.url}{path}?watch=1&resourceVersion={version}")
        request.add_header("Authorization", f"Bearer {self._token}")
        stream = urllib.request.urlopen(request, context=create_default_context(cafile=self.certificate))

        def read() -> None:
            with suppress(OSError, ValueError, AttributeError):  # closed under its hands at the end
                for line in stream:
                    event = json.loads(line)
                    seen.append((event["type"], event["object"]))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            with suppress(OSError):
                stream.fp.raw._sock.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            stream.close()


def answers(url: str, certificate: Path | None = None, token: str = "") -> bool:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    context = create_default_context(cafile=certificate) if certificate else None
    try:
        with urllib.request.urlopen(request, context=context, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _select(manifest: Path) -> list[tuple[str, str]]:
    """Kind and text of what the tests install of KServe's manifest, as text: it is 7 MB of YAML."""
    found = []
    for text in re.split(r"^---$", manifest.read_text(encoding="utf-8"), flags=re.MULTILINE):
        kind, name = re.search(r"^kind: (\S+)", text, re.MULTILINE), re.search(r"^  name: (\S+)", text, re.MULTILINE)
        if not kind or not name or "llm" in name[1] or "localmodel" in name[1]:
            continue
        if kind[1] in WEBHOOK_KINDS and KSERVE_WEBHOOKS in text:
            found.append((kind[1], text))
        if kind[1] in KSERVE_KINDS and (
            kind[1] != "CustomResourceDefinition" or name[1].endswith(".serving.kserve.io")
        ):
            found.append((kind[1], text))
    return found


def _open_definition(group_version: str, kind: str) -> dict[str, Any]:
    group, version = group_version.split("/")
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
