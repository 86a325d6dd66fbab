"""What every command shares: errors as one sentence, results as JSON or for people, outputs that overwrite nothing."""

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airjax.config import MAX_SEED

USER_ERROR = 2
"""Exit code for what the user can mend: a missing file, a value out of range, an unknown flag."""
BROKEN_PIPE = 141
"""Exit code where nobody reads the output any more: 128 and SIGPIPE's number, as the shell has it."""
NOT_FINITE = 3
"""Exit code of a training run that met a number that is not finite."""
STALLED = 4
"""Exit code of a training run that stood still."""
_logger = logging.getLogger("airjax")


def key(seed: int) -> Any:
    """Make a random key of a seed that can be one."""
    import jax

    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be from 0 to {MAX_SEED}, got {seed}")
    return jax.random.PRNGKey(seed)


def keep_compiled() -> None:
    """Keep compiled programs between commands, unless the environment says where or that they are not wanted."""
    import pooch

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pooch.os_cache("airjax") / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


def check_free(out: Path, force: bool) -> None:
    """Refuse to write over a file unless that was asked for."""
    if out.exists() and not force:
        raise ValueError(f"{out} exists; choose another --out or give --force")


def print_scores(scores: dict[str, Any], as_json: bool) -> None:
    """Print scores as one JSON object, or a line each for people."""
    if as_json:
        print(json.dumps(scores, allow_nan=False))
        return
    for name, value in scores.items():
        print(f"{name:24} {f'{value:.4f}' if isinstance(value, float) else value}")


def print_images(described: Iterable[dict[str, Any]], as_json: bool) -> None:
    """Print what was found in images as one JSON object, or a few lines each for people; none is kept."""
    for index, image in enumerate(described):
        if as_json:
            print(("," if index else '{"images": [') + json.dumps(image, allow_nan=False), end="")
            continue
        camera = f", camera at {image['azimuth_deg']:.1f} degrees" if "azimuth_deg" in image else ""
        print(f"{image['image']}: {image['count']} (p(n|x) = {image['count_posterior']}){camera}")
        for found in image["objects"]:
            posed = "{identity} at {position}, turned by {rotation_deg:.1f} degrees, " if "identity" in found else ""
            print(f"  {posed.format(**found)}box {found['box']}, presence {found['presence']:.4f}")
    if as_json:
        print("]}")


def flag(name: str, value: Any) -> str:
    """Spell a setting as it is given on the command line."""
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{dashed}" if value else f"--no-{dashed}"
    return f"--{dashed} {value}"


def print_report(found: Any, as_json: bool) -> None:
    """Print what `airjax.interfaces.doctor` found as one JSON object, or for people."""
    if as_json:
        print(json.dumps(dataclasses.asdict(found), allow_nan=False))
        return
    width, height = found.size
    shares = ", ".join(f"{count}: {100 * share:.0f} %" for count, share in enumerate(found.counts) if share)
    print(f"{found.pictures} pictures, about {width} x {height} pixels, {'in colour' if found.colour else 'grey'}")
    print(f"ground: {found.ground}, noise {found.noise:.3f}, pattern {found.pattern:.3f} (of 1)")
    compared = "lighter and darker" if found.settings["compose"] == "over" else f"{found.polarity}er"
    print(f"objects: {compared} than the ground, about {found.side:.3f} of a picture's longer side")
    print(f"objects in a picture: {shares}")
    print(f"settings: {' '.join(flag(name, value) for name, value in found.settings.items())}")
    for doubt in found.doubts:
        print(f"AIR may be the wrong tool: {doubt}")
    if not found.doubts:
        print("AIR suits these pictures")


def report(error: Exception) -> None:
    """Say in one sentence what is wrong; the traceback only where it was asked for."""
    if os.environ.get("AIRJAX_DEBUG"):
        _logger.exception("traceback")
    sentence = str(error)
    if isinstance(error, OSError) and error.filename and error.strerror:
        sentence = f"{error.filename}: {error.strerror}"
    print(f"airjax: {' '.join(sentence.split())}", file=sys.stderr)


def end_stalled(sentence: str) -> None:
    """End the process at once, whatever its other threads wait for."""
    print(f"\nairjax: {sentence}; start the same command again to go on", file=sys.stderr, flush=True)
    os._exit(STALLED)


def exit_code(error: Exception) -> int | None:
    """Tell a user's mistake and a diverged run from a defect of ours, which keeps its traceback."""
    from airjax.learning.trainer import NotFiniteError
    from airjax.runs.checkpoint import CheckpointError, RunLocked
    from airjax.runs.pretrained import PretrainedError
    from airjax.runs.record import RunError

    if isinstance(error, NotFiniteError):
        return NOT_FINITE
    mistakes = (ValueError, OSError, CheckpointError, RunLocked, RunError, PretrainedError)
    return USER_ERROR if isinstance(error, mistakes) else None
