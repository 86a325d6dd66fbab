"""What the page asks of a model of objects on a table, answered in plain data."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from airjax.data import Scenes
from airjax.data.batches import channels_first
from airjax.data.tables import tables
from airjax.inference import infer, sampling
from airjax.interfaces.serve.answers import inferred
from airjax.interfaces.serve.pictures import as_bytes, picture
from airjax.models.base import Family
from airjax.render3d.turntable import azimuths, turntable

TABLES = 128
"""Tables to choose from: drawn at once, they take a tenth of a second."""
LAID = 3
"""Objects of a table, at most: more may not find room."""
HELD_OUT = 1
"""Seed of the tables. Those to learn from have even ones (`airjax.data.load_scenes`)."""
VIEW = 96
"""Side of a view from elsewhere, in pixels."""


class Laid(NamedTuple):
    """A table: its picture, and what stands on it, (x, y, rotation, identity) each."""

    pixels: UInt8[np.ndarray, "3 h w"]
    what: Float32[np.ndarray, "n 4"]


class TableAnswers:
    """Ask a model; everything is compiled when it is first asked for, or by the parts of `warm`.

    Attributes:
        card: what the page needs to know of the model.
    """

    def __init__(self, model: Family):
        """Ask `model`.

        Raises:
            ValueError: its images are not square, or its objects are patches.
        """
        if model.stage is None:
            raise ValueError("tables are answered by models of solids or crockery, got one of patches")
        _, height, width = model.image_shape
        if height != width:
            raise ValueError(f"images of tables must be square to be served, got {width} x {height}")
        self._model, self._stage = model, model.stage
        self._names = [kind.name for kind in self._stage.kinds]
        self.card = {
            "image_shape": model.image_shape,
            "max_objects": model.max_objects,
            "kinds": {kind.name: kind.symmetry for kind in self._stage.kinds},
        }

    def warm(self) -> tuple[Callable[[], object], ...]:
        """List what compiles everything, in parts: whoever wants to end need not wait for the next."""
        return (
            lambda: self._tables,
            lambda: infer.find(self._model, self._held_out(0).pixels[None], batch=1),
            lambda: self.table(seed=0, prior=False),
            lambda: self.view(self.place([]), azimuth_deg=0.0),
            lambda: self.table(seed=0, prior=True),
        )

    def table(self, *, seed: int, prior: bool) -> dict[str, Any]:
        """Lay a table, or sample one from the prior, and say what is on it and how that was found."""
        laid = self._sampled(seed) if prior else self._held_out(seed)
        found, answer = inferred(self._model, laid.pixels)
        steps = [step | self._model.describe(what) for step, what in zip(answer["steps"], found.what[0])]
        azimuth = float(np.degrees(azimuths(self._stage, found.scene)[0]))
        told = [self._model.describe(what) for what in laid.what]
        return answer | {"steps": steps, "laid": told, "azimuth_deg": azimuth}

    def view(self, what: Float32[np.ndarray, "n 4"], *, azimuth_deg: float) -> dict[str, Any]:
        """Draw a table with these objects as it is seen from elsewhere."""
        filled = np.zeros((1, self._model.max_objects, 4), np.float32)
        filled[0, : len(what)] = what
        azimuth, count = np.radians([azimuth_deg], dtype=np.float32), np.array([len(what)], np.int32)
        return {"image": picture(turntable(self._stage, count, filled, azimuth, frames=1, side=VIEW)[0, 0])}

    def place(self, told: Sequence[dict[str, Any]]) -> Float32[np.ndarray, "n 4"]:
        """Turn what `AIR3D.describe` says of objects into (x, y, rotation, identity).

        Raises:
            ValueError: there are more than N objects, or one is of no known kind.
        """
        if len(told) > self._model.max_objects:
            raise ValueError(f"objects must be at most {self._model.max_objects}, got {len(told)}")
        if any(one["identity"] not in self._names for one in told):
            raise ValueError(f"identity must be one of {', '.join(self._names)}")
        turned = lambda one: (np.radians(one["rotation_deg"]), self._names.index(one["identity"]))
        return np.array([(*one["position"], *turned(one)) for one in told], np.float32).reshape(-1, 4)

    @cached_property
    def _tables(self) -> Scenes:
        counts = range(1, min(self._model.max_objects, LAID) + 1)
        return tables(self._stage, TABLES, seed=HELD_OUT, counts=counts, canvas=self._model.image_shape[1])

    def _held_out(self, seed: int) -> Laid:
        laid, i = self._tables, seed % TABLES
        assert laid.poses is not None
        assert laid.labels is not None
        what = np.concatenate([laid.poses[i], laid.labels[i, :, None]], axis=-1, dtype=np.float32)
        return Laid(channels_first(laid.images)[i], what[laid.labels[i] >= 0])

    def _sampled(self, seed: int) -> Laid:
        counted = sampling.with_count(self._model, 1 + seed % self._model.max_objects)
        drawn = jax.tree.map(lambda x: np.asarray(x)[0], sampling.scenes(counted, 1, key=jax.random.PRNGKey(seed)))
        return Laid(as_bytes(drawn.canvas), drawn.what[: drawn.count])
