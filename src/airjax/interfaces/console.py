"""Helpers of all commands: errors in one sentence, results as JSON or text, and outputs that overwrite nothing."""

import dataclasses
import io
import json
import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from airjax.config import DATA_SETS, MAX_SEED
from airjax.interfaces.names import printable

USER_ERROR = 2
"""Exit code for mistakes that the user can fix: a missing file, a value out of range, an unknown flag."""
BROKEN_PIPE = 141
"""Exit code when nothing reads the output any more: 128 plus SIGPIPE's number, as in shells."""
NOT_FINITE = 3
"""Exit code of a training run that reached a number that is not finite."""
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 plus SIGINT's number, as in shells."""
PATIENCE = 2.0
"""Longest time, in seconds, that a process which has to end waits for its last words to be read."""
LISTED, LIKELY = 13, 0.001
"""Number of counts up to which p(n | x) is printed in full, and the least probability that is printed beyond."""
STALLED = 4
"""Exit code of a training run that stalled."""
GENERATOR = "threefry2x32"
"""JAX's generator of random numbers, whose keys are two numbers."""
_logger = logging.getLogger("airjax")


def key(seed: int) -> Any:
    """Make a random key from a seed; raise ValueError if the seed is out of range."""
    import jax

    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be from 0 to {MAX_SEED}, got {seed}")
    return jax.random.PRNGKey(seed)


def prepare_streams() -> None:
    """Let stdout and stderr take any text, and let them be closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until the process ends)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def keep_kinds_of_numbers() -> None:
    """Use the precision and the generator of random numbers that checkpoints have, whatever the environment says."""
    import jax

    os.environ |= {"JAX_DEFAULT_PRNG_IMPL": GENERATOR, "JAX_ENABLE_X64": "0"}
    jax.config.update("jax_default_prng_impl", GENERATOR)
    jax.config.update("jax_enable_x64", False)


def check_free(out: Path, force: bool) -> None:
    """Raise ValueError if the output exists, unless `force` is set."""
    if out.exists() and not force:
        raise ValueError(f"{out} exists; choose another --out or give --force")


def to_json(value: dict[str, Any]) -> str:
    """Convert results to JSON in one line; raise ValueError, with a sentence, if they are not finite."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError("the results are not finite numbers: the model's weights, or the data, are damaged") from None


def check_outside(out: Path, data: str) -> None:
    """Raise ValueError if an output would lie within the folder of pictures that are data."""
    folder = Path(data).resolve()
    if data not in DATA_SETS and folder.is_dir() and folder in (out.resolve(), *out.resolve().parents):
        raise ValueError(f"--out must lie outside of {data}, got {out}: pictures there would be taken for data")


def print_scores(scores: dict[str, Any], as_json: bool) -> None:
    """Print scores as one JSON object, or as text with one line per score."""
    if as_json:
        print(to_json(scores))
        return
    for name, value in scores.items():
        print(f"{name:24} {f'{value:.4f}' if isinstance(value, float) else value}")


def print_check(found: Any, as_json: bool) -> None:
    """Print what `airjax.interfaces.check` has found as one JSON object or as text, the verdict last."""
    told = dataclasses.asdict(found)
    if as_json:
        print(to_json(told))
        return
    shares = {name: value for name, value in told.items() if isinstance(value, float)}
    print("\n".join([f"{name:12} {100 * share:5.1f} %" for name, share in shares.items()]))
    print(found.sentence)


def print_images(described: Iterable[dict[str, Any]], as_json: bool) -> None:
    """Print descriptions of images as one JSON object or as text, one by one, so that none is kept in memory."""
    for index, one in enumerate(described):
        image: dict[str, Any] = {**one, "image": printable(one["image"])}
        if as_json:
            print(("," if index else '{"images": [') + to_json(image), end="")
            continue
        camera = f", camera at {image['azimuth_deg']:.1f} degrees" if "azimuth_deg" in image else ""
        print(f"{image['image']}: {image['count']} (p(n|x) = {_posterior(image['count_posterior'])}){camera}")
        for found in image["objects"]:
            posed = "{identity} at {position}, turned by {rotation_deg:.1f} degrees, " if "identity" in found else ""
            print(f"  {posed.format(**found)}box {found['box']}, presence {found['presence']:.4f}")
    if as_json:
        print("]}")


def _posterior(shares: Sequence[float | int]) -> str:
    """Write p(n | x) in full, or of many counts those that are likely."""
    if len(shares) <= LISTED:
        return str(shares)
    return ", ".join(f"{count}: {share:.3f}" for count, share in enumerate(shares) if share >= LIKELY)


