"""The pictures of a run, made from what its folder holds."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from airjax.config import DataConfig
from airjax.data import Scenes, load_scenes
from airjax.data.batches import channels_first
from airjax.files import write_atomically
from airjax.inference import evaluate, infer, sampling
from airjax.models.base import Family
from airjax.render3d.stage import Stage
from airjax.render3d.turntable import azimuths, turntable
from airjax.runs import plots
from airjax.runs.log import read_metrics
from airjax.runs.record import PICTURES, load_model, read_record

CURVES = ("elbo", "held_out_elbo", "held_out_count_accuracy")
SHOWN = 10
"""Scenes in the figure of attention."""
COUNTED = 2_000
"""Held-out scenes in the confusion matrix."""
STEP_MS, LAST_MS = 150, 3_000
"""How long a frame of training is shown, and the last one."""
TURNED = 4
"""Scenes that are turned around."""
TURN_FRAMES, TURN_MS, MAGNIFIED = 40, 80, 3
"""Frames of a turn, how long each is shown, and the side of its pictures over that of a scene."""


def draw_figures(folder: Path, compare: Sequence[Path] = ()) -> list[Path]:
    """Draw attention, samples, learning curves, confusion of counts, training, and solids from all around.

    Returns:
        The files written.

    Raises:
        RunError, CheckpointError: see `airjax.runs.record.load_model`.
    """
    model, pictures = load_model(folder), Path(folder) / PICTURES
    for other in compare:
        read_record(other)
    scenes = load_scenes(read_record(folder).config.data, "held-out")[:COUNTED]
    paths = [pictures / f"{name}.png" for name in ("attention", "samples", "curves")]
    looked_at = scenes[:SHOWN] if scenes.counts is None else scenes
    found = infer.find(model, channels_first(looked_at.images))
    draw_found(scenes[:SHOWN], found, paths[0])
    sample_scenes(model, paths[1])
    series = {str(run): read_metrics(run) for run in (folder, *compare)}
    logged = {name for lines in series.values() for line in lines for name in line}
    plots.save_figure(plots.curves_figure(series, [name for name in CURVES if name in logged]), paths[2])
    if scenes.counts is not None:
        matrix = np.array(evaluate.confusion(model, found.count, scenes))
        paths.append(pictures / "confusion.png")
        plots.save_figure(plots.confusion_figure(matrix), paths[-1])
    if steps := sorted(pictures.glob("step_*.png")):
        paths.append(pictures / "training.gif")
        join_pictures(steps, paths[-1])
    if model.stage:
        paths.append(pictures / "turntable.gif")
        draw_turntable(model.stage, scenes[:TURNED], found, paths[-1])
    return paths


def draw_attention(model: Family, scenes: Scenes, path: Path) -> None:
    """Draw the paper's figure of a few scenes: windows step by step, reconstruction after each object."""
    draw_found(scenes, infer.find(model, channels_first(scenes.images), batch=len(scenes)), path)


def draw_found(scenes: Scenes, found: infer.Found, path: Path) -> None:
    """Do as `draw_attention` with what was found in these scenes, and perhaps in others after them."""
    windows, counts, canvases = (array[: len(scenes)] for array in (found.windows, found.count, found.canvases))
    figure = plots.attention_figure(scenes.images / 255.0, windows, counts, _for_plots(canvases))
    plots.save_figure(figure, path)


def draw_scenes(config: DataConfig, path: Path, *, n: int) -> None:
    """Draw `n` training scenes, or as many as there are, with their boxes where known; of a file, spread over it.

    Raises:
        ValueError: `n` is below 1, or the path's suffix is no picture's; see `airjax.data.load_scenes` for more.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    scenes = load_scenes(replace(config, scenes=n), "train")  # those are the first of a larger number, too
    shown = scenes[np.arange(min(n, len(scenes))) * len(scenes) // min(n, len(scenes))]
    plots.save_figure(plots.sample_figure(shown.images / 255.0, shown.boxes), path)


def sample_scenes(model: Family, path: Path, *, n: int = 40, seed: int = 0) -> None:
    """Draw `n` scenes from the generative model.

    Raises:
        ValueError: `n` is below 1, or the path's suffix is no picture's.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    canvases = sampling.scenes(model, n, key=jax.random.PRNGKey(seed)).canvas
    plots.save_figure(plots.sample_figure(_for_plots(np.asarray(canvases))), path)


def join_pictures(pictures: Sequence[Path], path: Path) -> None:
    """Make one moving picture (GIF) of those that training has left, `step_000000500.png` and so on."""
    frames = [_frame(picture) for picture in pictures]
    _save_frames(frames, [STEP_MS] * (len(frames) - 1) + [LAST_MS], path)


def draw_turntable(stage: Stage, scenes: Scenes, found: infer.Found, path: Path) -> None:
    """Make a moving picture (GIF): scenes above, and what was found in each below, seen from all around.

    Args:
        stage: the stage that the objects stand on.
        scenes: the n scenes to show.
        found: what was found in them, and perhaps in others after them.
        path: the file to write.
    """
    counts, what, scene = (array[: len(scenes)] for array in (found.count, found.what, found.scene))
    side = MAGNIFIED * scenes.images.shape[1]
    around = turntable(stage, counts, what, azimuths(stage, scene), frames=TURN_FRAMES, side=side)
    above = np.kron(scenes.images / 255.0, np.ones((MAGNIFIED, MAGNIFIED, 1)))
    rows = [np.concatenate([above, _for_plots(views)]) for views in around]
    sheets = [plots.contact_sheet(row, len(scenes))[0] for row in rows]
    pictures = [Image.fromarray(np.uint8(np.round(255.0 * sheet))) for sheet in sheets]
    # One palette for all: each frame's own would make what stands still flicker.
    palette = Image.fromarray(np.concatenate([np.asarray(picture) for picture in pictures[::8]])).quantize(128)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    _save_frames(frames, [TURN_MS] * len(frames), path)


def _save_frames(frames: list[Image.Image], shown: list[int], path: Path) -> None:
    """Write a moving picture that begins again after its end; `shown` is in milliseconds."""
    buffer = io.BytesIO()
    frames[0].save(buffer, format="GIF", save_all=True, append_images=frames[1:], duration=shown, loop=0)
    write_atomically(path, buffer.getvalue())


def _frame(picture: Path) -> Image.Image:
    """Halve a picture, with its step above it, and keep few colours."""
    with Image.open(picture) as opened:
        shrunk = opened.convert("RGB").reduce(2)
    frame = Image.new("RGB", (shrunk.width, shrunk.height + 20), "white")
    frame.paste(shrunk, (0, 20))
    ImageDraw.Draw(frame).text((4, 4), f"step {int(picture.stem.removeprefix('step_')):,}", fill="black")
    return frame.quantize(32)


def _for_plots(canvases: Float[np.ndarray, "*n c h w"]) -> Float[np.ndarray, "..."]:
    """Put channels last, or leave them out for grey images; keep to values that can be shown."""
    last = np.moveaxis(np.clip(canvases, 0.0, 1.0), -3, -1)
    return last[..., 0] if last.shape[-1] == 1 else last
