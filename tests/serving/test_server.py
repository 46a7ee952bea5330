"""The server's own life: it ends where the model under it was edited."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from fairtag.base.errors import DigestMismatch, exit_code


def test_an_edit_of_the_served_models_files_stops_the_endpoint(
    serve: Callable[..., Any], handmade: ModuleType, until: Callable[..., None]
) -> None:
    core = handmade.HandMadeCore()

    def serve_and_edit() -> None:
        with serve(core=core, seal_seconds=0.05, drain_seconds=60.0) as running:
            assert running.page()["items"]
            core.edited = "embeddings.npy"
            until(lambda: not any(thread.name == "serving" for thread in threading.enumerate()))

    with pytest.raises(DigestMismatch, match=r"embeddings\.npy was edited while the model was served") as ended:
        serve_and_edit()
    assert exit_code(ended.value) == 6
