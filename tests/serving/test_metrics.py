from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, generate_latest

from serving.metrics import MetricsPage

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


def test_the_page_of_metrics_is_shown_again_for_a_moment_and_then_made_anew() -> None:
    now, registry = [0.0], CollectorRegistry()
    counter = Counter("asked", "x", registry=registry)
    page = MetricsPage(registry, 1.0, clock=lambda: now[0])
    first = page.content()
    counter.inc()
    assert page.content() is first
    now[0] = 1.0
    assert b"asked_total 1.0" in page.content()
