"""Several devices, of one process or many, that share every batch: each takes its part, and gradients are averaged.

The program of a step runs on every device at once (`jax.shard_map`). Weights are the same everywhere. Example `i` of a
batch belongs to device `i % devices`, so that every device also has its part of the first half of a batch. A step calls
`mean`, `own` and `keys`, which change nothing where it runs on one device alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree, Shaped, UInt32

AXIS = "batch"
"""Name of the axis of devices."""
WHOLE, SHARED = PartitionSpec(), PartitionSpec(None, AXIS)
"""The same on every device; and batches, one after another, of which every device has its part."""
T = TypeVar("T")


@dataclass(frozen=True)
class Devices:
    """Devices that share every batch.

    Attributes:
        devices: all of them, those of other processes too, in the same order in every process.
    """

    devices: tuple[jax.Device, ...]

    def __len__(self) -> int:
        """Count the devices."""
        return len(self.devices)

    @cached_property
    def mesh(self) -> Mesh:
        """The devices as JAX wants them."""
        return Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))

    def check(self, batch: int, halves: bool) -> None:
        """Raise ValueError unless every device has as many examples of a batch, or of each of its halves."""
        parts = len(self) * (2 if halves else 1)
        if batch % parts:
            why = f"twice the number of devices, {parts}, since" if halves else f"the number of devices, {parts}:"
            what = "half of it are pasted scenes" if halves else "each takes as many scenes"
            raise ValueError(f"batch must be a multiple of {why} {what}; got {batch}")

    def everywhere(self, tree: T) -> T:
        """Copy arrays, the same in every process, to every device."""
        return jax.tree.map(lambda x: self._placed(WHOLE, np.shape(x), lambda index: np.asarray(x)[index]), tree)

    def share(self, data: PyTree, rows: Int[np.ndarray, "steps b"]) -> PyTree:
        """Copy batches of data to the devices, each its own part; only the rows of this process's devices are read.

        Args:
            data: arrays with a row per example; those with fewer rows are repeated.
            rows: rows of the data in each batch.
        """
        steps, batch = rows.shape
        order = rows.reshape(steps, -1, len(self)).swapaxes(1, 2).reshape(steps, batch)
        shared = lambda x: self._placed(SHARED, (*rows.shape, *x.shape[1:]), lambda index: x[order[index[:2]] % len(x)])
        return jax.tree.map(shared, data)

    def _placed(self, spec, shape, part) -> jax.Array:
        return jax.make_array_from_callback(shape, NamedSharding(self.mesh, spec), part)


def here(tree: T) -> T:
    """Return arrays that are the same on every device as arrays of this process's first device."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def choose(batch: int, halves: bool) -> Devices | None:
    """Choose the devices that share batches: all of them; None if there is only one.

    Alone, a process leaves out devices if otherwise not all would have as many examples. Beside others, a process on
    CPUs takes one device.

    Args:
        batch: number of examples in a batch.
        halves: whether the first half of a batch must be shared, too.

    Raises:
        ValueError: the batch can't be shared among the processes.
    """
    if jax.process_count() > 1:
        return _checked(_one_each(jax.devices()) if jax.default_backend() == "cpu" else jax.devices(), batch, halves)
    parts = batch // 2 if halves else batch
    most = max(n for n in range(1, jax.local_device_count() + 1) if n == 1 or (parts % n == 0 and batch % n == 0))
    return Devices(tuple(jax.local_devices()[:most])) if most > 1 else None


def _checked(devices: Sequence[jax.Device], batch: int, halves: bool) -> Devices:
    chosen = Devices(tuple(devices))
    chosen.check(batch, halves)
    return chosen


def _one_each(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """Keep the first device of every process."""
    return list({device.process_index: device for device in reversed(devices)}.values())[::-1]


# Within a step


def count() -> int:
    """Return the number of devices that take this step together."""
    try:
        return jax.lax.axis_size(AXIS)
    except NameError:  # no such axis: the step is not shared
        return 1


def mean(tree: T) -> T:
    """Average over the devices, in one exchange."""
    if count() == 1:
        return tree
    flat, unflatten = ravel_pytree(tree)
    return unflatten(jax.lax.pmean(flat, AXIS))


def own(values: Shaped[Array, "b ..."]) -> Shaped[Array, "part ..."]:
    """Select, of values for the examples of a whole batch, those for this device's examples."""
    devices = count()
    if devices == 1:
        return values
    return values.reshape(-1, devices, *values.shape[1:])[:, jax.lax.axis_index(AXIS)]


def keys(key: UInt32[Array, "2"], examples: int) -> UInt32[Array, "examples 2"]:
    """Split a key for this device's examples. They depend on places in the whole batch, not on the devices."""
    return own(jax.random.split(key, examples * count()))
