"""Named arrays on disk, without pickle: safetensors for numbers, JSON for the rest. Knows nothing of their meaning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from pricing.errors import BundleMissing
from pricing.files import read_json, write_atomic, write_json


def save_arrays(folder: Path, name: str, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write ``name.safetensors`` and ``name.json``; equal content gives equal bytes."""
    ordered = {key: np.ascontiguousarray(arrays[key]) for key in sorted(arrays)}
    write_atomic(folder / f"{name}.safetensors", lambda path: save_file(ordered, path))
    write_json(folder / f"{name}.json", dict(metadata))


def load_arrays(folder: Path, name: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what :func:`save_arrays` wrote.

    Raises:
        BundleMissing: One of the two files is absent.
    """
    for file in (folder / f"{name}.safetensors", folder / f"{name}.json"):
        if not file.is_file():
            raise BundleMissing(f"{file}: the bundle lacks it; fetch the bundle again")
    return load_file(folder / f"{name}.safetensors"), read_json(folder / f"{name}.json")
