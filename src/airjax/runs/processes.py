"""Several processes, on one machine or many, that train together: how they find each other, and what process 0 does.

`join` connects them by `jax.distributed`. What only one process may do, process 0 does: `first_does` also lets its
errors end the others. Alone, a process is the first one, and nothing here costs anything.
"""

import hashlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import UInt8

from airjax.config import Config

HEARTBEAT = 20
"""Seconds without a sign of life after which a process counts as dead. A killed one is mostly noticed at once."""
LEAVING = 300
"""Longest time, in seconds, that a process which is done waits for the others."""
SLURM = "SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"
OPEN_MPI = "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"
ADDRESS_OF_OPEN_MPI = "OMPI_MCA_orte_hnp_uri"
KUBERNETES = "KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"
_COMPARED = 1_000
"""Number of images, spread over the data, that are compared between processes."""
_MOST_SAID = 1_000
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """The place of this process among those that train together.

    Attributes:
        coordinator: HOST:PORT of process 0; None: JAX finds it in the environment.
        processes: number of processes; None: JAX finds it.
        process_id: number of this process, from 0 on.
    """

    coordinator: str | None
    processes: int | None
    process_id: int


def find_place(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Place | None:
    """Find the place of this process, from what is given and, for the rest, from the environment.

    The environment is that of SLURM, Open MPI or a Job of Kubernetes.

    Args:
        coordinator: HOST:PORT of process 0.
        processes: number of processes; 1: this process trains alone, whatever the environment says.
        process_id: number of this process.
        environment: variables by name; None: those of this process.

    Returns:
        The place; None if this process is alone.

    Raises:
        ValueError: a value is out of range, or one is missing.
    """
    given = Place(coordinator, processes, -1 if process_id is None else process_id)
    if processes == 1 and process_id in (None, 0):
        return None
    if None not in (coordinator, processes, process_id):
        return _checked(given)
    found = _in_environment(os.environ if environment is None else environment)
    if found is None:
        if (coordinator, processes, process_id) == (None, None, None):
            return None
        raise ValueError(
            "coordinator, processes and process_id must be given together, since neither SLURM, Open MPI nor "
            f"Kubernetes tells the rest; got {coordinator}, {processes} and {process_id}"
        )
    told = {name: value for name, value in asdict(given).items() if value not in (None, -1)}
    return _checked(replace(found, **told))


def _checked(place: Place) -> Place:
    count, number = place.processes, place.process_id
    if count is not None and count < 1:
        raise ValueError(f"processes must be at least 1, got {count}")
    if number < 0 or (count is not None and number >= count):
        most = "" if count is None else f" to processes - 1 = {count - 1}"
        raise ValueError(f"process_id must be from 0{most}, got {number}")
    if place.coordinator is not None:
        host, _, port = place.coordinator.rpartition(":")
        if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
            raise ValueError(f"coordinator must be HOST:PORT, the address of process 0, got {place.coordinator}")
    return place


def _in_environment(variables: Mapping[str, str]) -> Place | None:
    """Find what JAX finds, where there is more than one process."""
    holds = lambda names: all(name in variables for name in names)
    # One task of a larger allocation (`srun -n 1` in it) is alone, though SLURM_NTASKS may count the allocation's.
    if holds(SLURM) and min(int(variables.get(name, 2)) for name in ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS")) > 1:
        return Place(None, int(variables["SLURM_NTASKS"]), int(variables["SLURM_PROCID"]))
    if holds(OPEN_MPI) and int(variables["OMPI_COMM_WORLD_SIZE"]) > 1:
        return Place(None, int(variables["OMPI_COMM_WORLD_SIZE"]), int(variables["OMPI_COMM_WORLD_RANK"]))
    if holds(KUBERNETES) and importlib.util.find_spec("kubernetes"):
        return Place(None, None, int(variables["JOB_COMPLETION_INDEX"]))
    return None


def join(place: Place, timeout: int) -> None:
    """Connect with the other processes; before anything is computed.

    If they don't all come in time, or two have the same number, JAX ends the process (SIGABRT).

    Args:
        place: the place of this process.
        timeout: longest time, in seconds, to wait for the others.

    Raises:
        ValueError: the address of process 0 can't be found.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, and the process would go on
    if place.coordinator is None and place.processes and ADDRESS_OF_OPEN_MPI not in os.environ and _by_open_mpi():
        raise ValueError("this Open MPI doesn't tell the address of process 0: give --coordinator HOST:PORT")
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.processes,
            place.process_id,
            cluster_detection_method="deactivate" if place.coordinator and place.processes else None,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=LEAVING,
        )
    except (RuntimeError, OSError) as error:
        hint = "give --coordinator, --processes and --process-id, or --processes 1 to train alone"
        raise ValueError(f"the processes can't join: {error}; {hint}") from None


def _by_open_mpi() -> bool:
    return all(name in os.environ for name in OPEN_MPI) and not all(name in os.environ for name in SLURM)


def leave() -> None:
    """Wait until all processes are done, and disconnect."""
    jax.distributed.shutdown()


def is_first() -> bool:
    """Return whether this process is the one that writes."""
    return jax.process_index() == 0


def first_does(work: Callable[[], T]) -> T | None:
    """Let process 0 alone do something, while the others wait.

    Returns:
        What `work` returns, in process 0; None elsewhere.

    Raises:
        Exception: what `work` raised, in process 0.
        ValueError: the same sentence, elsewhere.
    """
    if jax.process_count() == 1:
        return work()
    result, error = None, None
    if is_first():
        try:
            result = work()
        except Exception as caught:
            error = caught
    said = _say(str(error or ""))
    if error is not None:
        raise error
    if said:
        raise ValueError(said)
    return result


def _say(sentence: str) -> str:
    """Tell the other processes a sentence of process 0."""
    line = np.zeros(_MOST_SAID, np.uint8)
    content = sentence.encode()[:_MOST_SAID]
    line[: len(content)] = np.frombuffer(content, np.uint8)
    return bytes(np.asarray(from_first(line))).rstrip(b"\0").decode(errors="ignore")


def from_first(tree: T) -> T:
    """Return the arrays that process 0 has, in every process."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(tree)


def check_alike(config: Config, images: UInt8[np.ndarray, "n c h w"]) -> None:
    """Check that all processes have the same settings, data and versions.

    Raises:
        ValueError: one has others than process 0.
    """
    if jax.process_count() == 1:
        return
    own = {name: hashlib.sha256(content).digest() for name, content in _compared(config, images).items()}
    everyones = np.asarray(multihost_utils.process_allgather(np.frombuffer(b"".join(own.values()), np.uint8)))
    for name, digests in zip(own, np.split(everyones, len(own), axis=1)):
        if others := np.flatnonzero((digests != digests[0]).any(axis=1)).tolist():
            raise ValueError(
                f"all processes must have the same {name}, but those of process {others[0]} are not those of process "
                "0; start the same command everywhere, or give --processes 1 to train alone"
            )


def _compared(config: Config, images: UInt8[np.ndarray, "n c h w"]) -> dict[str, bytes]:
    """Return what must be alike; where the data lie may differ between machines."""
    data = replace(config.data, name="", data_dir=None)
    some = images[np.linspace(0, len(images) - 1, min(_COMPARED, len(images))).astype(int)]
    return {
        "settings": repr(replace(config, data=data)).encode(),
        "training scenes": repr(images.shape).encode() + np.ascontiguousarray(some).tobytes(),
        "versions of packages": repr([metadata.version(name) for name in ("airjax", "jax", "jaxlib")]).encode(),
    }
