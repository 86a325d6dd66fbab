"""Differentiate a black-box renderer by central finite differences, as in the paper."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

Renderer = Callable[[Float[np.ndarray, " d"]], Float[np.ndarray, "c h w"] | UInt8[np.ndarray, "c h w"]]
"""A renderer on the host: maps latents to an image of floats, or of bytes, where 255 stands for 1."""


def differentiable(
    renderer: Renderer, image_shape: tuple[int, int, int], steps: Sequence[float]
) -> Callable[[Float[Array, " d"]], Float[Array, "c h w"]]:
    """Turn a black-box renderer into a function that can be differentiated, compiled and batched (paper, section 3.3).

    Column i of its Jacobian is the central difference (render(z + e_i) - render(z - e_i)) / (2 e_i). This takes two
    renders per latent, and one for the image itself. Forward and reverse mode work; second derivatives don't.

    The renderer is called on the host with NumPy arrays of float32 (float64 if latents are), one vector at a time and
    from any thread. If it needs an object that is bound to a thread, such as an OpenGL context, it must create one for
    the calling thread. It must be pure, because calls may be omitted or repeated, and must not call JAX. If it returns
    bytes, steps must change them by much more than the rounding error.

    Args:
        renderer: maps latents [d] to an image of `image_shape`, of floats or uint8.
        image_shape: (channels, height, width).
        steps: e_i, the step of each of the d latents, in its own unit; d is at least 1.

    Raises:
        ValueError: a step isn't positive, or there is none; or, when called, the number of latents isn't that of
            steps. An image of another shape raises `jax.errors.JaxRuntimeError`, once it is computed.
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
    """Extend a function of one vector to arrays of vectors with any leading axes."""

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
