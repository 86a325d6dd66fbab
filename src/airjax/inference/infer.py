"""Inference in batches: counts, boxes and codes of images."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int32, PRNGKeyArray, UInt8, UInt32

from airjax.data.batches import in_batches
from airjax.inference.boxes import inside, tight_box, window_box
from airjax.learning import bounds
from airjax.models.base import Family, Trajectory, View, rounded

CONFIDENCE = 100.0
"""Weight of log q(n | x) beside the bound where trajectories are compared. The likelihood takes pixels for independent,
so bounds differ by hundreds of nats, and an object's price is about a hundred (`--count-ratio`). By the bound alone,
two faint objects that touch are one."""

BATCH = 256
"""Number of images in which objects are sought together, by default."""

TOGETHER = 128
"""Number of trajectories sampled together on a CPU; the results of more would not fit into its cache."""


class Found(eqx.Module):
    """Results of inference in n images, N steps each; steps from `count` on are beyond the most probable count.

    Attributes:
        count: mode of `count_probs`.
        count_probs: q(n | x), n = 0..N, along the central trajectory (`AIR.infer` without a key), or what `find` makes
            of several trajectories.
        boxes: corners x0, y0, x1, y1 in pixels, tight around what each step draws; where it draws nothing, the window.
        windows: corners of the attention windows, in pixels.
        presence: probability that each step is reached and present, `q(n >= t | x)`.
        where: (log scale, x, y) of the windows.
        what: appearance codes; in 3D (x, y, rotation, identity).
        scene: the latent that all of the scene shares: the background's code in 2D, the camera's azimuth in 3D if that
            is not known.
        canvases: reconstruction after 0, 1, ..., N objects.
    """

    count: Int32[np.ndarray, " n"]
    count_probs: Float32[np.ndarray, "n counts"]
    boxes: Float32[np.ndarray, "n N 4"]
    windows: Float32[np.ndarray, "n N 4"]
    presence: Float32[np.ndarray, "n N"]
    where: Float32[np.ndarray, "n N 3"]
    what: Float32[np.ndarray, "n N d"]
    scene: Float32[np.ndarray, "n s"]
    canvases: Float32[np.ndarray, "n counts c h w"]

    @property
    def present(self) -> Bool[np.ndarray, "n N"]:
        """Mask of the steps that belong to the first `count` objects."""
        return np.arange(self.presence.shape[1]) < self.count[:, None]


class Bounds(eqx.Module):
    """Bounds and sampled counts of n images.

    Attributes:
        sampled_count: a sample from q(n | x).
        elbo: evidence lower bound, one sample of z, in nats.
        iw_bound: importance-weighted bound over K samples, in nats.
        count_posterior: estimate of p(n | x) from the same samples, n = 0..N.
    """

    sampled_count: Int32[np.ndarray, " n"]
    elbo: Float32[np.ndarray, " n"]
    iw_bound: Float32[np.ndarray, " n"]
    count_posterior: Float32[np.ndarray, "n counts"]


def check_images(model: Family, images: UInt8[np.ndarray, "n c h w"]) -> None:
    """Raise ValueError if there are no images, or if they don't have the model's shape."""
    if not len(images):
        raise ValueError("images must hold at least one, got none")
    (channels, height, width), (c, h, w) = model.image_shape, images.shape[1:]
    if (c, h, w) != (channels, height, width):
        raise ValueError(
            f"images must have {width} x {height} pixels and {channels} channel(s), as in training; "
            f"got {w} x {h} and {c}"
        )


def find(model: Family, images: UInt8[np.ndarray, "n c h w"], *, batch: int | None = None) -> Found:
    """Infer counts, boxes and codes along the central trajectory, or the best of several.

    A model with `trajectories` K > 1 is asked K times, and looks at other places each time. The score of trajectory k
    with n objects is `CONFIDENCE log q_k(n | x) + L_kn`, where L_kn is the bound on log p(x, n) along it
    (`bounds.of_counts`). The best trajectory is that of the highest score. Its scores give `count_probs`, which are
    proportional to `q_k(n | x) exp(L_kn / CONFIDENCE)`.

    Images are inferred in batches, the last of which is filled up; without `batch`, of 256, or of the next power of two
    if there are fewer. Results of batches of one size are the same to the bit, whatever else is in them.
    """
    check_images(model, images)
    if batch is None:
        batch = min(BATCH, 1 << (len(images) - 1).bit_length())
    return Found(**in_batches(lambda chunk, _: _find(model, chunk), images, batch))


def bound(
    model: Family, images: UInt8[np.ndarray, "n c h w"], *, samples: int, key: PRNGKeyArray, batch: int = 100
) -> Bounds:
    """Evaluate bounds and the posterior over counts with `samples` trajectories an image."""
    keys_of = lambda index: jax.random.split(jax.random.fold_in(key, index), batch)
    return _bounds(model, images, samples, keys_of, batch)


def bound_each(
    model: Family,
    images: UInt8[np.ndarray, "n c h w"],
    *,
    samples: int,
    keys: UInt32[np.ndarray, "n 2"],
    batch: int = 100,
) -> Bounds:
    """Evaluate `bound` with one key per image, so that results don't depend on the other images."""
    padded = np.pad(keys, [(0, -len(keys) % batch), (0, 0)])
    return _bounds(model, images, samples, lambda index: jax.device_put(padded[index * batch :][:batch]), batch)


