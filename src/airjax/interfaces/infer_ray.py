"""Inference over millions of pictures by Ray Data: tasks read batches, a pool of actors infers them.

A row of Ray's data set is a whole batch, the same one as without Ray: what Ray makes smaller or larger, or in which
order it works, has no influence on results. This process alone writes (`airjax.interfaces.partitions`), so that
workers may fail and be replaced at any time, and so may this process.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from airjax.data.addresses import Address, UnreachableError
from airjax.data.temporary import temporary_folder
from airjax.interfaces import tabular
from airjax.interfaces.console import inferring
from airjax.interfaces.infer_files import Inference, files_of
from airjax.interfaces.locks import locked
from airjax.interfaces.outputs import Outputs, beside, check_folder
from airjax.interfaces.partitions import Batch, Partitions
from airjax.interfaces.ray_workers import UNREACHABLE, Reader, Row, Worker

BLOCK = 4
"""Number of batches that a task reads."""
STORE = 2**30
"""Bytes of memory in which batches wait on this machine."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # otherwise 15: workers would wait for all other programs
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # this process and a worker share a GPU
}
_SHORT = Path("/tmp")
"""Where Ray keeps its sockets, whose paths may have 107 characters."""
_logger = logging.getLogger(__name__)


class Pool(NamedTuple):
    """The actors that infer: how many there are, and the GPUs that each of them gets."""

    size: int
    gpus: int


def to_partitions(
    inference: Inference, folder: Path, pool: Pool, *, force: bool = False, progress: bool = True
) -> None:
    """Infer all pictures, by Ray, into a folder of Parquet files. The same call resumes after a stop.

    Args:
        inference: the job.
        folder: the folder to write; see `airjax.interfaces.partitions`.
        pool: the actors that infer.
        force: whether to begin anew where the folder holds another job, or a finished one.
        progress: whether to show a progress bar on stderr.

    Raises:
        ValueError: the folder can't be written, or holds something else, or results of pictures that have changed
            since; a picture can't be read, if that is an error.
        UnreachableError: pictures are at an address that can't be read.
    """
    check_folder(folder, inference.pictures)
    with locked([beside(folder, "lock")]):
        partitions = Partitions(folder, inference, force=force)
        if todo := partitions.unfinished:
            _infer(inference, partitions, todo, pool, progress)
        partitions.finish(told=progress)


def check_flags(engine: str | None, outputs: Outputs, workers: int | None, *, json: bool) -> Path | None:
    """Return the folder that Ray is to write to; None without Ray.

    Raises:
        ValueError: flags don't go together, or Ray is missing.
    """
    if engine is None:
        if workers is not None:
            raise ValueError(f"--workers needs --engine ray, got --workers {workers}")
        return None
    if outputs.parquet is None or len(outputs.paths) > 1 or json:
        raise ValueError("--engine ray needs --parquet FOLDER, and writes no other output")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    tabular.check_parquet()
    _check_ray()
    return outputs.parquet


def _check_ray() -> None:
    """Raise ValueError unless Ray is installed."""
    os.environ |= {name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()}
    try:
        import ray.data  # noqa: F401
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("ray", "pandas"):
            raise
        raise ValueError("--engine ray needs Ray: pip install 'airjax[ray]'") from None


def _infer(inference: Inference, partitions: Partitions, todo: list[int], pool: Pool, progress: bool) -> None:
    told: set[str] = set()
    with inferring(len(inference.pictures.names), partitions.done, shown=progress) as advance:
        for row in _inferred(inference, todo, pool):
            batch = _checked(row)
            for line in json.loads(row["told"]):
                if line not in told:
                    _logger.warning("%s", line)
                told.add(line)
            partitions.add(batch)
            advance(len(batch.lines))


