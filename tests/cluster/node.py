"""A cluster of one node that really runs pods: the tests' control plane, a scheduler, containerd, kubelet, proxy, DNS.

``node.sh`` starts it in namespaces of its own: ``python node.py PROGRAMS FOLDER``. It is up when FOLDER/ready is there,
and goes at a signal. Images come from archives of ``docker save`` in FOLDER/images: no registry is asked.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from control_plane import ControlPlane, until

ADDRESS = "172.30.0.2"  # the node's, on a link that leads nowhere
DNS = "169.254.20.10"  # where a cache on each node usually listens; k8s/base/common lets pods ask there
PODS, SERVICES = "10.244.0.0/24", "10.96.0.0/16"
NODE = "node-1"
PAUSE = "fairtag.io/pause:1"
PLUGINS = "/usr/lib/cni"  # Debian's
VOLUMES = 8
WRITTEN = ("/run", "/var/lib", "/var/log", "/usr/libexec")


class Node(ControlPlane):
    """A control plane with one node.

    Args:
        programs: Folder that ``build.sh node`` printed.
        folder: Where data, certificates, logs and the node's volumes go; a short path, as sockets lie in it.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        super().__init__(programs, folder, address=ADDRESS)
        self._containerd = folder / "containerd.sock"

    def start(self) -> None:
        """Start everything, load the images and wait until the node is ready."""
        _cover_folders()
        _make_link()
        super().start()
        self._start_scheduler()
        self._start_containerd()
        self._load_images()
        self._start_dns()
        self._start_proxy()
        self._start_kubelet()
        self._start_firewall()
        self.apply([_volume(self._folder, number) for number in range(VOLUMES)])
        until(self._is_ready, "the node is ready", timeout=180)

    def _api_server_flags(self) -> dict[str, object]:
        changed = {
            "allow-privileged": "true",
            "endpoint-reconciler-type": "lease",
            "kubelet-preferred-address-types": "InternalIP",
        }
        return {**super()._api_server_flags(), **changed}

    def _controllers(self) -> str:
        return "*"

    def _start_scheduler(self) -> None:
        line = [self._programs / "kube-scheduler", f"--kubeconfig={self.kubeconfig}", "--leader-elect=false"]
        self._run("scheduler", line, lambda: True)

    def _start_containerd(self) -> None:
        networks = self._folder / "networks"
        networks.mkdir()
        (networks / "10-pods.conflist").write_text(json.dumps(_network()), encoding="utf-8")
        config = self._folder / "containerd.toml"
        config.write_text(_containerd_config(self._folder, networks), encoding="utf-8")
        self._run("containerd", ["containerd", "--config", config], self._ctr_answers)

    def _ctr(self, *words: object) -> subprocess.CompletedProcess[str]:
        line = ["ctr", "--address", self._containerd, "--namespace", "k8s.io", *words]
        return subprocess.run([str(word) for word in line], capture_output=True, text=True, check=False)

    def _ctr_answers(self) -> bool:
        return self._ctr("images", "list", "--quiet").returncode == 0

    def _load_images(self) -> None:
        for archive in sorted((self._folder / "images").glob("*.tar")):
            done = self._ctr("images", "import", archive)
            assert done.returncode == 0, f"{archive.name}: {done.stderr}"
            archive.unlink()  # containerd holds it now

    def _start_dns(self) -> None:
        file = self._folder / "Corefile"
        cluster = f"kubernetes cluster.local {{\n kubeconfig {self.kubeconfig} tests\n}}"
        text = f".:53 {{\nbind {DNS}\nerrors\n{cluster}\n}}\n"
        file.write_text(text, encoding="utf-8")
        self._run("dns", [self._programs / "coredns", "-conf", file], lambda: True)
        names = self._folder / "resolv.conf"  # commands in these namespaces find Services as pods do
        names.write_text(
            f"nameserver {DNS}\nsearch svc.cluster.local cluster.local\noptions ndots:5\n", encoding="utf-8"
        )
        subprocess.run(["mount", "--bind", names, "/etc/resolv.conf"], check=True)

    def _start_proxy(self) -> None:
        config = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self.kubeconfig)},
            "mode": "iptables",
            "clusterCIDR": PODS,
            "hostnameOverride": NODE,
            "oomScoreAdj": 0,
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
        self._run("proxy", [self._programs / "kube-proxy", f"--config={self._written('proxy', config)}"], lambda: True)

    def _start_firewall(self) -> None:
        """What enforces network policies."""
        off = ("run-router", "run-service-proxy", "run-loadbalancer")
        flags = {"run-firewall": "true", **dict.fromkeys(off, "false"), "kubeconfig": str(self.kubeconfig)}
        flags |= {"hostname-override": NODE, "service-cluster-ip-range": SERVICES}
        line = [self._programs / "kube-router", *(f"--{name}={value}" for name, value in flags.items())]
        self._run("firewall", line, lambda: True)

    def _start_kubelet(self) -> None:
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},  # nobody else reaches this network
            "clusterDNS": [DNS],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": f"unix://{self._containerd}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "maxPods": 60,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "podLogsDir": str(self._folder / "pods"),
            "volumePluginDir": str(self._folder / "plugins"),
        }
        line = [self._programs / "kubelet", f"--config={self._written('kubelet', config)}"]
        line += [f"--kubeconfig={self.kubeconfig}", f"--hostname-override={NODE}", f"--node-ip={ADDRESS}"]
        line += [f"--root-dir={self._folder / 'kubelet'}", "--cert-dir", self._folder / "kubelet-certificates"]
        self._run("kubelet", line, lambda: self.get(f"/api/v1/nodes/{NODE}") != {})

    def _written(self, name: str, config: Mapping[str, Any]) -> Path:
        file = self._folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        return file

    def _is_ready(self) -> bool:
        conditions = self.get(f"/api/v1/nodes/{NODE}").get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _cover_folders() -> None:
    """Give these namespaces empty folders where the programs write beside the node's own, so that nothing stays."""
    for each in WRITTEN:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", each], check=True)


def _make_link() -> None:
    """A link with the node's address and DNS's; its other end is in the same namespace, so that it leads nowhere."""
    for line in (
        "ip link set lo up",
        "ip link add node0 type veth peer name node1",
        f"ip address add {ADDRESS}/24 dev node0",
        f"ip address add {DNS}/32 dev node0",
        "ip link set node0 up",
        "ip link set node1 up",
        "ip route add default dev node0",  # the kernel asks for a route before the proxy rewrites a Service's address
        "sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1",
    ):
        subprocess.run(line.split(), check=True)


def _network() -> dict[str, Any]:
    addresses = {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "ipMasq": False, "hairpinMode": True}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [{**bridge, "ipam": addresses}]}


def _containerd_config(folder: Path, networks: Path) -> str:
    return f"""version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{networks}"
"""


def _volume(folder: Path, number: int) -> dict[str, Any]:
    """A folder of this machine as a volume, for whoever claims one."""
    path = folder / "volumes" / str(number)
    path.mkdir(parents=True)
    on_this_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"disk-{number}"},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_this_node]}]}},
        },
    }


def main(programs: Path, folder: Path) -> None:
    """Run the cluster until a signal ends it."""
    node = Node(programs, folder)
    try:
        node.start()
        node.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeflow"}}])
        (folder / "ready").touch()
        print(f"KUBECONFIG={node.kubeconfig}", flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    finally:
        node.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main(Path(sys.argv[1]), Path(sys.argv[2]))
