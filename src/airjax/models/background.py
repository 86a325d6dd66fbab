"""Models of the background behind the objects, too simple to draw objects themselves."""

import abc
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray, UInt8
from scipy import ndimage

from airjax.models.likelihood import Likelihood, NormalLikelihood

STARTERS = 1_000
"""Largest number of scenes from which a background is initialised; of channels for a linear background."""

REFITS = 4
"""Rounds in which a linear background's components are fitted again without the pixels that they explain badly."""

LOOKS = 8
"""Rounds in which its code is inferred again without those pixels."""

OUTLIER = 0.1
"""Error, for pixels in [0, 1], above which a pixel counts as part of an object rather than of the background."""

_CLEAN = 100.0
"""Precision of pixels when components are fitted."""

DEGREE = 2
"""Degree of the polynomials of a smooth background."""

OUTLIER_SDS, OUTLIERS = 4.0, (0.02, 0.1)
"""Error of a smooth background that makes a pixel count as an object's: in standard deviations of the noise, and the
least and largest."""

WIDEST = 8.0
"""Factor on that error in the first round of the fit."""

SMOOTH_STARTERS = 300
"""Largest number of scenes from which a smooth background is initialised."""

_LEAST_SPREAD = 0.01

MODE_BLUR = 2.0
"""Standard deviation, in levels of 256, by which a histogram is smoothed before its highest point is found."""


class Layers(NamedTuple):
    """The objects of a scene, ready to be put over a background.

    Attributes:
        colours: the light that the objects add.
        transmittance: share of the background's light that passes the objects, from 0 to 1; None: all of it.
    """

    colours: Float[Array, "c h w"]
    transmittance: Float[Array, "1 h w"] | None

    def over(self, background: Float[Array, "c h w"]) -> Float[Array, "c h w"]:
        """Put the objects over a background."""
        return self.colours + (background if self.transmittance is None else self.transmittance * background)


class Explained(NamedTuple):
    """An image, explained by objects and the background behind them.

    Attributes:
        code: the mean of q(code | x, objects), the posterior of the background's code.
        canvas: the background of this code with the objects over it.
        log_likelihood: log p(x | objects) with the background's code integrated out, or a lower bound on it, in nats.
    """

    code: Float[Array, " d"]
    canvas: Float[Array, "c h w"]
    log_likelihood: Float[Array, ""]


@runtime_checkable
class Background(Protocol):
    """A generative model p(background), whose code can be integrated out.

    Implementations are Equinox modules and act on one image.
    """

    @property
    def code_size(self) -> int:
        """The number of dimensions of the latent code; 0: every scene has the same background."""
        ...

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "Background":
        """Initialise the model from training scenes."""
        ...

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw a code from its prior."""
        ...

    def lay(self, code: Float[Array, " d"], objects: Layers) -> Float[Array, "c h w"]:
        """Draw the background that a code describes, with objects over it."""
        ...

    def explain(
        self,
        image: Float[Array, "c h w"],
        objects: Layers,
        likelihood: Likelihood,
        previous: Explained | None = None,
    ) -> Explained:
        """Infer the background behind the objects, and evaluate log p(image | objects).

        `previous` explains the same image by fewer objects, by the same background and likelihood.
        """
        ...


class _Uncoded(eqx.Module):
    """Base class of backgrounds without a latent code."""

    @property
    def code_size(self) -> int:
        """No dimensions."""
        return 0

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, "0"]:
        """Return the empty code."""
        del key
        return jnp.zeros(0)

    @abc.abstractmethod
    def lay(self, code: Float[Array, "0"], objects: Layers) -> Float[Array, "c h w"]:
        """Put objects over the background."""

    def explain(
        self,
        image: Float[Array, "c h w"],
        objects: Layers,
        likelihood: Likelihood,
        previous: Explained | None = None,
    ) -> Explained:
        """Compare an image with the objects over the background, which is the same for every image."""
        del previous
        code = jnp.zeros(0)
        canvas = self.lay(code, objects)
        return Explained(code, canvas, likelihood.log_prob(image, canvas))


class BlackBackground(_Uncoded):
    """A black background (the paper)."""

    shape: tuple[int, int, int] = eqx.field(static=True)

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "BlackBackground":
        """Return the same background."""
        del images
        return self

    def lay(self, code: Float[Array, "0"], objects: Layers) -> Float[Array, "c h w"]:
        """Draw the objects alone."""
        del code
        return objects.colours


class FixedBackground(_Uncoded):
    """A learned colour or picture, the same for every scene."""

    image: Float[Array, "c rows columns"]
    shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(self, shape: tuple[int, int, int], *, uniform: bool):
        """Start from black, for images of `shape`; `uniform`: the same colour everywhere."""
        self.image = jnp.zeros((shape[0], 1, 1) if uniform else shape)
        self.shape = shape

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "FixedBackground":
        """Start from the most common colour, or from each pixel's median over scenes."""
        uniform = self.image.shape[1:] == (1, 1)
        some = images[:STARTERS] / np.float32(255)
        image = common_colour(np.moveaxis(some, 1, -1)) if uniform else np.median(some, axis=0)
        return eqx.tree_at(lambda g: g.image, self, jnp.asarray(image, jnp.float32).reshape(self.image.shape))

    def lay(self, code: Float[Array, "0"], objects: Layers) -> Float[Array, "c h w"]:
        """Put objects over the background."""
        del code
        return objects.over(jnp.broadcast_to(self.image, self.shape))


