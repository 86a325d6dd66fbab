"""The command line: parsing and printing only."""

import dataclasses
import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import App, CoercionError, CycloptsError, Group, Parameter

from airjax.config import MAX_SEED, ChannelsKind, Config, DataConfig, ModelConfig, TrainConfig

USER_ERROR = 2
"""Exit code for what the user can mend: a missing file, a value out of range, an unknown flag."""
NOT_FINITE = 3
"""Exit code of a training run that met a number that is not finite."""


_WHOLE = r"[+-]?[0-9_]+"
_SPELLINGS = {int: _WHOLE, tuple[int, ...]: _WHOLE, ChannelsKind: _WHOLE, int | None: rf"{_WHOLE}|(?i:none)"}


def _exact(kind: Any, tokens: Any) -> Any:
    """Convert as cyclopts does, but without rounding: 1.5 is no number of steps."""
    for token in tokens:
        if kind in _SPELLINGS and not re.fullmatch(_SPELLINGS[kind], token.value):
            raise CoercionError(token=token, target_type=int)
    return cyclopts.convert(kind, tokens)


app = App(
    name="airjax",
    help="Attend, Infer, Repeat: count, locate and redraw the objects of a scene, without labels.",
    default_parameter=Parameter(consume_multiple=True, negative_iterable=(), converter=_exact),
)
_logger = logging.getLogger("airjax")


def _flags(title: str) -> Parameter:
    return Parameter(name="*", group=Group(title))


@app.command
def train(
    data: str,
    *,
    out: Path,
    config: str | None = None,
    quiet: bool = False,
    scenes: Annotated[DataConfig | None, _flags("Data")] = None,
    model: Annotated[ModelConfig | None, _flags("Model")] = None,
    training: Annotated[TrainConfig | None, _flags("Training")] = None,
) -> None:
    """Train on multi-mnist, multi-digits, sprites, omniglot or FILE.npz; the same command goes on after a stop.

    Args:
        data: Name of a data set, or an .npz file with `images` (uint8 [n, h, w] or [n, h, w, 3]).
        out: The run's folder.
        config: fast, paper (sizes), difference, or a TOML file of settings named like the flags below; flags win.
        quiet: Show no progress bar.
    """
    from airjax.data import load_scenes
    from airjax.fit import fit

    del config  # `_config_file` has read it already
    resolved = Config(_data_config(data, scenes), model or ModelConfig(), training or TrainConfig())
    _logger.info("making scenes: %s", data)
    learnt, held_out = load_scenes(resolved.data, "train"), load_scenes(resolved.data, "held-out")
    fit(resolved, learnt, held_out, out, progress=not quiet)
    _logger.info("trained; pictures are in %s", out / "pictures")


@app.command
def evaluate(run: Path, *, scenes: Path | None = None, samples: int = 100, seed: int = 0, json: bool = False) -> None:
    """Score a trained run on its held-out scenes.

    Args:
        run: A run's folder.
        scenes: An .npz file to score instead: `images`, and where known `counts` and `boxes`.
        samples: Trajectories an image for the importance-weighted bound and the count posterior.
        seed: Fixes them.
        json: Print one JSON object.
    """
    from airjax import evaluate as evaluation
    from airjax.data import load_npz, load_scenes
    from airjax.run import load_model, read_record

    model = load_model(run)
    held_out = load_scenes(read_record(run).config.data, "held-out") if scenes is None else load_npz(scenes)
    _print_scores(evaluation.evaluate(model, held_out, key=_key(seed), samples=samples), json)


@app.command
def infer(run: Path, images: list[Path], /, *, samples: int = 100, seed: int = 0, json: bool = False) -> None:
    """Count, locate and describe the objects of pictures.

    Args:
        run: A run's folder.
        images: PNG, JPEG or other pictures of the size the model was trained on.
        samples: Trajectories an image for the count posterior.
        seed: Fixes them.
        json: Print one JSON object.
    """
    import numpy as np

    from airjax import inference
    from airjax.images import read_image
    from airjax.run import load_model

    model = load_model(run)
    pixels = np.stack([read_image(path, model.image_shape) for path in images])
    described = inference.describe(model, pixels, samples=samples, key=_key(seed))
    _print_images([{"image": str(path), **found} for path, found in zip(images, described)], json)


@app.command
def sample(run: Path, *, out: Path, n: int = 40, seed: int = 0, force: bool = False) -> None:
    """Draw scenes from the generative model.

    Args:
        run: A run's folder.
        out: The picture to write.
        n: Number of scenes.
        seed: Fixes them.
        force: Replace the picture if it exists.
    """
    from airjax.figures import sample_scenes
    from airjax.run import load_model

    _check_free(out, force)
    sample_scenes(load_model(run), out, n=n, seed=seed)