def _bounds(model, images, samples, keys_of, batch) -> Bounds:
    check_images(model, images)
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    return Bounds(**in_batches(lambda chunk, index: _bound(model, chunk, samples, keys_of(index)), images, batch))


def view(model: Family, images: UInt8[np.ndarray, "n c h w"], found: Found) -> View:
    """Cut out the glimpse of every object that `find` found, and draw each object alone."""
    check_images(model, images)
    arrays = map(jax.device_put, (images, found.where, found.what, found.canvases))
    return jax.tree.map(np.asarray, _view(model, *arrays))


def describe(model: Family, images: UInt8[np.ndarray, "n c h w"], *, samples: int, key: PRNGKeyArray) -> list[dict]:
    """Describe each image in plain numbers and lists: its count, the posterior over counts, and its objects."""
    return describe_found(model, *find_and_count(model, images, samples=samples, key=key))


def find_and_count(
    model: Family, images: UInt8[np.ndarray, "n c h w"], *, samples: int, key: PRNGKeyArray
) -> tuple[Found, Float32[np.ndarray, "n counts"]]:
    """Return what `find` finds, and p(n | x) as `bound` estimates it."""
    found = find(model, images, batch=min(len(images), BATCH))
    return found, bound(model, images, samples=samples, key=key, batch=min(len(images), 100)).count_posterior


def describe_found(model: Family, found: Found, posterior: Float32[np.ndarray, "n counts"]) -> list[dict]:
    """Describe what `find` found in each image; `posterior` is p(n | x)."""
    return [
        {
            "count": int(found.count[i]),
            "count_posterior": rounded(posterior[i]),
            **model.describe_scene(found.scene[i]),
            "objects": describe_objects(model, found, i),
        }
        for i in range(len(found.count))
    ]


def describe_objects(model: Family, found: Found, i: int) -> list[dict]:
    """Describe the objects of image `i` in plain numbers and lists."""
    return [describe_object(model, found, i, t) for t in range(found.count[i])]


def describe_object(model: Family, found: Found, i: int, t: int) -> dict:
    """Describe the object of step `t` in image `i` in plain numbers and lists."""
    return {
        "box": rounded(found.boxes[i, t]),
        "window": rounded(found.windows[i, t]),
        "presence": round(float(found.presence[i, t]), 6),
        **model.describe(found.what[i, t]),
    }


@eqx.filter_jit
def _find(model: Family, images: UInt8[Array, "b c h w"]) -> dict[str, Array]:
    return jax.vmap(lambda image: _find_one(model, image / 255.0))(images)


