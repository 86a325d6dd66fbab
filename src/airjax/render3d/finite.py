"""Differentiate a renderer that is a black box, as the paper did: by rendering a little before and a little after."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

Renderer = Callable[[Float[np.ndarray, " d"]], Float[np.ndarray, "c h w"] | UInt8[np.ndarray, "c h w"]]
"""A renderer on the host: from latents to an image, of floats or of bytes, 255 of which are 1."""


def differentiable(
    renderer: Renderer, image_shape: tuple[int, int, int], steps: Sequence[float]
) -> Callable[[Float[Array, " d"]], Float[Array, "c h w"]]:
    """Make a black-box renderer a function that can be differentiated, compiled and batched (paper, section 3.3).

    Its Jacobian is that of central differences: column i is (render(z + e_i) - render(z - e_i)) / (2 e_i), two renders
    a latent, and one more for the image itself. Both modes of differentiation work, but not second derivatives.

    The renderer is called on the host with NumPy arrays of float32 (float64 where latents are), one vector at a time,
    in a thread that it doesn't choose: what is bound to a thread, such as an OpenGL context, it must make for the
    thread that calls it. It must be pure, as calls may be left out or repeated, and must not call JAX. Where it
    returns bytes, steps have to change them by much more than a rounding.

    Args:
        renderer: from latents [d] to an image of `image_shape`, of floats or uint8.
        image_shape: (channels, height, width).
        steps: e_i, how far each of the d latents is moved, in its own unit; d is at least 1.

    Raises:
        ValueError: a step isn't positive, or there is none; when called, the number of latents isn't that of steps.
            An image of another shape raises `jax.errors.JaxRuntimeError`, once it is computed.
    """
    if not min(steps, default=0.0) > 0:
        raise ValueError(f"steps must be positive, got {tuple(steps)}")

    def check(latents):
        if latents.shape != (len(steps),):
            raise ValueError(f"latents must have shape ({len(steps)},), as many as steps, got {latents.shape}")

    def call(host, shape, latents):
        result = jax.ShapeDtypeStruct(shape, latents.dtype)
        return jax.pure_callback(_batched(host, shape), result, latents, vmap_method="expand_dims")

    def image(latents):
        return _as_floats(renderer(latents), image_shape, latents.dtype)

    def jacobian(latents):
        moves = np.diag(np.asarray(steps, latents.dtype))
        columns = [(image(latents + e) - image(latents - e)) / (2.0 * e.sum()) for e in moves]
        return np.stack(columns)

    @jax.custom_jvp
    def render(latents: Float[Array, " d"]) -> Float[Array, "c h w"]:
        check(latents)
        return call(image, image_shape, latents)

    @render.defjvp
    def _(primals, tangents):
        (latents,), (tangent,) = primals, tangents
        slopes = call(jacobian, (len(steps), *image_shape), latents)
        return render(latents), jnp.tensordot(tangent, slopes, 1)

    return render


def _batched(host, shape):
    """Apply a function of one vector to any number of them."""

    def apply(latents):
        latents = np.asarray(latents)
        results = [host(one) for one in latents.reshape(-1, latents.shape[-1])]
        return np.asarray(results, latents.dtype).reshape(*latents.shape[:-1], *shape)

    return apply


def _as_floats(image, shape, dtype):
    image = np.asarray(image)
    if image.shape != shape:
        raise ValueError(f"image must have shape {shape}, got {image.shape}")
    return image.astype(dtype) / 255.0 if image.dtype == np.uint8 else image.astype(dtype)
