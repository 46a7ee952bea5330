"""The image tower: pictures of items in, unit rows out, through any vision model of Hugging Face (SigLIP, CLIP, ViT).

It is off unless someone loads it: no training, model folder or page asks for a picture.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModel

from fairtag.base.errors import ConfigError, DataError
from fairtag.encoder.model import quiet

Picture = Path | str | Image.Image

_BLANK = Image.new("RGB", (8, 8))


@runtime_checkable
class ImageEncoder(Protocol):
    """Anything that embeds pictures as unit rows."""

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        ...

    def encode_images(self, images: Sequence[Picture], batch_size: int = 16) -> NDArray[np.float32]:
        """Embed pictures, given as files or as PIL images.

        Returns:
            (n, d) float32 rows of length 1, in the order of the pictures.
        """
        ...


class TorchImageEncoder:
    """An :class:`ImageEncoder` in torch.

    A model of two towers (CLIP, SigLIP) gives its image features, the side that its text features are compared with;
    a vision model alone gives its pooled output.

    Args:
        model: A Hugging Face model that takes ``pixel_values``.
        processor: Its image processor.
        device: Where the model runs.
    """

    def __init__(self, model: torch.nn.Module, processor: Any, *, device: str = "cpu") -> None:
        self.model: Any = model.to(device).eval()
        self.processor = processor
        self.device = device
        self._dimension = int(self._embed([_BLANK]).shape[1])  # families name it differently in their settings

    @classmethod
    def load(cls, name: str, *, device: str = "cpu") -> TorchImageEncoder:
        """Load a vision model: a directory or a hub id such as ``google/siglip-base-patch16-224``.

        Raises:
            ConfigError: The model cannot be had, with what to do about it; or it reads no pictures.
        """
        if not name.strip():
            raise ConfigError("the image encoder has no name; use a directory or a hub id")
        try:
            with quiet():
                library: Any = AutoImageProcessor  # its functions carry no types
                processor = library.from_pretrained(name, backend="pil")  # the default wants torchvision
                model: Any = AutoModel.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"image encoder {name!r} cannot be loaded: no directory with config, weights and image processor, "
                f"it is not in this machine's hub cache, and the hub was not reached. Give a directory; or run "
                f"`hf download {name}` on a connected machine and set HF_HOME to that cache."
            ) from error
        if getattr(model, "text_model", None) is not None:
            model.text_model = None  # half of the memory, and no text is read here
        return cls(model, processor, device=device)

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        return self._dimension

    def encode_images(self, images: Sequence[Picture], batch_size: int = 16) -> NDArray[np.float32]:
        """Embed pictures as (n, d) unit rows; a batch of them is open at a time.

        Raises:
            DataError: A file is missing, is no picture, is cut off, or is too large to unpack safely.
        """
        rows = np.zeros((len(images), self.dimension), dtype=np.float32)
        size = max(batch_size, 1)
        for start in range(0, len(images), size):
            rows[start : start + size] = self._embed([open_picture(image) for image in images[start : start + size]])
        return rows

    def _embed(self, pictures: list[Image.Image]) -> NDArray[np.float32]:
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"].to(self.device)
        with torch.inference_mode():
            features = self._features(pixels.to(next(self.model.parameters()).dtype))
        rows: NDArray[np.float32] = functional.normalize(features.float(), dim=-1).cpu().numpy()
        return rows

    def _features(self, pixels: Tensor) -> Tensor:
        both = hasattr(self.model, "get_image_features")
        answer = self.model.get_image_features(pixel_values=pixels) if both else self.model(pixel_values=pixels)
        pooled: Tensor | None = getattr(answer, "pooler_output", None)
        return answer.last_hidden_state[:, 0] if pooled is None else pooled


def open_picture(picture: Picture) -> Image.Image:
    """A picture as a viewer shows it: upright, in RGB, what is transparent on white.

    Raises:
        DataError: A file is missing, is no picture, is cut off, or is too large to unpack safely.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if isinstance(picture, Image.Image):
                return _shown(picture)
            with Image.open(picture) as file:
                return _shown(file)
    except (OSError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{picture}: this picture cannot be read ({error}); give a JPEG, PNG or WebP file of at most "
            f"{Image.MAX_IMAGE_PIXELS or 0:,} pixels"
        ) from error


def _shown(picture: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(picture)
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    alpha = upright.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", alpha.size, "white"), alpha).convert("RGB")
