"""A linear background: factor analysis behind objects."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, UInt8

from airjax.models.backgrounds.base import STARTERS, Layers
from airjax.models.backgrounds.weighted import CLEAN, LOOKS, OUTLIER, Weighted, code_precision, inverse_root
from airjax.models.likelihood import NormalLikelihood

REFITS = 4
"""Rounds in which components are fitted again without the pixels that they explain badly."""


class LinearBackground(Weighted):
    """A mean picture plus a few components: factor analysis behind objects.

    Each scene has its own weights of the components, and so has each of its channels.

    Background = mean + code @ components, code ~ N(0, 1). Few components, each of which spans the canvas, can draw
    stripes or smooth textures, but no object. They are the principal components of the scenes' channels:
    `init_from_data` finds them, and training keeps them. Gradient steps of a size that suits networks would scramble
    them before any object is found.

    Given objects, and normal noise on every pixel, the posterior of the code is a Gaussian, and the code can be
    integrated out in closed form. So the background is inferred without a network, from the pixels that the objects
    leave uncovered (as in factor analysis: Rubin & Thayer, 1982). But pixels of objects that are not found yet would
    pull the posterior's mean towards them: the background would draw half of an object, and the object would never be
    found. So the mean is that of a robust regression, which ignores pixels whose errors are larger than `outlier`.

    With B the components times the objects' transmittance, P = 1 + B B' / s^2. The bound of `explain` is exact at the
    posterior's mean, where it is stationary in a; so it is exact if `outlier` is infinite.
    """

    outlier: float = eqx.field(static=True)

    def __init__(self, shape: tuple[int, int, int], *, components: int, outlier: float = OUTLIER):
        """Make the model for images of `shape`, with `components` for each channel; black before `init_from_data`."""
        self.mean = jnp.zeros(shape)
        self.components = jnp.zeros((components, shape[1] * shape[2]))
        self.outlier = outlier

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "LinearBackground":
        """Start from robust principal components of the scenes' channels, which ignore the objects."""
        channels, height, width = self.mean.shape
        pixels = images[: STARTERS // channels].astype(np.float32) / 255.0
        middle = np.median(pixels, axis=0)
        rows = (pixels - middle).reshape(-1, height * width)
        mean, components, spread = robust_components(rows, len(self.components), self.outlier)
        new = (middle + mean.reshape(height, width), components * spread[:, None])
        parts = lambda g: (g.mean, g.components)
        return eqx.tree_at(parts, self, tuple(jnp.asarray(part, jnp.float32) for part in new))

    def _posterior(self, image, objects, precision, previous):
        del previous
        channels, components = len(self.mean), jax.lax.stop_gradient(self.components)
        transmittance = None if objects.transmittance is None else objects.transmittance.reshape(-1)
        root, log_det = inverse_root(code_precision(components, transmittance, precision))
        residual = (image - self.lay(jnp.zeros(self.code_size), objects)).reshape(channels, -1)
        given = residual, components, transmittance, root, precision
        return _robust_code(*jax.lax.stop_gradient(given), self.outlier).reshape(-1), log_det


def linear_backgrounds(images: Float32[np.ndarray, "n h w c"], components: int) -> Float32[np.ndarray, "n h w c"]:
    """Fit a linear background to images, and return the background of each; no model is needed."""
    pixels = np.moveaxis(images, -1, 1)
    background = LinearBackground(pixels.shape[1:], components=components).init_from_data(
        np.rint(255 * pixels).astype(np.uint8)
    )
    nothing, likelihood = Layers(jnp.zeros(pixels.shape[1:]), None), NormalLikelihood(CLEAN**-0.5)
    explain = jax.jit(lambda background, image: background.explain(image, nothing, likelihood).canvas)
    return np.moveaxis(np.stack([explain(background, image) for image in pixels]), 1, -1)


def _robust_code(residual, components, transmittance, root, precision, outlier):
    """Explain the residual of some channels by components, but for pixels that they explain badly in some channel.

    Every round replaces these pixels by the last round's fit, and finds the mean of the code's posterior.
    """
    code, transmittance = jnp.zeros((len(residual), len(components))), 1.0 if transmittance is None else transmittance
    for _ in range(LOOKS):
        drawn = transmittance * (code @ components)
        error = residual - drawn
        trusted = jnp.exp(-0.5 * jnp.max(error**2, axis=0) / outlier**2)
        seen = (transmittance * (drawn + trusted * error)) @ components.T
        code = precision * seen @ root.T @ root
    return code


def robust_components(
    rows: Float[np.ndarray, "n pixels"], size: int, outlier: float = OUTLIER
) -> tuple[Float[np.ndarray, " pixels"], Float[np.ndarray, "d pixels"], Float[np.ndarray, " d"]]:
    """Find mean, leading principal components and their spread, ignoring outliers.

    Pixels far from the fit are replaced by it, the more the farther they are. Then components are fitted again.
    """
    mean, components, spread = _principal(rows, size)
    for _ in range(REFITS):
        fit = mean + np.asarray(_fit(rows - mean, components * spread[:, None], outlier))
        error = rows - fit
        mean, components, spread = _principal(fit + error * np.exp(-0.5 * (error / outlier) ** 2), size)
    return mean, components, spread


@jax.jit
def _fit(rows, components, outlier):
    """Fit every row by components, robustly."""
    root, _ = inverse_root(code_precision(components, None, CLEAN))
    code = lambda row: _robust_code(row[None], components, None, root, CLEAN, outlier)[0]
    return jax.vmap(code)(rows) @ components


def _principal(rows, size):
    mean = rows.mean(axis=0)
    centred = rows - mean
    values, vectors = np.linalg.eigh(centred @ centred.T)  # of scenes by scenes, fewer than pixels
    absent = 0, max(0, size - len(rows))  # too few scenes: the other components are zeros
    spread = np.sqrt(np.maximum(np.pad(values[::-1][:size], absent), 1e-6))
    leading = np.pad(vectors[:, ::-1][:, :size], [(0, 0), absent])
    return mean, (centred.T @ leading / spread).T, spread / np.sqrt(len(rows))
