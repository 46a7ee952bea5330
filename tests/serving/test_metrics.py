from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest

BOARD = Path(__file__).parents[2] / "k8s" / "base" / "monitoring" / "fairtag.json"


def test_every_figure_of_the_board_is_one_that_the_endpoint_or_the_monitors_export(serve: Callable[..., Any]) -> None:
    asked = set(
        re.findall(
            r"fairtag_\w+", json.dumps([panel.get("targets") for panel in json.loads(BOARD.read_text())["panels"]])
        )
    )
    with serve() as running:
        text = generate_latest(running.assembly.metrics.registry).decode()
    families = re.findall(r"^# TYPE (\w+) (\w+)", text, re.MULTILINE)
    ends = {"counter": ("",), "gauge": ("",), "histogram": ("", "_bucket", "_sum", "_count")}
    exported = {name + end for name, kind in families for end in ends[kind]}
    assert {name for name in asked if not name.startswith("fairtag_monitoring_")} <= exported
    assert len(asked) > 8