class _Weighted(eqx.Module):
    """Base class of backgrounds that are a mean picture plus components, weighed anew for every scene and channel."""

    mean: Float[Array, "c h w"]
    components: Float[Array, "k pixels"]

    @property
    def code_size(self) -> int:
        """The number of components, summed over channels."""
        return len(self.mean) * len(self.components)

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw a code ~ N(0, 1)."""
        return jax.random.normal(key, (self.code_size,))

    def lay(self, code: Float[Array, " d"], objects: Layers) -> Float[Array, "c h w"]:
        """Add the weighted components to the mean, and put objects over the sum."""
        mean, components = jax.lax.stop_gradient((self.mean, self.components))
        return objects.over(mean + (code.reshape(len(mean), -1) @ components).reshape(mean.shape))


class LinearBackground(_Weighted):
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
    found. So the mean is that of a robust regression, which ignores pixels whose errors are larger than `outlier`. It
    is exact if `outlier` is infinite.
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

    def explain(
        self,
        image: Float[Array, "c h w"],
        objects: Layers,
        likelihood: Likelihood,
        previous: Explained | None = None,
    ) -> Explained:
        """Infer q(code | x, objects), a Gaussian, and integrate the code out.

        With B the components times the objects' transmittance and s the likelihood's sd, q has the posterior's
        precision `P = 1 + B B' / s^2`, a mean a_c for each channel c, and

            log p(x | objects) >= log N(x; canvas at a, s) - sum_c (a_c' a_c + log det P) / 2,

        with equality at the posterior's mean, where the right side is stationary in a. No gradient flows through a.

        Raises:
            ValueError: the likelihood is not normal.
        """
        del previous
        precision = _precision_of(likelihood, "linear")
        channels, components = len(self.mean), jax.lax.stop_gradient(self.components)
        transmittance = None if objects.transmittance is None else objects.transmittance.reshape(-1)
        root, log_det = _inverse_root(_precision(components, transmittance, precision))
        residual = (image - self.lay(jnp.zeros(self.code_size), objects)).reshape(channels, -1)
        given = residual, components, transmittance, root, precision
        code = _robust_code(*jax.lax.stop_gradient(given), self.outlier).reshape(-1)
        canvas = self.lay(code, objects)
        log_likelihood = likelihood.log_prob(image, canvas) - 0.5 * (jnp.sum(code**2) + channels * log_det)
        return Explained(code, canvas, log_likelihood)


class SmoothBackground(_Weighted):
    """A mean picture plus a smooth field for each scene and channel, such as uneven light.

    The field is a polynomial of degree `DEGREE` in x and y, too smooth to draw objects. Its code ~ N(0, 1) is inferred
    once for a scene, before any object is found, by a robust regression, which ignores the pixels that stand out. So
    it costs a step of inference nothing.
    """

    outlier: Float[Array, ""]

    def __init__(self, shape: tuple[int, int, int]):
        """Make the model for images of `shape`; black before `init_from_data`."""
        self.mean = jnp.zeros(shape)
        self.components = jnp.asarray(_polynomials(*shape[1:]))
        self.outlier = jnp.asarray(OUTLIER, jnp.float32)

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "SmoothBackground":
        """Start from the median picture, and measure the spread of the fields around it and the noise on them."""
        pixels = images[:SMOOTH_STARTERS].astype(np.float32) / 255.0
        wide = _polynomials(*self.mean.shape[1:])
        # At first, neither the noise is known nor the mean picture without the fields.
        mean, outlier = _without_fields(pixels, _fields(pixels, np.median(pixels, axis=0), wide, OUTLIER)[1])
        codes, fields = _fields(pixels, mean, wide, outlier)
        mean, outlier = _without_fields(pixels, fields)
        spread = np.maximum(1.4826 * np.median(np.abs(np.asarray(codes)), axis=(0, 1)), _LEAST_SPREAD)
        new = mean, wide * spread[:, None], outlier
        parts = lambda b: (b.mean, b.components, b.outlier)
        return eqx.tree_at(parts, self, tuple(jnp.asarray(part, jnp.float32) for part in new))

    def explain(
        self,
        image: Float[Array, "c h w"],
        objects: Layers,
        likelihood: Likelihood,
        previous: Explained | None = None,
    ) -> Explained:
        """Infer the field, unless `previous` did, and evaluate a lower bound on log p(x | objects).

        q(code | x) is a Gaussian with the posterior's precision P for a scene without objects, and a mean a_c for each
        channel c. Objects let less light through than none, so

            log p(x | objects) >= log N(x; canvas at a, s) - sum_c (a_c' a_c + log det P) / 2.

        Raises:
            ValueError: the likelihood is not normal.
        """
        precision = _precision_of(likelihood, "smooth")
        mean, components, outlier = jax.lax.stop_gradient((self.mean, self.components, self.outlier))
        code = _field(image - mean, components, outlier).reshape(-1) if previous is None else previous.code
        code = jax.lax.stop_gradient(code)
        canvas = self.lay(code, objects)
        _, log_det = _inverse_root(_precision(components, None, precision))
        log_likelihood = likelihood.log_prob(image, canvas) - 0.5 * (jnp.sum(code**2) + len(mean) * log_det)
        return Explained(code, canvas, log_likelihood)


def smooth_backgrounds(
    images: Float32[np.ndarray, "n h w c"], learnt: Float32[np.ndarray, "m h w c"]
) -> Float32[np.ndarray, "n h w c"]:
    """Fit a smooth background to images, the mean picture being that of others; no model is needed."""
    to_bytes = lambda x: np.rint(255 * np.moveaxis(x, -1, 1)).astype(np.uint8)
    pixels = np.moveaxis(images, -1, 1)
    background = SmoothBackground(pixels.shape[1:]).init_from_data(to_bytes(learnt))
    _, fields = _fields(pixels, background.mean, background.components, background.outlier)
    return np.moveaxis(np.asarray(background.mean + fields), 1, -1)


def _precision_of(likelihood, name):
    if not isinstance(likelihood, NormalLikelihood):
        raise ValueError(f"a {name} background needs a normal likelihood")
    return likelihood.precision


def _polynomials(height: int, width: int) -> Float32[np.ndarray, "k pixels"]:
    """Make products of Legendre polynomials in x and y, of degree up to `DEGREE`, over the pixels of an image."""
    centres = [(2 * np.arange(size) + 1) / size - 1 for size in (height, width)]
    along_y, along_x = (np.polynomial.legendre.legvander(axis, DEGREE).T for axis in centres)
    pairs = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
    return np.stack([np.outer(along_y[i], along_x[j]).reshape(-1) for i, j in pairs]).astype(np.float32)


def _field(residual, components, outlier):
    """Fit components to each channel of a residual, but for pixels that stand out in some channel.

    Weighted least squares, again and again; a pixel's weight falls with its error in the last fit. At first, larger
    errors are borne, so that a scene that is much lighter or darker than the mean is still fitted.
    """
    rows = residual.reshape(len(residual), -1)
    code = jnp.zeros((len(rows), len(components)))
    for scale in np.geomspace(WIDEST, 1.0, LOOKS):
        error = jnp.max(jnp.abs(rows - code @ components), axis=0) / (scale * outlier)
        weights = jnp.exp(-0.5 * error**2)
        root, _ = _inverse_root(_precision(components, jnp.sqrt(weights), _CLEAN))
        code = _CLEAN * (weights * rows) @ components.T @ root.T @ root
    return code


def _without_fields(pixels, fields):
    """Find the mean picture that fields are added to, and the error that makes a pixel an outlier."""
    left = pixels - np.asarray(fields)
    mean = np.median(left, axis=0)
    return mean, np.clip(OUTLIER_SDS * 1.4826 * np.median(np.abs(left - mean)), *OUTLIERS)


@jax.jit
def _fields(pixels, mean, components, outlier):
    """Fit the field of every image: codes and fields."""
    codes = jax.lax.map(lambda image: _field(image - mean, components, outlier), pixels)
    return codes, (codes @ components).reshape(pixels.shape)


def common_colour(images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, " c"]:
    """Find the most common value of each channel, for pixels in [0, 1]; objects that cover much hardly change it."""
    counts = np.stack([np.histogram(channel, 256, (0.0, 1.0))[0] for channel in np.moveaxis(images, -1, 0)])
    return np.argmax(ndimage.gaussian_filter1d(counts.astype(float), MODE_BLUR, axis=1), axis=1) / 255.0


def linear_backgrounds(images: Float32[np.ndarray, "n h w c"], components: int) -> Float32[np.ndarray, "n h w c"]:
    """Fit a linear background to images, and return the background of each; no model is needed."""
    pixels = np.moveaxis(images, -1, 1)
    background = LinearBackground(pixels.shape[1:], components=components).init_from_data(
        np.rint(255 * pixels).astype(np.uint8)
    )
    nothing, likelihood = Layers(jnp.zeros(pixels.shape[1:]), None), NormalLikelihood(_CLEAN**-0.5)
    explain = jax.jit(lambda background, image: background.explain(image, nothing, likelihood).canvas)
    return np.moveaxis(np.stack([explain(background, image) for image in pixels]), 1, -1)


def _precision(components, transmittance, precision):
    """Compute the precision of the code's posterior, `1 + B B' / s^2`, where B are components times transmittance.

    Products of pairs of components are the same for all images of a batch, so that one matrix product serves all.
    """
    size = len(components)
    if transmittance is None:
        products = components @ components.T
    else:
        products = ((components[:, None] * components).reshape(size**2, -1) @ transmittance**2).reshape(size, size)
    return jnp.eye(size) + precision * products


@jax.custom_jvp
def _inverse_root(matrix: Float[Array, "k k"]) -> tuple[Float[Array, "k k"], Float[Array, ""]]:
    """Invert the Cholesky factor L of a positive definite matrix L L', and find the matrix's log-determinant.

    Gaussian elimination turns the matrix, with the identity beside it, into L' and L^-1. LAPACK's routines must not be
    called here: in a compiled program, batches of small triangular solves wait for one another in XLA's threads. Only
    the log-determinant has a derivative; none flows through the root.
    """
    size = len(matrix)

    def eliminate(k, rows):
        pivot = rows[k] / jnp.sqrt(rows[k, k])
        below = jnp.where(jnp.arange(size) > k, rows[:, k] / jnp.sqrt(rows[k, k]), 0.0)
        return (rows - below[:, None] * pivot).at[k].set(pivot)

    rows = jax.lax.fori_loop(0, size, eliminate, jnp.concatenate([matrix, jnp.eye(size, dtype=matrix.dtype)], axis=1))
    return rows[:, size:], 2.0 * jnp.sum(jnp.log(jnp.diagonal(rows)))


@_inverse_root.defjvp
def _(primals, tangents):
    root, log_det = _inverse_root(*primals)
    return (root, log_det), (jnp.zeros_like(root), jnp.sum((root.T @ root) * tangents[0]))


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
    root, _ = _inverse_root(_precision(components, None, _CLEAN))
    code = lambda row: _robust_code(row[None], components, None, root, _CLEAN, outlier)[0]
    return jax.vmap(code)(rows) @ components


def _principal(rows, size):
    mean = rows.mean(axis=0)
    centred = rows - mean
    values, vectors = np.linalg.eigh(centred @ centred.T)  # of scenes by scenes, fewer than pixels
    absent = 0, max(0, size - len(rows))  # too few scenes: the other components are zeros
    spread = np.sqrt(np.maximum(np.pad(values[::-1][:size], absent), 1e-6))
    leading = np.pad(vectors[:, ::-1][:, :size], [(0, 0), absent])
    return mean, (centred.T @ leading / spread).T, spread / np.sqrt(len(rows))
