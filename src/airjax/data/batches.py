"""Prepare images for a model: channels first, in batches of equal size."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, UInt8


def channels_first(
    images: UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"],
) -> UInt8[np.ndarray, "n c h w"]:
    """Convert images of scenes to channels first, as models use."""
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


def in_batches(
    function: Callable[[UInt8[Array, "b c h w"], int], dict[str, Array]],
    images: UInt8[np.ndarray, "n c h w"],
    batch: int,
) -> dict[str, np.ndarray]:
    """Apply `function(chunk, index)` to chunks of images, the last one padded so that one compilation serves all."""
    whole: dict[str, np.ndarray] = {}
    for index, start in enumerate(range(0, len(images), batch)):
        chunk = images[start : start + batch]
        padding = [(0, batch - len(chunk))] + [(0, 0)] * (images.ndim - 1)
        result = function(jax.device_put(np.pad(chunk, padding)), index)
        for name, value in result.items():
            rows = np.asarray(value)[: len(chunk)]
            if name not in whole:
                whole[name] = np.empty((len(images), *rows.shape[1:]), rows.dtype)
            whole[name][start : start + batch] = rows
    return whole