@app.command
def scenes(
    data: str,
    *,
    out: Path,
    n: int = 40,
    force: bool = False,
    settings: Annotated[DataConfig | None, _flags("Data")] = None,
) -> None:
    """Draw scenes to train on, with the true boxes where they are known.

    Args:
        data: multi-mnist, multi-digits, sprites, omniglot or an .npz file.
        out: The picture to write.
        n: Number of scenes.
        force: Replace the picture if it exists.
    """
    from airjax.figures import draw_scenes

    _check_free(out, force)
    draw_scenes(_data_config(data, settings), out, n=n)


@app.command
def figures(run: Path, *, compare: tuple[Path, ...] = ()) -> None:
    """Draw a run's figures again, into its folder `pictures`.

    Args:
        run: A run's folder.
        compare: Other runs to show in the learning curves.
    """
    from airjax.figures import draw_figures

    for path in draw_figures(run, compare):
        print(path)


@app.command
def serve(run: Path, *, port: int = 8000) -> None:
    """Watch a trained model attend, infer and repeat, on a web page of this machine alone.

    Args:
        run: A run's folder.
        port: Where the page is: http://127.0.0.1:PORT; 0 takes any that is free.
    """
    try:
        from airjax.serve import serve_run
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn"):
            raise
        raise ValueError("airjax serve needs more packages: pip install 'airjax[serve]'") from None
    serve_run(run, port=port)


def _data_config(name: str, given: DataConfig | None) -> DataConfig:
    """Put the name of the data set, which is an argument, to its settings, which are flags."""
    if given is not None and given.name != DataConfig().name:
        raise ValueError(f"name the data set by the first argument alone, got {name} and --name {given.name}")
    return dataclasses.replace(given or DataConfig(), name=name).resolved()


def _check_free(out: Path, force: bool) -> None:
    """Refuse to write over a file unless that was asked for."""
    if out.exists() and not force:
        raise ValueError(f"{out} exists; choose another --out or give --force")


def _print_scores(scores: dict[str, Any], as_json: bool) -> None:
    """Print scores as one JSON object, or a line each for people."""
    if as_json:
        print(json.dumps(scores, allow_nan=False))
        return
    for name, value in scores.items():
        print(f"{name:24} {f'{value:.4f}' if isinstance(value, float) else value}")


def _print_images(described: list[dict[str, Any]], as_json: bool) -> None:
    """Print what was found in images as one JSON object, or a few lines each for people."""
    if as_json:
        print(json.dumps({"images": described}, allow_nan=False))
        return
    for image in described:
        print(f"{image['image']}: {image['count']} (p(n|x) = {image['count_posterior']})")
        for found in image["objects"]:
            print(f"  box {found['box']}, presence {found['presence']:.4f}")


def _config_file(arguments: list[str]) -> None:
    """Let the settings of `train --config NAME` stand in for flags that aren't given."""
    from airjax.presets import read

    app.config = ()
    if arguments[:1] != ["train"]:
        return
    for word, following in zip(arguments, [*arguments[1:], ""]):
        path = following if word == "--config" else word.removeprefix("--config=")
        if path and path != word:
            app.config = (cyclopts.config.Dict(read(path), source=path, use_commands_as_keys=False),)


def _key(seed: int) -> Any:
    """Make a random key of a seed that can be one."""
    import jax

    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be from 0 to {MAX_SEED}, got {seed}")
    return jax.random.PRNGKey(seed)


def _keep_compiled() -> None:
    """Keep compiled programs between commands, unless the environment says where or that they are not wanted."""
    import pooch

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pooch.os_cache("airjax") / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


def _report(error: Exception) -> None:
    """Say in one sentence what is wrong; the traceback only where it was asked for."""
    if os.environ.get("AIRJAX_DEBUG"):
        _logger.exception("traceback")
    sentence = str(error)
    if isinstance(error, OSError) and error.filename and error.strerror:
        sentence = f"{error.filename}: {error.strerror}"
    print(f"airjax: {' '.join(sentence.split())}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="airjax: %(message)s")
    _logger.setLevel(logging.INFO)
    try:
        tokens = list(sys.argv[1:] if arguments is None else arguments)
        _keep_compiled()
        _config_file(tokens)
        app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _report(error)
        return USER_ERROR
    except KeyboardInterrupt:
        print("airjax: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        _report(error)
        return code
    return 0


def _exit_code(error: Exception) -> int | None:
    """Tell a user's mistake and a diverged run from a defect of ours, which keeps its traceback."""
    from airjax.checkpoint import CheckpointError, RunLocked
    from airjax.run import RunError
    from airjax.train import NotFiniteError

    if isinstance(error, NotFiniteError):
        return NOT_FINITE
    mistakes = (ValueError, OSError, CheckpointError, RunLocked, RunError)
    return USER_ERROR if isinstance(error, mistakes) else None
