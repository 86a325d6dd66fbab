"""The command line: parsing and printing only."""

import dataclasses
import logging
import os
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from airjax.config import Config, DataConfig, ModelConfig, PolarityKind, TrainConfig
from airjax.files import naming
from airjax.interfaces import several
from airjax.interfaces.compiled import keep_compiled
from airjax.interfaces.console import (
    BROKEN_PIPE,
    INTERRUPTED,
    USER_ERROR,
    check_free,
    check_outside,
    end_stalled,
    exit_code,
    interrupted,
    interruptible,
    keep_kinds_of_numbers,
    key,
    prepare_streams,
    print_check,
    print_images,
    print_report,
    print_scores,
    report,
)
from airjax.interfaces.spelling import exact, present_spellings
from airjax.interfaces.stand_ins import stand_ins

app = App(
    name="airjax",
    help="Attend, Infer, Repeat: count, locate and redraw the objects in a scene, without labels.",
    default_parameter=Parameter(consume_multiple=True, negative_iterable=(), converter=exact),
    suppress_keyboard_interrupt=False,  # by default, Ctrl-C would end the process without a word
)
_logger = logging.getLogger("airjax")


def _flags(title: str) -> Parameter:
    return Parameter(name="*", group=Group(title))


_SEVERAL = Parameter(group=Group("Several processes"))


@app.command
def train(
    data: str,
    *,
    out: Path,
    config: str | None = None,
    quiet: bool = False,
    coordinator: Annotated[str | None, _SEVERAL] = None,
    processes: Annotated[int | None, _SEVERAL] = None,
    process_id: Annotated[int | None, _SEVERAL] = None,
    join_timeout: Annotated[int, _SEVERAL] = 300,
    scenes: Annotated[DataConfig | None, _flags("Data")] = None,
    model: Annotated[ModelConfig | None, _flags("Model")] = None,
    training: Annotated[TrainConfig | None, _flags("Training")] = None,
) -> None:
    """Train on a folder of pictures or a data set; the same command resumes a stopped run.

    On pictures of your own, settings without a flag are chosen to suit them (see `airjax doctor`).

    Args:
        data: A folder of pictures, or an .npz file with `images` (uint8 [n, h, w] or [n, h, w, 3]), which may be at an
            address such as s3://bucket/folder; or multi-mnist, multi-digits, sprites, multi-dsprites-like, omniglot.
        out: The run's folder.
        config: fast, accurate, paper (sizes), difference, or a TOML file of settings named like the flags below; flags
            override it.
        quiet: Show no progress bar.
        coordinator: HOST:PORT of process 0, where several processes train together. Under SLURM, Open MPI and in Jobs
            of Kubernetes, this and the next two are found.
        processes: Number of processes; 1 trains alone.
        process_id: Number of this process, from 0 on; process 0 alone writes.
        join_timeout: Longest time to wait for the other processes at the start, in seconds.
    """
    from airjax.data import load_scenes
    from airjax.data.batches import channels_first
    from airjax.data.sources import pin
    from airjax.interfaces.check import LOOKED_AT, check_model
    from airjax.runs.fit import fit

    del config  # `stand_ins` has already read it
    del coordinator, processes, process_id, join_timeout  # `several.join` has
    resolved = Config(pin(_data_config(data, scenes)), model or ModelConfig(), training or TrainConfig())
    _logger.info("making scenes: %s", data)
    learnt, held_out = load_scenes(resolved.data, "train"), load_scenes(resolved.data, "held-out")
    trained = fit(resolved, learnt, held_out, out, progress=not quiet, stalled=end_stalled)
    _logger.info("trained; pictures are in %s", out / "pictures")
    if held_out.counts is None and len(held_out) and _logger.isEnabledFor(logging.INFO):
        some = channels_first(held_out.images[:LOOKED_AT])
        _logger.info("%s", check_model(trained, some, tiled=resolved.data.tile is not None).sentence)