def _checked(row: Row) -> Batch:
    """Return the batch of a row; raise the error that has happened instead."""
    if row["error"].startswith(UNREACHABLE):
        raise UnreachableError(row["error"].removeprefix(UNREACHABLE))
    if row["error"]:
        raise ValueError(row["error"])
    return Batch(row["index"], json.loads(row["lines"]), json.loads(row["doubts"]), row["read"])


@contextmanager
def cluster(workers: int | None = None) -> Iterator[Pool]:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine alone, which ends with the block.

    JAX should not be in use yet: Ray starts processes by forking this one.

    Args:
        workers: number of actors that infer; None: one for each GPU, or for each core but one.

    Raises:
        ValueError: the cluster has fewer cores or GPUs than that many actors, and a task that reads, need.
        ConnectionError: the cluster can't be joined.
    """
    import ray

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if ray.is_initialized():
        yield _pool(ray.cluster_resources(), workers)
        return
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    with temporary_folder("airjax-ray-", _SHORT if _SHORT.is_dir() else None) as folder:
        try:
            with _silent():
                ray.init(**options, **({} if os.environ.get("RAY_ADDRESS") else _own_cluster(workers, folder)))
            yield _pool(ray.cluster_resources(), workers)
        finally:
            ray.shutdown()


@contextmanager
def _silent() -> Iterator[None]:
    """Drop what Ray's libraries write to the terminal by themselves."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _own_cluster(workers: int | None, folder: Path) -> dict[str, Any]:
    """Describe a cluster of this machine. Tasks that read get a core, at least: without one, nothing would happen."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    actors = workers or max(1, cores - 1)
    return {
        "address": "local",
        "num_cpus": actors + max(1, cores - actors),
        "include_dashboard": False,
        "object_store_memory": STORE,
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": str(folder),
    }


def _pool(resources: Mapping[str, float], workers: int | None) -> Pool:
    """Choose how many actors infer, and on what each runs; see `cluster`."""
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    on_gpus = gpus > 0 and os.environ.get("JAX_PLATFORMS") != "cpu"
    size = workers or (gpus if on_gpus else max(1, cores - 1))
    if size > cores - 1 or (on_gpus and size > gpus):
        what = f"{cores} cores, of which one reads pictures" + (f", and {gpus} GPUs" if on_gpus else "")
        raise ValueError(f"workers must be at most what the Ray cluster has ({what}), got {size}")
    return Pool(size, int(on_gpus))


def _inferred(inference: Inference, todo: list[int], pool: Pool) -> Iterator[Row]:
    """Yield the rows of batches, in any order."""
    from ray.data import ActorPoolStrategy, DataContext, from_items

    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    pictures, together = inference.pictures, inference.together
    root = pictures.root if isinstance(pictures.root, Address) else pictures.root.absolute()
    reader = Reader(root, inference.levels, inference.channels, inference.fit)
    # The first batch stands for all pictures: what is compiled depends on its size.
    first = pictures._replace(root=root, names=pictures.names[:together])
    rows = [_row(inference, index, first=index == todo[0]) for index in todo]
    blocks = max(1, len(rows) // BLOCK if len(rows) > BLOCK * 2 * pool.size else len(rows))
    read = from_items(rows, override_num_blocks=blocks).map(reader.read, num_cpus=0.5)  # 1 would make them one step
    inferred = read.map(
        cast(Any, Worker),
        fn_constructor_args=(replace(inference, pictures=first),),
        compute=ActorPoolStrategy(size=pool.size),
        num_cpus=1,
        num_gpus=pool.gpus,
    )
    yield from inferred.iter_rows()


def _row(inference: Inference, index: int, *, first: bool) -> Row:
    pictures, together = inference.pictures, inference.together
    names = pictures.names[index * together : (index + 1) * together]
    states = {}
    if isinstance(root := pictures.root, Address) and root.text:
        states = {file: (root / file).state() for file in files_of(names)}
    return {"index": index, "first": first, "names": json.dumps(names), "states": json.dumps(states)}
