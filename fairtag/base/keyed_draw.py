"""Random numbers that are a function of a key: whoever has the key repeats the draw, and nobody else foretells it.

>>> uniform(("customer-7", "mug", 20500), "explore") == uniform(("customer-7", "mug", 20500), "explore")
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNIT: Final = 2.0**-53  # a uniform float64 has 53 random bits


def uniform(key: Sequence[str | int], purpose: str, secret: bytes = b"") -> float:
    """A uniform number in [0, 1): the first 53 bits of the SHA-256 of a key.

    Parts are hashed with their lengths, so that ("ab", "c") and ("a", "bc") are different keys.

    Args:
        key: What the draw depends on.
        purpose: Makes draws of one key for different ends independent.
        secret: Keys the draw.
    """
    return float(uniforms([key], purpose, secret)[0])


def uniforms(keys: Sequence[Sequence[str | int]], purpose: str, secret: bytes = b"") -> Floats:
    """:func:`uniform` of each key, shape (n,); parts that keys share are encoded once."""
    head, encoded = secret + _encoded(purpose), {part: _encoded(str(part)) for part in set().union(*keys)}
    texts = [head + b"".join([encoded[part] for part in key]) for key in keys]
    bits = [int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 11 for text in texts]
    return np.array(bits, dtype=np.float64) * UNIT


def _encoded(part: str) -> bytes:
    text = part.encode()
    return b"%d:%b" % (len(text), text)
