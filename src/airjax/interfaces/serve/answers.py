"""Answers of a model, as plain data for the page."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from airjax.data import load_scenes
from airjax.data.batches import channels_first
from airjax.inference import infer, sampling
from airjax.inference.boxes import window_box
from airjax.inference.infer import Found
from airjax.interfaces.serve import own
from airjax.interfaces.serve.own import OwnPicture
from airjax.interfaces.serve.pictures import as_bytes, encoded, picture, signed
from airjax.models.base import Family
from airjax.runs.record import read_record

SAMPLES = 20
"""Trajectories for p(n | x); they take about 6 of the 50 ms allowed per answer."""
PICTURES = 200
"""Number of held-out scenes to choose from."""
SHEET = 12
"""Number of scenes sampled together."""

_KEY = jax.random.PRNGKey(0)
_logger = logging.getLogger("airjax")


def held_out_pictures(run: Path) -> UInt8[np.ndarray, "n c h w"] | None:
    """Make a few held-out scenes of a run; None if its data is not available."""
    config = replace(read_record(run).config.data, held_out_scenes=PICTURES)
    try:
        return channels_first(load_scenes(config, "held-out").images[:PICTURES])
    except (OSError, ValueError) as error:
        _logger.warning("no held-out scenes, so scenes are sampled from the prior: %s", error)
        return None


def inferred(model: Family, pixels: UInt8[np.ndarray, "c h w"]) -> tuple[Found, dict[str, Any]]:
    """Infer a picture and describe the result, for any family of models.

    Raises:
        ValueError: the picture has another shape than those the model was trained on.
    """
    images = pixels[None]
    found = infer.find(model, images, batch=1)
    posterior = infer.bound(model, images, samples=SAMPLES, key=_KEY, batch=1).count_posterior
    steps = [
        {
            "presence": float(found.presence[0, t]),
            "window": found.windows[0, t].tolist(),
            "box": found.boxes[0, t].tolist(),
        }
        for t in range(model.max_objects)
    ]
    return found, {
        "count": int(found.count[0]),
        "count_probs": found.count_probs[0].tolist(),
        "count_posterior": posterior[0].tolist(),
        "image": encoded(pixels),
        "canvases": [picture(canvas) for canvas in found.canvases[0]],
        "steps": steps,
    }


class Answers:
    """Answer requests with a model; the constructor compiles everything.

    Attributes:
        card: the description of the model that the page needs.
    """

    def __init__(self, model: Family, pictures: UInt8[np.ndarray, "n c h w"] | None):
        """Compile `model`. Random scenes are taken from `pictures`, or sampled without them."""
        if pictures is not None:
            infer.check_images(model, pictures)
        self._model, self._pictures = model, pictures
        self.card = self._describe()
        self.infer_own(own.plain(self._random_pixels(0)), name="")
        self.sample(seed=0, count=None, scale=1.0, temperature=1.0)

    def infer(self, pixels: UInt8[np.ndarray, "c h w"]) -> dict[str, Any]:
        """Infer a picture and describe its objects and every step.

        Raises:
            ValueError: the picture has another shape than those the model was trained on.
        """
        return self._infer(pixels)[1]

    def infer_own(self, picture: OwnPicture, *, name: str) -> dict[str, Any]:
        """Infer a picture of the user's own, called `name`; to the answer of `infer`, add `own` (`own.describe`)."""
        found, answer = self._infer(picture.fitted.pixels)
        posterior = np.array([answer["count_posterior"]], np.float32)
        return answer | {"own": own.describe(self._model, picture, found, posterior, name)}

    def _infer(self, pixels: UInt8[np.ndarray, "c h w"]) -> tuple[Found, dict[str, Any]]:
        found, answer = inferred(self._model, pixels)
        views = infer.view(self._model, pixels[None], found)
        for step, glimpse, drawn in zip(answer["steps"], views.glimpses[0], views.objects[0]):
            step |= {"glimpse": signed(glimpse), "object": picture(drawn)}
        return found, answer

    def scene(self, *, seed: int) -> dict[str, Any]:
        """Return a held-out scene, or a sample with at least one object if there are none."""
        return {"image": encoded(self._random_pixels(seed)), "source": self.card["scenes"]}

    def sample(self, *, seed: int, count: int | None, scale: float, temperature: float) -> dict[str, Any]:
        """Sample a sheet of scenes from the priors as changed by `airjax.inference.sampling.steer`.

        Raises:
            ValueError: see there.
        """
        steered = sampling.steer(self._model, count=count, scale=scale, temperature=temperature)
        drawn = jax.tree.map(np.asarray, sampling.scenes(steered, SHEET, key=jax.random.PRNGKey(seed)))
        boxes = np.asarray(_corners(jnp.asarray(drawn.where), self._model.image_shape))
        return {
            "scenes": [
                {"count": int(n), "image": picture(canvas), "windows": box[:n].tolist()}
                for n, canvas, box in zip(drawn.count, drawn.canvas, boxes)
            ]
        }

    def _random_pixels(self, seed: int) -> UInt8[np.ndarray, "c h w"]:
        if self._pictures is not None:
            return self._pictures[seed % len(self._pictures)]
        steered = sampling.steer(self._model, count=1 + seed % self._model.max_objects)
        return as_bytes(np.asarray(sampling.scenes(steered, 1, key=jax.random.PRNGKey(seed)).canvas[0]))

    def _describe(self) -> dict[str, Any]:
        model = self._model
        return {
            "image_shape": model.image_shape,
            "max_objects": model.max_objects,
            "window": model.glimpse_side,
            "count_prior": np.exp(model.count_log_prior).tolist(),
            "scenes": "prior" if self._pictures is None else "held-out",
            "typical": sampling.typical(model, key=_KEY)._asdict(),
            "background": picture(np.asarray(model.mean_background)),
        }


@eqx.filter_jit
def _corners(where: Float[Array, "n N 3"], shape: tuple[int, int, int]) -> Float[Array, "n N 4"]:
    return jax.vmap(jax.vmap(lambda window: window_box(window, shape)))(where)
