"""Checks whether a machine has what a run or a cluster needs."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from rich.console import Console
from rich.table import Table

from fairtag.base.errors import ConfigError

GIB = 2**30
PROCESSORS, MEMORY_GIB, DISK_GIB = 2, 6, 10  # the demo was measured on such a machine
CLUSTER_PROCESSORS, CLUSTER_MEMORY_GIB = 6, 14  # Kubeflow Pipelines, KServe and our own pods on one kind node
CLUSTER_DISK_GIB = 40  # our images, once as built and once in the node, and those of the platform
CLUSTERS = ("kind", "minikube")  # that k8s/kind.sh makes on this machine
LIVE = "live"
PACKAGES = {
    "pipelines": ("kfp", "kubernetes"),
    "data": ("feast", "great_expectations"),
    "train": ("torch", "transformers", "mlflow"),
    "serve": ("kserve", "onnxruntime"),
    "monitor": ("evidently", "datasketches"),
}
TOOLS = ("docker", "kubectl", "curl", "openssl", "sha256sum")  # beside the one that makes the cluster
PORTS = {8080: "REST", 8081: "gRPC"}
CLUSTER_PORTS = {8080: "the endpoint, forwarded", 8888: "Kubeflow Pipelines, forwarded"}


@dataclass(frozen=True)
class Check:
    """One thing a machine has or lacks.

    Args:
        name: What was checked.
        ok: Whether it is there.
        found: What was found.
        needed: Whether the local run or the cluster cannot do without it.
        fix: What to do if it is missing.
        command: A command that does it, to be copied.
    """

    name: str
    ok: bool
    found: str
    needed: bool
    fix: str = ""
    command: str = ""


def checks(cluster: str = "") -> list[Check]:
    """All checks of this machine, or of a cluster.

    Args:
        cluster: ``kind`` or ``minikube`` for what such a cluster needs of this machine; ``live`` for the cluster that
            kubectl talks to; empty for a local run.

    Raises:
        ConfigError: There is no such kind of cluster.
    """
    if cluster and cluster not in (*CLUSTERS, LIVE):
        raise ConfigError(f"--cluster {cluster!r} is refused; it must be one of {', '.join((*CLUSTERS, LIVE))}")
    if cluster == LIVE:
        from pipelines import live_cluster

        return live_cluster.checks()
    packages = [_packages(role, names) for role, names in PACKAGES.items()]
    return [_python(), *_machine(cluster), *packages, *_tools(cluster), *_ports(cluster)]


def show(found: Sequence[Check], console: Console) -> None:
    """Print the checks as a table, and below it the commands that mend what is missing."""
    table = Table(title="fairtag doctor", title_justify="left")
    for heading in ("check", "", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for check in found:
        mark = "[green]ok[/]" if check.ok else "[red]missing[/]" if check.needed else "[yellow]missing[/]"
        table.add_row(check.name, mark, check.found, "" if check.ok else check.fix)
    console.print(table)
    for command in (check.command for check in found if check.command):
        console.print(command, highlight=False, markup=False, soft_wrap=True)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("Python 3.11 to 3.13", (3, 11) <= sys.version_info[:2] <= (3, 13), version, True, "use Python 3.11")


def _machine(cluster: str) -> list[Check]:
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    disk, room = shutil.disk_usage(".").free / GIB, CLUSTER_DISK_GIB if cluster else DISK_GIB
    return [
        Check(f"{PROCESSORS} processors", processors >= PROCESSORS, str(processors), False, "a run takes longer"),
        Check(f"{MEMORY_GIB} GiB of memory", memory >= MEMORY_GIB, f"{memory:.1f} GiB", True, "use a larger machine"),
        Check(f"{room} GiB of free disk", disk >= room, f"{disk:.0f} GiB", True, "make room in this folder"),
        Check(
            f"a kind cluster: {CLUSTER_PROCESSORS} processors, {CLUSTER_MEMORY_GIB} GiB",
            processors >= CLUSTER_PROCESSORS and memory >= CLUSTER_MEMORY_GIB,
            f"{processors}, {memory:.1f} GiB",
            bool(cluster),
            "use a larger machine, or an existing cluster with `fairtag submit`",
        ),
    ]


def _packages(role: str, names: Sequence[str]) -> Check:
    missing = [name for name in names if find_spec(name) is None]
    torch = " and requirements/torch.txt" if role == "train" else ""
    fix = f"install requirements/{role}.txt{torch}, or all with `make install`"
    return Check(f"packages: {role}", not missing, f"no {', '.join(missing)}" if missing else "all", True, fix)


def _tools(cluster: str) -> list[Check]:
    paths = {tool: shutil.which(tool) for tool in (*TOOLS, cluster or CLUSTERS[0])}
    fix = "install it" if cluster else "only `make kind` needs it"
    return [Check(tool, path is not None, path or "not found", bool(cluster), fix) for tool, path in paths.items()]


def _ports(cluster: str) -> list[Check]:
    fix = "stop what listens there" if cluster else "`fairtag serve` takes --port and --grpc-port"
    return [
        Check(f"port {port} ({purpose})", free := _is_free(port), "free" if free else "in use", bool(cluster), fix)
        for port, purpose in (CLUSTER_PORTS if cluster else PORTS).items()
    ]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
