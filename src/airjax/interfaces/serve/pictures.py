"""Arrays in JSON answers: shape, type and base64 bytes."""

import base64
from typing import Any

import numpy as np
from jaxtyping import Float, Int8, UInt8


def as_bytes(values: Float[np.ndarray, "c h w"]) -> UInt8[np.ndarray, "c h w"]:
    """Convert values from 0 to 1 into bytes."""
    return np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)


def picture(values: Float[np.ndarray, "c h w"]) -> dict[str, Any]:
    """Encode values from 0 to 1."""
    return encoded(as_bytes(values))


def signed(values: Float[np.ndarray, "c h w"]) -> dict[str, Any]:
    """Encode values from -1 to 1: 127 is 1."""
    return encoded(np.rint(np.clip(values, -1.0, 1.0) * 127.0).astype(np.int8))


def encoded(pixels: UInt8[np.ndarray, "c h w"] | Int8[np.ndarray, "c h w"]) -> dict[str, Any]:
    """Encode bytes."""
    return {"shape": pixels.shape, "type": str(pixels.dtype), "data": base64.b64encode(pixels.tobytes()).decode()}
