"""Checks an overlay of ``k8s/`` before it is applied: what is left for a person to fill in, and what is not pinned."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fairtag.base.errors import ConfigError, UnavailableError
from pipelines.doctor import Check

WIDEST = {4: 16, 6: 48}  # shortest prefix of an address block that still names somebody's stores, by IP version
EXAMPLE = "example.com"  # of the hosts that the gateway's file holds until somebody sets theirs
DIGEST = "@sha256:"
LAPTOP = "kind"  # the overlay whose images are built and loaded on this machine, by tag


def overlay_checks(folder: Path) -> list[Check]:
    """All checks of an overlay.

    Raises:
        ConfigError: There is no such overlay.
        UnavailableError: Neither kubectl nor kustomize is installed.
    """
    return object_checks(build(folder), digests=folder.name != LAPTOP)


def build(folder: Path) -> list[dict[str, Any]]:
    """The objects of a kustomization."""
    if not (folder / "kustomization.yaml").is_file():
        raise ConfigError(f"--overlay {folder}: there is no kustomization.yaml; name a folder of k8s/overlays")
    tool = next((name for name in ("kubectl", "kustomize") if shutil.which(name)), None)
    if tool is None:
        raise UnavailableError("building an overlay needs kubectl or kustomize; install one")
    line = [tool, *(["kustomize"] if tool == "kubectl" else ["build"]), str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603 - a tool of our own choice
    if done.returncode:
        raise ConfigError(f"--overlay {folder}: {done.stderr.strip()[-300:]}")
    return [each for each in yaml.load_all(done.stdout, yaml.CBaseLoader) if each]  # texts: "=" is no type of ours


def object_checks(objects: Sequence[Mapping[str, Any]], *, digests: bool = True) -> list[Check]:
    """The checks of built objects: one for each address block, each host, and each image.

    Args:
        objects: As Kustomize builds them.
        digests: Whether each image must be named by digest.
    """
    blocks = sorted({(_name(each), block) for each in objects for block in _values(each, "cidr")})
    hosts = sorted({host for each in objects for host in _values(each, "hostname")})
    images = sorted({image for each in objects for image in _values(each, "image")})
    return [
        *(_address_check(name, block) for name, block in blocks),
        *(_host_check(host) for host in hosts),
        *(_image_check(image, digests) for image in images),
    ]


def _address_check(name: str, block: str) -> Check:
    fix = "write the addresses of your store, such as 10.20.30.0/28"
    try:
        network = ipaddress.ip_network(block)
    except ValueError:
        return Check(name, ok=False, found=block, needed=True, fix=fix)
    narrow = network.prefixlen >= WIDEST[network.version]
    return Check(name, ok=narrow, found=block, needed=True, fix=f"narrow it: {fix}")


def _host_check(host: str) -> Check:
    ours = not host.endswith(EXAMPLE)
    return Check("host", ok=ours, found=host, needed=True, fix="set your host in components/gateway")


def _image_check(image: str, needed: bool) -> Check:
    ours = image.startswith("fairtag/")
    fix = "`k8s/images.sh push` names it by digest" if ours else "`k8s/pin.sh images` names it by digest"
    return Check("image", ok=DIGEST in image, found=image, needed=needed, fix=fix)


def _name(document: Mapping[str, Any]) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def _values(node: Any, key: str) -> Iterator[str]:
    """Every text under a key, wherever it stands."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name == key and isinstance(value, str):
                yield value
            else:
                yield from _values(value, key)
    elif isinstance(node, list):
        for each in node:
            yield from _values(each, key)
