"""A text encoder on ONNX Runtime: a tokenizer and a graph, without torch.

>>> from fairtag.encoder.onnx import batches_by_length
>>> [rows.tolist() for rows in batches_by_length([3, 9, 4], batch_size=2)]
[[1, 2], [0]]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from fairtag.base.errors import ModelFolderMissing
from fairtag.base.text import normalise
from fairtag.encoder.encoder import TOKENIZER, EncoderDescription, Role, describe_encoder

INPUT_IDS, MASK, EMBEDDING = "input_ids", "attention_mask", "unit_row"  # names that no layer of a model has


class OnnxEncoder:
    """A :class:`~fairtag.encoder.encoder.TextEncoder` on one ONNX graph that pools and normalises itself.

    Several threads may call ``encode`` at once. A row depends on the other texts of its batch only through float32
    rounding (fp32) or through the batch's shared activation scale (int8).

    Args:
        path: Encoder folder.
        description: Its ``encoder.json``; read from the folder by default.
        file: Relative path of the graph; by default the one that serves.
        threads: Threads of one call.
    """

    def __init__(
        self, path: Path, description: EncoderDescription | None = None, *, file: str | None = None, threads: int = 1
    ) -> None:
        self.description = description or describe_encoder(path)
        graph = path / (file or self.description.onnx_file or "")
        for needed in (graph, path / TOKENIZER):
            if not needed.is_file():
                raise ModelFolderMissing(
                    f"{needed}: the file is missing from the encoder folder; export or copy the folder again"
                )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(path / TOKENIZER))
        self._tokenizer.enable_truncation(self.description.max_length)
        self._tokenizer.no_padding()
        self._prefixes = self.description.prefixes

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        return self.description.dimension

    def encode(self, texts: Sequence[str], role: Role, batch_size: int = 64) -> NDArray[np.float32]:
        """Embed texts of a role as (n, d) unit rows; texts of similar length share a batch, to save padding."""
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        encoded = [self.tokenise(text, role) for text in texts]
        for batch in batches_by_length([len(ids) for ids in encoded], batch_size):
            rows[batch] = self.encode_ids([encoded[row] for row in batch])
        return rows

    def tokenise(self, text: str, role: Role) -> list[int]:
        """Token ids of a normalised text after its role's prefix, cut to the encoder's length."""
        ids: list[int] = self._tokenizer.encode(self._prefixes.before(role) + normalise(text)).ids
        return ids

    def encode_ids(self, encoded: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Embed token ids as one padded batch (b, d)."""
        ids, mask = pad(encoded, self.description.pad_token_id)
        return cast(NDArray[np.float32], self._session.run([EMBEDDING], {INPUT_IDS: ids, MASK: mask})[0])


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers in batches of similar length, longest first."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    for start in range(0, len(order), max(batch_size, 1)):
        yield order[start : start + max(batch_size, 1)]


def pad(encoded: Sequence[Sequence[int]], pad_token_id: int, multiple: int = 1) -> tuple[NDArray[np.int64], ...]:
    """Ids and mask (batch, longest) of ragged token ids, the width rounded up to ``multiple``."""
    width = max((len(ids) for ids in encoded), default=1)
    width = -(-width // multiple) * multiple
    ids = np.full((len(encoded), width), pad_token_id, dtype=np.int64)
    mask = np.zeros((len(encoded), width), dtype=np.int64)
    for row, sequence in enumerate(encoded):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return ids, mask
