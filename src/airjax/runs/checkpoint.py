"""Checkpoints of a run: one safetensors file per saved step, its SHA-256 beside it, and a lock on the run.

Why not orbax: a checkpoint here is a few megabytes on one host, so a single file moved into place by one
atomic rename is enough. It needs no background threads, survives a kill at any moment, and has the format in
which weights are published. The hash detects flipped bits, which a plain restore would return as weights.

    runs/a/checkpoints/step_000012345.safetensors
    runs/a/checkpoints/step_000012345.sha256          (checked by `sha256sum -c`, too)
"""

import hashlib
import logging
import re
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import PyTree

from airjax.files import write_atomically
from airjax.runs.former import weight

_logger = logging.getLogger(__name__)
_NAME = re.compile(r"step_(\d{9,})\.safetensors")
# safetensors' reader for numpy does not support bfloat16, so its dtype names are mapped here.
_DTYPES = {"BOOL": "bool", "BF16": "bfloat16", "C64": "complex64"}
_DTYPES |= {f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)}
_DTYPES |= {f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)}
_DTYPES |= {f"F{bits}": f"float{bits}" for bits in (16, 32, 64)}


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or of another model."""


class RunLocked(RuntimeError):
    """Another process holds the run."""


def save(folder: Path, step: int, state: PyTree, *, keep: int = 3) -> Path:
    """Write `state` as the checkpoint of `step` and remove old checkpoints beyond `keep`.

    The hash is written before the data, so whatever a kill leaves behind is either complete or recognised as
    invalid.

    Args:
        folder: Where checkpoints are kept; made if absent.
        step: Number of training steps done, at least 0. A checkpoint of the same step is replaced.
        state: A pytree whose leaves are jax or numpy arrays, at least one.
        keep: Number of checkpoints up to `step` to keep, including this one. Later ones, left by a run that
            was resumed from an earlier step, are not touched.

    Returns:
        The path of the new checkpoint.

    Raises:
        ValueError: A leaf isn't an array, or has a dtype that can't be stored (a typed PRNG key: store its
            `jax.random.key_data`); `state` has no leaves; `step` is negative; `keep` is below 1.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"step must be at least 0 and keep at least 1, got step={step} and keep={keep}")
    content = to_bytes(state)
    path = Path(folder) / f"step_{step:09d}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(content).hexdigest()
    write_atomically(_sidecar(path), f"{digest}  {path.name}\n".encode())
    write_atomically(path, content)
    _prune(path.parent, step, keep)
    return path


def restore(path: Path, like: PyTree) -> PyTree:
    """Read a checkpoint into the structure of `like`.

    Args:
        path: A file written by `save`.
        like: A pytree of arrays (or `jax.ShapeDtypeStruct`) with the expected names, shapes and dtypes. Its
            numpy leaves are restored as numpy arrays, the others as jax arrays with the sharding they have in
            `like`.

    Returns:
        The state, equal bit for bit to the one saved.

    Raises:
        CheckpointError: The file is missing or damaged, or doesn't match `like`.
    """
    path = Path(path)
    return from_bytes(_read_checked(path), like, path)


def to_bytes(state: PyTree) -> bytes:
    """Encode a pytree of arrays in the safetensors format.

    Raises:
        ValueError: see `save`.
    """
    return safetensors.numpy.save(_to_arrays(state))


