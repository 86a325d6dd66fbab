"""What lies behind the objects: models of the background, too poor to draw objects themselves."""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from airjax.layers import Normal
from airjax.patches.base import Code, gaussian_code

STARTERS = 1_000
"""Scenes from which a ground takes its start, at most."""

REFITS = 4
"""Times that the components of a linear ground are fitted anew without the pixels that they explain badly."""

LOOKS = 4
"""Times that its code is refined without those pixels."""

OUTLIER = 0.2
"""Error of a pixel, of 1, about which it counts as part of an object rather than of the ground."""


@runtime_checkable
class Ground(Protocol):
    """A generative model p(ground) of the canvas before any object, with its inference network q(ground | x).

    Implementations are Equinox modules and act on one image.
    """

    @property
    def code_size(self) -> int:
        """The number of dimensions of the latent code; 0: every scene has the same ground."""
        ...

    def start(self, images: UInt8[np.ndarray, "n c h w"]) -> "Ground":
        """Take the start of training from what training scenes have in common."""
        ...

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw a code from its prior."""
        ...

    def encode(self, image: Float[Array, "c h w"], noise: Float[Array, " d"], *, pathwise: bool = True) -> Code:
        """Infer the ground's code: shape standard normal `noise`, of which zeros give the mean.

        Without `pathwise`, no gradient flows through the sample.
        """
        ...

    def decode(self, code: Float[Array, " d"]) -> Float[Array, "c h w"]:
        """Draw the ground that a code describes."""
        ...


class _Uncoded(eqx.Module):
    """What grounds without a latent share."""

    @property
    def code_size(self) -> int:
        """No dimensions."""
        return 0

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, "0"]:
        """Return the empty code."""
        del key
        return jnp.zeros(0)

    def encode(self, image: Float[Array, "c h w"], noise: Float[Array, "0"], *, pathwise: bool = True) -> Code:
        """Return the empty code, which costs nothing."""
        del image, pathwise
        return Code(noise, jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))


class BlackGround(_Uncoded):
    """Nothing but black (the paper)."""

    shape: tuple[int, int, int] = eqx.field(static=True)

    def start(self, images: UInt8[np.ndarray, "n c h w"]) -> "BlackGround":
        """Return the same ground."""
        del images
        return self

    def decode(self, code: Float[Array, "0"]) -> Float[Array, "c h w"]:
        """Draw black."""
        del code
        return jnp.zeros(self.shape)


class StillGround(_Uncoded):
    """One colour, or one picture, behind every scene, which is learned."""

    image: Float[Array, "c rows columns"]
    shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(self, shape: tuple[int, int, int], *, uniform: bool):
        """Start from black, for images of `shape`; `uniform`: the same colour everywhere."""
        self.image = jnp.zeros((shape[0], 1, 1) if uniform else shape)
        self.shape = shape

    def start(self, images: UInt8[np.ndarray, "n c h w"]) -> "StillGround":
        """Start from the medians over scenes, and over pixels where the ground is uniform."""
        uniform = self.image.shape[1:] == (1, 1)
        medians = np.median(images[:STARTERS], axis=(0, 2, 3) if uniform else 0) / 255.0
        return eqx.tree_at(lambda g: g.image, self, jnp.asarray(medians, jnp.float32).reshape(self.image.shape))

    def decode(self, code: Float[Array, "0"]) -> Float[Array, "c h w"]:
        """Draw it."""
        del code
        return jnp.broadcast_to(self.image, self.shape)


class LinearGround(eqx.Module):
    """A picture plus a few components, weighed for each scene: factor analysis that looks past objects.

    Ground = mean + code @ components, code ~ N(0, 1). With few components, each of which spans the canvas, it can
    draw stripes or smooth textures, but no object. They are the principal components of the scenes, found by `start`
    and kept: steps of a size that suits networks would scramble them before any object is found.

    The code's posterior mean is a robust regression: a projection of the image, refined by projections of what is
    left in pixels that the ground explains. A plain one also explains some of every object, and objects are then
    never found.
    """

    mean: Float[Array, "c h w"]
    components: Float[Array, "d pixels"]
    project: Float[Array, "pixels d"]
    log_sd: Float[Array, " d"]

    def __init__(self, shape: tuple[int, int, int], *, code_size: int):
        """Make the model for images of `shape`, black before `start`."""
        pixels = shape[0] * shape[1] * shape[2]
        self.mean = jnp.zeros(shape)
        self.components = jnp.zeros((code_size, pixels))
        self.project = jnp.zeros((pixels, code_size))
        self.log_sd = jnp.full(code_size, -2.0)

    @property
    def code_size(self) -> int:
        """The number of components."""
        return self.components.shape[0]

    def start(self, images: UInt8[np.ndarray, "n c h w"]) -> "LinearGround":
        """Start from the scenes' principal components, found without what they can't explain: the objects."""
        pixels = images[:STARTERS].reshape(len(images[:STARTERS]), -1).astype(np.float32) / 255.0
        mean, components, spread = robust_components(pixels, self.code_size)
        new = (mean.reshape(self.mean.shape), components * spread[:, None], components.T / spread)
        parts = lambda g: (g.mean, g.components, g.project)
        return eqx.tree_at(parts, self, tuple(jnp.asarray(part, jnp.float32) for part in new))

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw a code ~ N(0, 1)."""
        return jax.random.normal(key, (self.code_size,))

    def encode(self, image: Float[Array, "c h w"], noise: Float[Array, " d"], *, pathwise: bool = True) -> Code:
        """Infer q(code | x), a diagonal Gaussian of one spread for all images."""
        project = jax.lax.stop_gradient(self.project)
        code = (image - jax.lax.stop_gradient(self.mean)).reshape(-1) @ project
        for _ in range(LOOKS):
            left = image - self.decode(code)
            worst = jnp.max(left**2, axis=0)
            code += (left * jnp.exp(-0.5 * worst / OUTLIER**2)).reshape(-1) @ project
        return gaussian_code(Normal(code, self.log_sd), noise, pathwise=pathwise)

    def decode(self, code: Float[Array, " d"]) -> Float[Array, "c h w"]:
        """Add the weighed components to the mean."""
        mean, components = jax.lax.stop_gradient((self.mean, self.components))
        return mean + (code @ components).reshape(mean.shape)


def robust_components(
    rows: Float[np.ndarray, "n pixels"], size: int
) -> tuple[Float[np.ndarray, " pixels"], Float[np.ndarray, "d pixels"], Float[np.ndarray, " d"]]:
    """Find mean, leading principal components and their spread, leaving out what they explain badly.

    Pixels far from the fit are replaced by it, more so the farther they are, and components are fitted again.
    """
    mean, components, spread = _principal(rows, size)
    for _ in range(REFITS):
        fit = mean + (rows - mean) @ components.T @ components
        error = rows - fit
        mean, components, spread = _principal(fit + error * np.exp(-0.5 * (error / OUTLIER) ** 2), size)
    return mean, components, spread


def _principal(rows, size):
    mean = rows.mean(axis=0)
    centred = rows - mean
    values, vectors = np.linalg.eigh(centred @ centred.T)  # of scenes by scenes, fewer than pixels
    absent = 0, max(0, size - len(rows))  # components that so few scenes don't have are zeros
    spread = np.sqrt(np.maximum(np.pad(values[::-1][:size], absent), 1e-6))
    leading = np.pad(vectors[:, ::-1][:, :size], [(0, 0), absent])
    return mean, (centred.T @ leading / spread).T, spread / np.sqrt(len(rows))