@app.command
def evaluate(
    run: Path,
    *,
    on: Path | None = None,
    pictures: Path | None = None,
    scenes: Annotated[Path | None, Parameter(show=False)] = None,
    renderer: Literal["mujoco"] | None = None,
    samples: int = 100,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Score a trained run on its held-out scenes.

    Args:
        run: A run's folder.
        on: What to score instead: an .npz file (`images`, and where known `counts`, `boxes` and `segmentation`), a COCO
            annotation file (.json), or a YOLO folder (`labels` and `images`).
        pictures: Folder of the pictures, if it is not that of the COCO file or `images` in the YOLO folder.
        scenes: The former name of `--on`.
        renderer: First draw the scenes again with another renderer than the model's (scenes in 3D only).
        samples: Trajectories per image for the importance-weighted bound and the count posterior.
        seed: Seed of the trajectories.
        json: Print one JSON object.
    """
    from airjax.data import load_scenes
    from airjax.data.annotated import Reading, to_scaled
    from airjax.data.truth import find_annotated, load_truth
    from airjax.inference import evaluate as evaluation
    from airjax.runs.record import load_model, load_still, read_record

    if scenes is not None:
        _logger.warning("evaluate --scenes is called --on now")
    if (file := on or scenes) is None and pictures is not None:
        raise ValueError(f"--pictures needs --on, a COCO file or a YOLO folder; got --pictures {pictures}")
    model, data = load_model(run), read_record(run).config.data
    reading = Reading(model.image_shape, data.levels, data.polarity == "dark", data.pick_channels, load_still(run))
    if data.tile and file and file.suffix != ".npz":
        wholes = to_scaled(*find_annotated(file, pictures), reading, data.tile)
        print_scores(evaluation.evaluate_tiled(model, wholes), json)
        return
    held_out = load_truth(file, reading, pictures) if file else load_scenes(data, "held-out")
    if renderer == "mujoco":
        held_out = evaluation.by_mujoco(model, held_out)
    print_scores(evaluation.evaluate(model, held_out, key=key(seed), samples=samples), json)


@app.command
def infer(
    run: str,
    images: list[str],
    /,
    *,
    trajectories: int | None = None,
    samples: int = 100,
    seed: int = 0,
    polarity: PolarityKind | None = None,
    levels: tuple[float, float, float] | None = None,
    pick_channels: tuple[int, ...] | None = None,
    every: int = 1,
    tile: int | None = None,
    json: bool = False,
    coco: Path | None = None,
    parquet: Path | None = None,
    overlay: Path | None = None,
    labels: Path | None = None,
    table: Path | None = None,
    rois: Path | None = None,
    counts: Path | None = None,
    engine: Literal["ray"] | None = None,
    workers: int | None = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Count, locate and describe the objects in pictures; the same command resumes after a stop.

    Args:
        run: A run's folder, or a trained model's name or folder.
        images: Pictures of any size, one folder of them, or one pattern in quotes ("folder/**/*.png"); also at
            addresses such as s3://bucket/folder. Picture 3 of a file with several is FILE#3.
        trajectories: Times that each image is inferred, beginning at other places, to keep the best; by default as in
            training.
        samples: Trajectories per image for the count posterior; tiles need none.
        seed: Seed of the trajectories.
        polarity: Whether objects are lighter or darker than the background; by default as in training.
        levels: Values of the pictures that become black and white, and gamma; by default as in training.
        pick_channels: One to three channels to take of each picture, from 1 on; by default as in training.
        every: Of a file with several pictures, such as a video, take only every so many-th.
        tile: Width, in pixels, of tiles that large pictures are cut into and that are joined again; by default as in
            training.
        json: Print one JSON object.
        coco: Write COCO results (and NAME.images.json, the images they refer to): boxes, and masks if pycocotools is
            installed.
        parquet: Write a table with one row per object; with --engine ray, a folder of such tables.
        overlay: Folder for copies of the pictures with boxes drawn in.
        labels: Folder for label images: 16-bit PNG, 0 for the background, 1, 2, ... for the objects.
        table: Write a .csv or .parquet file of measurements: area, centroid, mean intensity of every object.
        rois: Folder for outlines of objects as ImageJ regions, a .zip file for each picture.
        counts: Write a .csv or .parquet file with one row per picture: its count, how probable that is, the range in
            which it lies with 95 %, and the number of objects at the border.
        engine: Infer by Ray, for very many pictures, on all cores or GPUs of this machine or of the cluster that
            RAY_ADDRESS names; needs --parquet, and no other output.
        workers: Processes that infer with --engine ray; by default one for each GPU, or for each core but one.
        force: Replace outputs that exist.
        quiet: Show no progress bar.
    """
    from airjax.interfaces import infer_files, infer_ray, infer_tiles, output_files
    from airjax.interfaces.doubts import doubt_tile
    from airjax.runs.pretrained import from_pretrained

    outputs = output_files.Outputs(coco, parquet, overlay, labels, table, rois, counts)
    folder = infer_ray.check_flags(engine, outputs, workers, json=json)
    pictures = infer_files.gather(images, every)
    with infer_ray.cluster(workers) if folder else nullcontext() as pool:
        trained = from_pretrained(run)
        if trajectories is not None:
            trained = trained.with_trajectories(trajectories)
        doubt_tile(tile, trained.tile)
        inference = infer_tiles.job(
            trained,
            pictures,
            polarity=polarity,
            samples=samples,
            key=key(seed),
            levels=levels,
            channels=pick_channels,
            tile=tile,
        )
        if folder and pool:
            infer_ray.to_partitions(inference, folder, pool, force=force, progress=not quiet)
        elif not outputs.paths:
            print_images(infer_files.readable(inference), json)
        elif json:
            raise ValueError("--json prints to the terminal and can't be combined with outputs such as --coco")
        else:
            output_files.to_files(inference, outputs, force=force, progress=not quiet)


@app.command
def doctor(
    data: str,
    *,
    out: Path | None = None,
    pick_channels: tuple[int, ...] | None = None,
    every: int = 1,
    tile: int | None = None,
    still: bool | None = None,
    json: bool = False,
    force: bool = False,
) -> None:
    """Examine pictures before training: is AIR the right tool, and which settings suit them?

    Args:
        data: A folder of pictures or an .npz file, or its address, or a data set.
        out: A picture to write, in which a few pictures have what stands out framed.
        pick_channels: One to three channels to take of each picture of a folder, from 1 on.
        every: Of a file with several pictures, such as a video, take only every so many-th.
        tile: Width, in pixels, of tiles of a folder's pictures; by default they are chosen where they are needed.
        still: Whether tiles are compared with what stands still behind objects; by default where pictures show that.
        json: Print one JSON object.
        force: Replace the picture if it exists.
    """
    from airjax.interfaces import doctor as looks
    from airjax.interfaces.outputs import check_parent

    if out is not None:
        check_free(out, force)
        check_outside(out, data)
        check_parent(out)
    report, sample, pieces = looks.examine(data, channels=pick_channels, every=every, tile=tile, still=still)
    if out is not None:
        looks.draw(sample, pieces, out)
    print_report(report, json)


@app.command
def check(
    run: Path, others: list[Path] | None = None, /, *, out: Path | None = None, json: bool = False, force: bool = False
) -> None:
    """Check without labels whether a run's counts can be trusted, on held-out pictures, or held-out tiles of pictures.

    Args:
        run: A run's folder.
        others: Other runs on the same pictures, such as those of other seeds, that should count the same.
        out: A picture to write, of the pictures with the boxes found, the most doubtful first.
        json: Print one JSON object.
        force: Replace the picture if it exists.
    """
    from airjax.interfaces import check as checks
    from airjax.runs.record import read_record

    if out is not None:
        check_free(out, force)
        check_outside(out, read_record(run).config.data.name)
    print_check(checks.check(run, others or (), figure=out), json)


@app.command
def export(run: Path, *, out: Path, half: bool = False) -> None:
    """Write a run's model as config.json and model.safetensors, to share it and to load it in any command.

    Args:
        run: A run's folder.
        out: The folder to make.
        half: Store weights in 16 bits.
    """
    from airjax.runs.pretrained import save_pretrained

    save_pretrained(run, out, half=half)


@app.command
def sample(run: Path, *, out: Path, n: int = 40, seed: int = 0, force: bool = False) -> None:
    """Draw scenes from the generative model.

    Args:
        run: A run's folder.
        out: The picture to write.
        n: Number of scenes.
        seed: Seed of the scenes.
        force: Replace the picture if it exists.
    """
    from airjax.runs.figures import sample_scenes
    from airjax.runs.record import load_model

    check_free(out, force)
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
    """Draw training scenes, with the true boxes where they are known.

    Args:
        data: A folder of pictures, an .npz file, or multi-mnist, multi-digits, sprites, multi-dsprites-like, omniglot.
        out: The picture to write.
        n: Number of scenes.
        force: Replace the picture if it exists.
    """
    from airjax.runs.figures import draw_scenes

    check_free(out, force)
    draw_scenes(_data_config(data, settings), out, n=n)


@app.command
def convert(file: Path, *, out: Path, n: int = 10_000, force: bool = False) -> None:
    """Convert scenes of multi_object_datasets (Multi-dSprites, Objects Room, CLEVR, Tetrominoes) to an .npz file.

    Args:
        file: A TFRecord file of a data set with true masks.
        out: The .npz file to write, for `airjax train` and `airjax evaluate --on`.
        n: Number of scenes to take, from the first on.
        force: Replace the file if it exists.
    """
    from airjax.data import save_npz
    from airjax.data.multi_object_datasets import load_multi_objects

    check_free(out, force)
    if out.suffix != ".npz":
        raise ValueError(f"--out must be an .npz file, got {out}")
    taken = load_multi_objects(file, n)
    save_npz(out, taken)
    _logger.info("%s holds %d scenes", out, len(taken))


@app.command
def figures(run: Path, *, compare: tuple[Path, ...] = ()) -> None:
    """Draw a run's figures again, in its folder `pictures`.

    Args:
        run: A run's folder.
        compare: Other runs to show in the learning curves.
    """
    from airjax.runs.figures import draw_figures

    for path in draw_figures(run, compare):
        print(path)


@app.command
def serve(run: str | None = None, *, port: int = 8000) -> None:
    """Watch a trained model attend, infer and repeat on a web page that only this machine can open.

    Args:
        run: A run's folder, or a trained model's name or folder; by default, the models that come with the package.
        port: Port of the page, http://127.0.0.1:PORT; 0 takes any free port.
    """
    try:
        from airjax.interfaces.serve import serve_model
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn"):
            raise
        raise ValueError("airjax serve needs more packages: pip install 'airjax[serve]'") from None
    serve_model(run, port=port)


def _data_config(name: str, given: DataConfig | None) -> DataConfig:
    """Combine the name of the data set, an argument, with its settings, which are flags."""
    if given is not None and given.name != DataConfig().name:
        raise ValueError(f"name the data set in the first argument only, got {name} and --name {given.name}")
    return dataclasses.replace(given or DataConfig(), name=name).resolved()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code. A process that has joined others ends here."""
    try:
        return several.end(_run(arguments))
    except BaseException as error:
        several.end_by(error)
        raise


def _run(arguments: list[str] | None) -> int:
    prepare_streams()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="airjax: %(message)s")
    _logger.setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about files, which we warn about ourselves
    tokens: list[str] = []
    try:
        tokens = present_spellings(sys.argv[1:] if arguments is None else arguments)
        keep_compiled()
        keep_kinds_of_numbers()
        if tokens[:1] == ["train"]:
            several.join(app, tokens)
        app.config = stand_ins(app, tokens)
        with naming(Path("stdout")), interruptible(tokens):  # all other files are named where they are written
            app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
            sys.stdout.flush()
    except CycloptsError as error:
        report(error)
        return USER_ERROR
    except KeyboardInterrupt:
        print(interrupted(tokens), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        code = None if several.is_lost(error) else exit_code(error)
        if code is None:
            raise
        report(error)
        return code
    return 0