def from_bytes(content: bytes, like: PyTree, path: Path) -> PyTree:
    """Decode the output of `to_bytes` into the structure of `like`; see `restore`.

    Args:
        content: the encoded bytes.
        like: the expected structure.
        path: the file the bytes came from, for error messages.

    Raises:
        CheckpointError: The bytes have another format, or don't match `like`.
    """
    try:
        stored = {weight(name): _to_array(entry) for name, entry in safetensors.deserialize(content)}
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} isn't a checkpoint: {error}") from error
    expected = _named_leaves(like)
    _check_same(path, stored, expected)
    leaves = [_place(stored[name], leaf) for name, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def not_finite(tree: PyTree) -> str | None:
    """Name an array that holds NaN, or an infinity where none has a meaning; None if there is none.

    A log-probability may be minus infinity: that of a count that can't be.
    """
    for name, leaf in _named_leaves(tree).items():
        values = np.asarray(leaf, np.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else np.zeros(0)
        if not (np.isfinite(values) | (values == -np.inf if name.endswith("count_log_prior") else False)).all():
            return name
    return None


def restore_newest(folder: Path, like: PyTree) -> tuple[int, PyTree] | None:
    """Read the newest valid checkpoint of a folder; log a warning for each newer one that isn't valid.

    Returns:
        The step and the state; None if the folder has no checkpoint or doesn't exist.

    Raises:
        CheckpointError: There are checkpoints, but none is valid.
    """
    problems = []
    for step, path in sorted(_checkpoints(Path(folder)), reverse=True):
        try:
            return step, restore(path, like)
        except CheckpointError as error:
            _logger.warning("Skipping a checkpoint: %s", error)
            problems.append(str(error))
    if problems:
        raise CheckpointError(f"None of the {len(problems)} checkpoints in {folder} is valid; newest: {problems[0]}")
    return None


class RunLock:
    """Hold a run's folder for this process: `with RunLock(run): ...`.

    The operating system releases the lock when the process ends, however it ends, so a killed run needs no
    cleanup.
    """

    def __init__(self, run: Path) -> None:
        self._run = Path(run)
        self._lock = filelock.FileLock(self._run / ".lock")

    def __enter__(self) -> "RunLock":
        """Take the lock, and make the folder if it is absent; raise `RunLocked` at once if the lock is taken."""
        self._run.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RunLocked(f"{self._run} is in use by another process; wait for it or name another folder") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        self._lock.release()


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    return [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]


def _prune(folder: Path, step: int, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints up to `step`, and files left by killed writers."""
    upto = sorted(entry for entry in _checkpoints(folder) if entry[0] <= step)
    for _, path in upto[:-keep]:
        path.unlink()
        _sidecar(path).unlink(missing_ok=True)
    orphans = [s for s in folder.glob("step_*.sha256") if not s.with_suffix(".safetensors").exists()]
    for path in [*orphans, *folder.glob(".step_*.tmp")]:
        path.unlink(missing_ok=True)


def _named_leaves(tree: PyTree) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _to_arrays(state: PyTree) -> dict[str, np.ndarray]:
    leaves = _named_leaves(state)
    if not leaves:
        raise ValueError("state must have at least one array, got none")
    for name, leaf in leaves.items():
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise ValueError(f"every leaf of state must be an array, got {type(leaf).__name__} at {name or 'its root'}")
        if leaf.dtype.name not in _DTYPES.values():
            raise ValueError(f"arrays of dtype {leaf.dtype.name} can't be stored, got one at {name or 'its root'}")
    # order="C": safetensors copies memory as it is laid out. Unlike ascontiguousarray, asarray keeps 0-d arrays 0-d.
    return {name: np.asarray(leaf, order="C") for name, leaf in leaves.items()}


def _to_array(entry: dict[str, Any]) -> np.ndarray:
    dtype = jnp.dtype(_DTYPES[entry["dtype"]])
    return np.frombuffer(entry["data"], dtype=dtype).reshape(entry["shape"])


def _read_checked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        recorded = _sidecar(path).read_bytes().split()[:1]
    except OSError as error:
        raise CheckpointError(f"{path} can't be used: {error.strerror} ({error.filename})") from error
    if recorded != [hashlib.sha256(content).hexdigest().encode()]:
        raise CheckpointError(f"{path} is damaged: its SHA-256 isn't the one recorded in {_sidecar(path).name}")
    return content


def _check_same(path: Path, stored: dict[str, np.ndarray], expected: dict[str, Any]) -> None:
    for word, names in (
        ("lacks", expected.keys() - stored.keys()),
        ("has unexpected", stored.keys() - expected.keys()),
    ):
        if names:
            raise CheckpointError(f"{path} is of another model: it {word} {', '.join(sorted(names)[:5])}")
    for name, leaf in expected.items():
        found, wanted = ((a.dtype.name, tuple(a.shape)) for a in (stored[name], leaf))
        if found != wanted:
            raise CheckpointError(f"{path} is of another model: {name} is {found}, expected {wanted}")


def _place(array: np.ndarray, leaf: Any) -> np.ndarray | jax.Array:
    if isinstance(leaf, np.ndarray):
        return array.copy()
    placed = jnp.array(array)  # a copy: memory shared with `array` must not be donated to a training step
    committed = isinstance(leaf, jax.Array) and leaf.committed
    return jax.device_put(placed, leaf.sharding) if committed else placed