@contextmanager
def inferring(total: int, done: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar of pictures on stderr; the function that is lent says how many more are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("inferring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda more: bar.advance(task, more)


def flag(name: str, value: Any) -> str:
    """Spell a setting as a flag of the command line."""
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{dashed}" if value else f"--no-{dashed}"
    return f"--{dashed} {' '.join(f'{one:g}' for one in value) if isinstance(value, tuple) else value}"


def flags(settings: Mapping[str, Any]) -> str:
    """Spell settings as flags of the command line; those that are None are left out, as None is their default."""
    return " ".join(flag(name, value) for name, value in settings.items() if value is not None)


def print_report(found: Any, as_json: bool) -> None:
    """Print a report of `airjax.interfaces.doctor` as one JSON object or as text."""
    if as_json:
        print(to_json(dataclasses.asdict(found)))
        return
    width, height = found.size
    shares = ", ".join(f"{count}: {100 * share:.0f} %" for count, share in enumerate(found.counts) if share)
    one = "tile" if found.tile else "picture"
    about = f"cut into tiles of {width} x {height}" if found.tile else f"about {width} x {height}"
    several = "pictures" if found.pictures != 1 else "picture"
    print(f"{found.pictures} {several}, {about} pixels, {'in colour' if found.colour else 'grey'}")
    if found.still:
        print("the camera stands still: tiles show how pictures differ from what is always there")
    print(f"background: {found.background}, noise {found.noise:.3f}, pattern {found.pattern:.3f} (of 1)")
    compared = "lighter and darker" if found.settings["compose"] == "over" else f"{found.polarity}er"
    print(f"objects: {compared} than the background, about {found.side:.3f} of a {one}'s longer side")
    print(f"objects in a {one}: {shares}")
    print(f"objects touch in {100 * found.touching:.0f} % of the {one}s; elsewhere, a threshold")
    print("  and connected pieces (scipy.ndimage.label) count them as well")
    print(f"settings: {flags(found.settings)}")
    for doubt in found.doubts:
        print(f"AIR may be the wrong tool: {doubt}")
    if not found.doubts:
        print("AIR suits these pictures")


def report(error: Exception) -> None:
    """Print an error as one sentence; log its traceback if AIRJAX_DEBUG is set."""
    if os.environ.get("AIRJAX_DEBUG"):
        _logger.exception("traceback")
    sentence = str(error)
    if isinstance(error, OSError) and error.filename and error.strerror:
        sentence = f"{error.filename}: {error.strerror}"
    print(f"airjax: {' '.join(sentence.split())}", file=sys.stderr)


def end_stalled(sentence: str) -> None:
    """End the process at once, even if its other threads hang, or nobody reads what it says."""
    end_now(f"\nairjax: {sentence}; run the same command again to resume", STALLED)


def end_now(sentence: str, code: int) -> None:
    """Print a sentence to stderr and end the process, whatever its other threads do."""
    late = threading.Timer(PATIENCE, os._exit, [code])
    late.daemon = True
    late.start()
    try:
        print(sentence, file=sys.stderr, flush=True)
    finally:
        os._exit(code)


_OF_THE_DEVICE = ("nable to initialize backend", "nknown backend", "RESOURCE_EXHAUSTED", "ut of memory")
"""Words of JAX's errors about a device that isn't there (JAX_PLATFORMS), or has too little memory."""


def interrupted(tokens: Sequence[str]) -> str:
    """Say, after Ctrl-C, whether the same command goes on where it stopped."""
    going_on = {
        "train": "; run the same command again to go on from the last checkpoint",
        "infer": "; where it writes files, the same command goes on after the pictures that are done",
    }
    return f"airjax: interrupted{going_on.get(tokens[0] if tokens else '', '')}"


def interruptible(tokens: Sequence[str]) -> AbstractContextManager[object]:
    """Let Ctrl-C end a command even in a computation that doesn't return; `serve` handles it by itself."""
    from airjax.runs.watchdog import Watchdog

    if list(tokens[:1]) == ["serve"]:
        return nullcontext()
    return Watchdog(lambda _: end_now(interrupted(tokens), INTERRUPTED), least=math.inf)


def exit_code(error: Exception) -> int | None:
    """Return the exit code for a user's mistake or a diverged run; None for a defect, which keeps its traceback."""
    from airjax.data.addresses import UnreachableError
    from airjax.learning.trainer import NotFiniteError
    from airjax.runs.checkpoint import CheckpointError, RunLocked
    from airjax.runs.pretrained import PretrainedError
    from airjax.runs.record import RunError

    if isinstance(error, NotFiniteError):
        return NOT_FINITE
    mistakes = (
        ValueError,
        OSError,
        MemoryError,
        CheckpointError,
        RunLocked,
        RunError,
        PretrainedError,
        UnreachableError,
    )
    if isinstance(error, mistakes):
        return USER_ERROR
    of_jax = isinstance(error, RuntimeError) and any(words in str(error) for words in _OF_THE_DEVICE)
    return USER_ERROR if of_jax else None
