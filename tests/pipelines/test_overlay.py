"""An overlay that still waits for somebody's addresses is named, and so is what is not pinned."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fairtag.base.errors import ConfigError
from pipelines.cli import main
from pipelines.overlay import object_checks, overlay_checks

ROOT = Path(__file__).parents[2]
needs_kustomize = pytest.mark.skipif(
    not (shutil.which("kubectl") or shutil.which("kustomize")), reason="neither kubectl nor kustomize is installed"
)


def policy(block: str) -> dict[str, Any]:
    return {
        "kind": "NetworkPolicy",
        "metadata": {"name": "redis-outside"},
        "spec": {"egress": [{"to": [{"ipBlock": {"cidr": block}}]}]},
    }


@pytest.mark.parametrize(
    ("block", "ok"),
    [
        ("10.20.30.0/28", True),
        ("10.20.0.0/16", True),
        ("fd00:1::/64", True),
        ("ADDRESSES-OF-YOUR-REDIS", False),
        ("10.0.0.0/8", False),
        ("0.0.0.0/0", False),
        ("::/0", False),
    ],
)
def test_an_address_block_must_be_somebodys_and_narrow(block: str, ok: bool) -> None:
    (check,) = object_checks([policy(block)])
    assert (check.ok, check.needed, check.found) == (ok, True, block)
    assert check.name == "NetworkPolicy redis-outside"


def test_an_image_by_tag_is_named_and_one_by_digest_passes() -> None:
    pod = {
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"image": "a:1"}, {"image": "b@sha256:1"}]},
    }
    found = [(check.found, check.ok, check.needed) for check in object_checks([pod])]
    assert found == [("a:1", False, True), ("b@sha256:1", True, True)]
    assert not any(check.needed for check in object_checks([pod], digests=False))


@needs_kustomize
def test_production_cannot_be_taken_for_ready_before_its_addresses_are_set(capsys: pytest.CaptureFixture[str]) -> None:
    found = overlay_checks(ROOT / "k8s" / "overlays" / "production")
    left = {check.found for check in found if check.needed and not check.ok}
    assert left == {
        "ADDRESSES-OF-YOUR-REDIS",
        "ADDRESSES-OF-YOUR-POSTGRESQL",
        "ADDRESSES-OF-YOUR-OBJECT-STORE",
        "*.prices.example.com",
        *(f"fairtag/{role}-python:0.1.0" for role in ("monitor", "serve", "train")),
    }
    assert main(["doctor", "--overlay", str(ROOT / "k8s" / "overlays" / "production")]) == 1
    assert "ADDRESSES-OF-YOUR-" in capsys.readouterr().out


@needs_kustomize
def test_the_laptop_overlay_leaves_nothing_open() -> None:
    assert all(check.ok or not check.needed for check in overlay_checks(ROOT / "k8s" / "overlays" / "kind"))


def test_a_folder_that_is_no_overlay_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name a folder of k8s/overlays"):
        overlay_checks(tmp_path)