def _find_one(model: Family, image: Float[Array, "c h w"]) -> dict[str, Array]:
    trajectory, log_probs = _infer(model, image)
    steps = trajectory.steps
    canvases = jnp.concatenate([trajectory.empty_canvas[None], steps.canvas])
    boxes = jax.vmap(partial(tight_box, edge=model.edge))(jnp.diff(canvases, axis=0))
    corners = jax.vmap(lambda where: window_box(where, image.shape))(steps.where)
    return dict(
        count=jnp.argmax(log_probs).astype(jnp.int32),
        count_probs=jnp.exp(log_probs),
        boxes=jnp.where(jnp.isnan(boxes), inside(corners, image.shape), boxes),
        windows=corners,
        presence=jnp.cumsum(jnp.exp(log_probs)[::-1])[::-1][1:],
        where=steps.where,
        what=steps.what,
        scene=trajectory.scene.value,
        canvases=canvases,
    )


def _infer(model, image) -> tuple[Trajectory, Float[Array, " counts"]]:
    """Infer along the central trajectory, or the best of several; and return log q(n | x)."""
    if model.trajectories == 1:
        trajectory = model.infer(image, key=None)
        return trajectory, trajectory.count_log_probs

    def another(found, key):
        best, scores = found
        trajectory = model.infer_again(image, key=key)
        own = CONFIDENCE * trajectory.count_log_probs + bounds.of_counts(trajectory, model.count_log_prior)
        better = own.max() > scores.max()
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), (trajectory, own), (best, scores)), None

    keys = jax.random.split(jax.random.PRNGKey(0), model.trajectories)
    shapes = jax.eval_shape(lambda key: model.infer_again(image, key=key), keys[0])
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    none = jnp.full_like(model.count_log_prior, -jnp.inf)
    (best, scores), _ = jax.lax.scan(another, (nothing, none), keys)
    return best, jax.nn.log_softmax(scores / CONFIDENCE)


@eqx.filter_jit
def _view(
    model: Family,
    images: UInt8[Array, "n c h w"],
    where: Float[Array, "n N 3"],
    what: Float[Array, "n N d"],
    canvases: Float[Array, "n counts c h w"],
) -> View:
    return jax.vmap(lambda image, *found: model.view(image / 255.0, *found))(images, where, what, canvases)


@eqx.filter_jit
def _bound(
    model: Family, images: UInt8[Array, "b c h w"], samples: int, keys: UInt32[Array, "b 2"]
) -> dict[str, Array]:
    count_keys, noise_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    each = jax.vmap(lambda key: jax.random.split(key, samples), out_axes=1)(noise_keys)
    infer = jax.vmap(lambda image, key: _without_pictures(model.infer(image, key=key)))
    sample = partial(infer, images / 255.0)
    at_once = max(1, TOGETHER // len(images)) if jax.default_backend() == "cpu" else samples
    trajectories: Trajectory = jax.lax.map(sample, each, batch_size=at_once)

    def one(trajectories, count_key):
        first = jax.tree.map(lambda x: x[0], trajectories)
        prior = model.count_log_prior
        return dict(
            sampled_count=jax.random.categorical(count_key, first.count_log_probs).astype(jnp.int32),
            elbo=bounds.marginal(first, prior),
            iw_bound=bounds.importance_weighted(trajectories, prior),
            count_posterior=jnp.exp(bounds.count_posterior(trajectories, prior)),
        )

    return jax.vmap(one, in_axes=(1, 0))(trajectories, count_keys)


def _without_pictures(trajectory: Trajectory) -> Trajectory:
    """Drop the images of a trajectory and keep the few numbers that bounds need."""
    steps = trajectory.steps._replace(where=None, what=None, canvas=None)
    return trajectory._replace(
        steps=steps, scene=trajectory.scene._replace(value=None), empty_canvas=None, auxiliary=None
    )
