"""The encoder as everyone else meets it: texts in, unit rows out; how one is loaded.

Knows no training. The serving path through it imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import ConfigError, ModelFolderError
from fairtag.encoder.base_model import Role
from fairtag.encoder.folder import describe_encoder

Backend = Literal["auto", "onnx", "torch"]

TORCH_PACKAGES = ("torch", "transformers")  # what an encoder without an ONNX export runs on


@runtime_checkable
class TextEncoder(Protocol):
    """Anything that embeds texts as unit rows."""

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        ...

    def encode(self, texts: Sequence[str], role: Role, batch_size: int = 64) -> NDArray[np.float32]:
        """Embed texts of one role; an empty text has an embedding too, that of an empty sentence.

        Args:
            texts: Queries or items' texts.
            role: Which of both they are: encoders are taught with other words before a query than before an item.
            batch_size: Texts embedded together.

        Returns:
            (n, d) float32 rows of length 1, in the order of the texts.

        Raises:
            ConfigError: There is no such role.
        """
        ...


def load_encoder(path: Path, backend: Backend = "auto", threads: int = 1) -> TextEncoder:
    """Load the encoder of a folder.

    Args:
        path: Encoder folder.
        backend: ``auto`` takes what the folder recorded at export; ``onnx`` never imports torch.
        threads: CPU threads of one call.

    Raises:
        ModelFolderMissing: There is no encoder at the path.
        ModelFolderError: It runs on torch alone, and torch is not installed.
        ConfigError: The backend is unknown or the folder does not have it.
    """
    description = describe_encoder(path)
    if backend not in ("auto", "onnx", "torch"):
        raise ConfigError(f"encoder backend is {backend!r}; it may be auto, onnx or torch")
    if backend == "torch" or (backend == "auto" and description.onnx_file is None):
        return _load_torch(path, threads)
    if description.onnx_file is None:
        raise ConfigError(f"{path}: no ONNX export passed its fidelity gate; load with backend='torch'")
    from fairtag.encoder.onnx import OnnxEncoder

    return OnnxEncoder(path, description, threads=threads)


def _load_torch(path: Path, threads: int) -> TextEncoder:
    """The encoder on torch, which endpoints and monitors need not have."""
    try:
        from fairtag.encoder.model import TorchEncoder
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in TORCH_PACKAGES:
            raise
        raise ModelFolderError(
            f"{path}: this encoder has no ONNX export that serves, so it needs {missing}, which is not installed here; "
            "train it with the encoder setting export: auto, or install fairtag[train]"
        ) from error
    return TorchEncoder.load(path, threads=threads)
