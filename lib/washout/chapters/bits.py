"""Which images a row is right about, one bit an image."""

from __future__ import annotations

import base64

import numpy as np
from torch import Tensor


def packed(bits: Tensor) -> str:
    """One bit an image, so that any two rows can be compared image by image later."""
    return base64.b64encode(np.packbits(bits.numpy()).tobytes()).decode()


def unpacked(text: str, n: int) -> np.ndarray:
    """What ``packed`` was given, (n,) bool."""
    raw = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
    return np.unpackbits(raw, count=n).astype(bool)


def packed_floats(values: Tensor) -> str:
    """(n,) numbers in half precision."""
    return base64.b64encode(values.numpy().astype("<f2").tobytes()).decode()


def unpacked_floats(text: str) -> np.ndarray:
    """What ``packed_floats`` was given, to three digits, (n,) float."""
    return np.frombuffer(base64.b64decode(text), dtype="<f2").astype(float)
