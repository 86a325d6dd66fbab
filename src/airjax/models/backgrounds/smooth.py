"""A smooth background: one picture in light that varies from scene to scene."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from airjax.common_values import common_picture
from airjax.models.backgrounds.weighted import CLEAN, LOOKS, OUTLIER, Weighted, code_precision, inverse_root

STARTERS = 300
"""Largest number of scenes from which a smooth background is initialised."""

DEGREE = 2
"""Degree of the polynomials."""

OUTLIER_SDS, OUTLIERS, FIRST = 4.0, (0.02, 0.1), 0.04
"""Error from which on a pixel counts as an object's: in standard deviations of the noise; its least and largest value;
its value before the noise is known."""

WIDEST, NEAR = 8.0, 2.0
"""Factors on that error in the first round of a fit that starts from the mean picture, or from the common level."""

ROUNDS = 3
"""Number of times that fields, mean picture and noise are estimated, each from the others."""

GRID = 64
"""Rows and columns of pixels that a field is fitted to, about: it is too smooth to need more."""

LEVELS, SOME = 41, 1_000
"""Number of levels of which the most common one is chosen, and number of pixels that it is chosen by."""

LEAST_SPREAD = 0.01
"""Least spread of a field's weights."""


class SmoothBackground(Weighted):
    """A mean picture plus a smooth field for each scene and channel, such as uneven light.

    The field is a polynomial of degree `DEGREE` in x and y, too smooth to draw objects. Its code ~ N(0, 1) is inferred
    once for a scene, before any object is found, by a robust regression, which ignores the pixels that stand out. So
    a step of inference costs no more than without it. The code's precision P (see `explain`) is that of a scene
    without objects; objects only lower it, so the bound also holds with them.
    """

    outlier: Float[Array, ""]

    def __init__(self, shape: tuple[int, int, int]):
        """Make the model for images of `shape`; black before `init_from_data`."""
        self.mean = jnp.zeros(shape)
        self.components = jnp.asarray(_polynomials(*shape[1:]))
        self.outlier = jnp.asarray(OUTLIER, jnp.float32)

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "SmoothBackground":
        """Start from the most common picture, and measure the spread of the fields around it and the noise on them."""
        pixels = images[:STARTERS].astype(np.float32) / 255.0
        wide = _polynomials(*self.mean.shape[1:])
        # At first, neither the noise nor the mean picture without the fields is known.
        codes, fields = _fields(pixels, common_picture(pixels), wide, np.float32(FIRST))  # typed, as those below are
        mean, outlier = _without_fields(pixels, fields, FIRST)
        for _ in range(ROUNDS - 1):
            codes, fields = _fields(pixels, mean, wide, outlier)
            mean, outlier = _without_fields(pixels, fields, outlier)
        spread = np.maximum(1.4826 * np.median(np.abs(np.asarray(codes)), axis=(0, 1)), LEAST_SPREAD)
        new = mean, wide * spread[:, None], outlier
        parts = lambda b: (b.mean, b.components, b.outlier)
        return eqx.tree_at(parts, self, tuple(jnp.asarray(part, jnp.float32) for part in new))

    def _posterior(self, image, objects, precision, previous):
        del objects
        mean, components, outlier = jax.lax.stop_gradient((self.mean, self.components, self.outlier))
        code = _field(image - mean, components, outlier).reshape(-1) if previous is None else previous.code
        return jax.lax.stop_gradient(code), inverse_root(code_precision(components, None, precision))[1]


def smooth_backgrounds(
    images: Float32[np.ndarray, "n h w c"], learnt: Float32[np.ndarray, "m h w c"]
) -> Float32[np.ndarray, "n h w c"]:
    """Fit a smooth background to images, with the mean picture of others; no trained model is needed."""
    to_bytes = lambda x: np.rint(255 * np.moveaxis(x, -1, 1)).astype(np.uint8)
    pixels = np.moveaxis(images, -1, 1)
    background = SmoothBackground(pixels.shape[1:]).init_from_data(to_bytes(learnt))
    _, fields = _fields(pixels, background.mean, background.components, background.outlier)
    return np.moveaxis(np.asarray(background.mean + fields), 1, -1)


def _polynomials(height: int, width: int) -> Float32[np.ndarray, "k pixels"]:
    """Make products of Legendre polynomials in x and y, of degree up to `DEGREE`, over the pixels of an image."""
    centres = [(2 * np.arange(size) + 1) / size - 1 for size in (height, width)]
    along_y, along_x = (np.polynomial.legendre.legvander(axis, DEGREE).T for axis in centres)
    pairs = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
    return np.stack([np.outer(along_y[i], along_x[j]).reshape(-1) for i, j in pairs]).astype(np.float32)


def _field(residual, components, outlier):
    """Fit components to each channel of a residual, except pixels that stand out in any channel.

    Weighted least squares, again and again; a pixel's weight falls with its error in the last fit. At first, larger
    errors are tolerated, so that a scene that is much lighter or darker than the mean is still fitted.
    """
    every = max(1, min(residual.shape[1:]) // GRID)
    rows = residual[:, ::every, ::every].reshape(len(residual), -1)
    components = components.reshape(-1, *residual.shape[1:])[:, ::every, ::every].reshape(len(components), -1)
    starts = jnp.stack([jnp.zeros(len(rows)), _common_level(rows)])
    fit = lambda start, widest: _fit(rows, start[:, None], widest, components, outlier)
    codes, clean = jax.vmap(fit)(starts, jnp.array([WIDEST, NEAR]))
    return codes[jnp.argmax(clean)]


def _fit(rows, field, widest, components, outlier):
    """Fit components to rows, beginning with a field: their code, and the number of pixels that it explains."""
    code = jnp.zeros((len(rows), len(components)))
    for share in np.linspace(1.0, 0.0, LOOKS):
        weights = _clean(rows - field, outlier * widest**share)
        root, _ = inverse_root(code_precision(components, jnp.sqrt(weights), CLEAN))
        code = CLEAN * (weights * rows) @ components.T @ root.T @ root
        field = code @ components
    return code, jnp.sum(_clean(rows - field, outlier))


def _clean(error, outlier):
    """Weigh each pixel by how likely it shows the background in every channel, given its errors."""
    return jnp.exp(-0.5 * jnp.max(jnp.abs(error), axis=0) ** 2 / outlier**2)


def _common_level(rows):
    """Find the most common value of each channel, for values in [-1, 1]."""
    levels = jnp.linspace(-1.0, 1.0, LEVELS)
    some = rows[:, :: max(1, rows.shape[1] // SOME)]
    near = jnp.exp(-0.5 * ((some[:, None] - levels[:, None]) * LEVELS / 2) ** 2)
    return levels[jnp.argmax(jnp.sum(near, axis=2), axis=1)]


def _without_fields(pixels, fields, outlier):
    """Find the mean picture that fields are added to, and, from its previous value, the error of an outlier."""
    left = pixels - np.asarray(fields)
    mean = common_picture(left)
    error = np.moveaxis(left - mean, 1, 0)
    weights = np.exp(-0.5 * np.max(np.abs(error), axis=0) ** 2 / outlier**2)
    noise = np.sqrt(np.mean(weights * error**2) / np.mean(weights))
    return mean, np.clip(OUTLIER_SDS * noise, *OUTLIERS)


@jax.jit
def _fields(pixels, mean, components, outlier):
    """Fit the field of every image: codes and fields."""
    codes = jax.lax.map(lambda image: _field(image - mean, components, outlier), pixels)
    return codes, (codes @ components).reshape(pixels.shape)
