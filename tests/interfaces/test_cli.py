"""The command line by contract: what each command prints, writes and refuses."""

import ast
import dataclasses
import importlib.metadata
import json
import os
import re
import sys
import tomllib
from pathlib import Path

import commands
import numpy as np
import pytest
from commands import SIDE, call, pixels, refused, train_command
from PIL import Image

from airjax.config import DATA_SETS, DataConfig, ModelConfig, TrainConfig
from airjax.inference import infer
from airjax.interfaces import cli
from airjax.interfaces.stand_ins import stand_ins
from airjax.runs import presets
from airjax.runs.checkpoint import RunLock
from airjax.runs.record import read_record

ROOT = Path(__file__).parents[2]
COMMANDS = ("scenes", "train", "evaluate", "infer", "sample", "convert", "figures", "serve")
MASK_SCORES = ("ari_fg", "mask_mean_iou", "panoptic_quality", "mask_ap")
SCORES = (
    "scenes",
    "count_accuracy_sampled",
    "count_accuracy_mode",
    "count_accuracy_posterior",
    "confusion",
    "mean_iou",
    "ap50",
    "box_ap",
    *MASK_SCORES,
    "elbo",
)
FLAGS = [
    field.name.replace("_", "-")
    for part in (DataConfig, ModelConfig, TrainConfig)
    for field in dataclasses.fields(part)
    if field.name != "name"
]
# Every numeric setting, and some others, with a value out of its range.
OUT_OF_RANGE = [
    ("scenes", 0),
    ("scenes", 7),
    ("held-out-scenes", -1),
    ("data-seed", -1),
    ("counts", -1),
    ("counts", 50),
    ("canvas", 0),
    ("background", "fog"),
    ("channels", 2),
    ("channels", 1.5),
    ("max-objects", 0),
    ("window", 0),
    ("hidden", 0),
    ("hidden", -1),
    ("embed-channels", -1),
    ("embed-hidden", -1),
    ("head-hidden", 0),
    ("code-size", 0),
    ("patches", "mpl"),
    ("patch-hidden", 0),
    ("patch-channels", 0),
    ("draw-steps", 0),
    ("draw-hidden", 0),
    ("background-model", "lawn"),
    ("background-components", 0),
    ("compose", "under"),
    ("sd", 0),
    ("sd", "nan"),
    ("scale", 0),
    ("scale", "nan"),
    ("scale-sd", 0),
    ("scale-sd", "inf"),
    ("position-sd", -1),
    ("count-ratio", 0),
    ("count-ratio", "inf"),
    ("count-ratio-start", 0),
    ("count-ratio-start", "nan"),
    ("anneal-steps", 0),
    ("learn-count-after", -1),
    ("seed", -1),
    ("steps", 0),
    ("steps", -1),
    ("steps", 1.5),
    ("batch", 0),
    ("batch", 65),
    ("samples", 0),
    ("temperature", 0),
    ("learning-rate", 0),
    ("learning-rate", -1),
    ("learning-rate", "nan"),
    ("warmup", -1),
    ("chunk", 0),
    ("checkpoint-every", 0),
    ("evaluate-every", 0),
    ("keep", 0),
    ("keep", "x"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return commands.trained_run(tmp_path_factory)


@pytest.fixture
def scenes(tmp_path):
    """Write scenes of the tiny run's size."""

    def write(name="scenes.npz", images=None, **arrays):
        np.savez(tmp_path / name, images=pixels(6, SIDE, SIDE) if images is None else images, **arrays)
        return tmp_path / name

    return write


@pytest.fixture
def picture(tmp_path):
    """Write a picture of random pixels."""

    def write(name="picture.png", shape=(SIDE, SIDE)):
        Image.fromarray(pixels(*shape)).save(tmp_path / name)
        return tmp_path / name

    return write


# What there is


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_command_and_goes_to_stdout(capsys, command):
    said = call(capsys, "--help")
    assert said.code == 0
    assert re.search(rf"\b{command}\b", said.out)
    own = call(capsys, command, "--help")
    assert own.code == 0
    assert own.out.startswith(f"Usage: airjax {command}")


def test_every_setting_is_a_flag(capsys):
    said = call(capsys, "train", "--help")
    assert [flag for flag in FLAGS if f"--{flag} " not in said.out] == []


@pytest.mark.slow
def test_the_installed_command_reports_a_mistake_in_one_line():
    said = commands.spawn("train", "multi-mnits", "--out=nowhere")
    assert refused(said, "multi-mnist, multi-digits, sprites", "'multi-mnits'")


def test_output_that_nobody_reads_any_more_is_no_error(capsys, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        monkeypatch.setattr(cli, "app", lambda *_, **__: print("much"))
        monkeypatch.setattr(cli, "stand_ins", lambda *_: ())
        assert cli.main([]) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_the_installed_command_scores_in_one_line_of_json_and_keeps_what_it_compiled(run, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    said = commands.spawn("evaluate", run, "--samples=3", "--json", env=environment)
    assert (said.code, said.err) == (0, "")
    assert any(path.name.startswith("jit__find") for path in (tmp_path / "airjax" / "compiled").iterdir())
    assert said.out.count("\n") == 1
    assert json.loads(said.out)["scenes"] == commands.TINY["held-out-scenes"]


# train


def _lines(path):
    return path.read_text().splitlines()


def test_a_run_holds_its_settings_log_checkpoints_and_pictures(run):
    config = read_record(run).config
    assert config.data.name == "sprites"
    assert (config.data.canvas, config.data.counts, config.model.window, config.train.chunk) == (SIDE, (0, 1), 8, 4)
    assert [json.loads(line)["step"] for line in _lines(run / "metrics.jsonl")] == [4, 8, 8]
    assert sorted(path.name for path in (run / "checkpoints").glob("*.safetensors")) == [
        "step_000000004.safetensors",
        "step_000000008.safetensors",
    ]
    assert Image.open(run / "pictures" / "step_000000008.png").size > (100, 100)


@pytest.mark.slow
def test_the_same_command_again_changes_no_weights_and_no_log(capsys, tmp_path, run):
    again = commands.copied(run, tmp_path / "run")
    assert call(capsys, *train_command(again)).code == 0
    for name in ("metrics.jsonl", "run.json", "checkpoints/step_000000008.safetensors"):
        assert (again / name).read_bytes() == (run / name).read_bytes()


def test_training_reads_settings_from_a_file_and_flags_win(capsys, tmp_path, run):
    # The settings are the tiny run's, so that going on with a copy of it tells that they were all understood.
    rest = {"steps": None, "counts": None, "batch": None, "chunk": None}
    file = tmp_path / "settings.toml"
    file.write_text("steps = 8\nbatch = 8\nchunk = 100\ncounts = [0, 1]\n")
    again = commands.copied(run, tmp_path / "run")
    said = call(capsys, *train_command(again, **rest), "--config", file, "--chunk=4")
    assert said.code == 0, said.err
    assert refused(call(capsys, *train_command(again, **rest), "--config", file), "chunk 4, not 100")


@pytest.mark.slow
def test_training_takes_settings_by_name_and_flags_win(capsys, tmp_path):
    said = call(capsys, *train_command(tmp_path / "run"), "--config", "fast")
    assert said.code == 0, said.err
    config = read_record(tmp_path / "run").config
    assert (config.train.learning_rate, config.train.steps) == (presets.load("fast").train.learning_rate, 8)


@pytest.mark.parametrize("spelling", [["--ground", "mean"], ["--ground=mean"]])
def test_former_spellings_of_flags_are_understood_with_a_note(capsys, caplog, spelling):
    said = call(capsys, "train", "multi-digits", "--out=nowhere", "--steps=0", *spelling)
    assert refused(said, "steps must be at least 1")
    assert "--ground is called --background-model now" in caplog.text


@pytest.mark.parametrize("name", presets.names())
def test_every_setting_of_a_preset_reaches_training(name):
    data = [name] if name in DATA_SETS else ["multi-digits", "--config", name]
    arguments = ["train", *data, "--out", "nowhere"]
    cli.app.config = stand_ins(cli.app, arguments)
    bound = cli.app.parse_args(arguments, exit_on_error=False)[1].arguments
    parts = [bound.get(part) for part in ("scenes", "model", "training")]
    reached = {field: value for part in parts if part for field, value in vars(part).items()}
    for setting, value in presets.read(name).items():
        wanted = tuple(value) if isinstance(value, list) else value
        assert reached[setting.replace("-", "_")] == wanted, setting


@pytest.mark.slow
def test_training_goes_on_with_every_setting_of_digits(capsys, tmp_path):
    out = tmp_path / "run"
    settings = ["--digit-side", 9, 18, "--max-ink=none", "--background=grid"]
    command = train_command(out, "multi-digits", steps=4)
    assert call(capsys, *command, *settings).code == 0
    before = commands.contents(out / "checkpoints")
    assert call(capsys, *command, *settings).code == 0
    assert commands.contents(out / "checkpoints") == before
    assert refused(call(capsys, *command, *settings[:-1]), "background grid, not none")


@pytest.mark.slow
def test_training_on_a_file_of_pictures_alone(capsys, tmp_path, scenes):
    out = tmp_path / "run"
    file = scenes(images=pixels(40, SIDE, SIDE, 3))
    assert call(capsys, *train_command(out, file, steps=4)).code == 0
    assert read_record(out).image_shape == (3, SIDE, SIDE)
    said = call(capsys, "evaluate", out, "--samples=2", "--json")
    assert json.loads(said.out)["count_accuracy_mode"] is None
    assert call(capsys, "infer", out, *_pictures(tmp_path, 1, (SIDE, SIDE, 3)), "--samples=2").code == 0
    assert call(capsys, "figures", out).code == 0


def _pictures(folder, n, shape):
    paths = [folder / f"{index}.png" for index in range(n)]
    for path in paths:
        Image.fromarray(pixels(*shape)).save(path)
    return paths


@pytest.mark.parametrize(("flag", "value"), OUT_OF_RANGE)
def test_settings_out_of_range_are_refused_before_anything_is_written(capsys, tmp_path, flag, value):
    out = tmp_path / "run"
    said = call(capsys, *train_command(out, **{flag: value}))
    assert refused(said, value)
    assert re.search(rf"\b{flag.replace('-', '[-_]')}\b", said.err)
    assert not out.exists()


def test_a_code_that_cannot_be_drawn_in_as_many_steps_is_refused(capsys, tmp_path):
    out = tmp_path / "run"
    said = call(capsys, *train_command(out, patches="draw", patch_hidden=None, code_size=4, draw_steps=3))
    assert refused(said, "code_size", "draw_steps", "4 and 3")
    assert not out.exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"digit-scale": 0.1},
        {"digit-scale-sd": -1},
        {"max-ink": 0},
        {"max-ink": 256},
        {"max-ink": 1.5},
        {"digit-side": (18, 9)},
        {"digit-side": (9, 51)},
        {"digit-side": (0, 9)},
        {"digit-side": ("nan", 9)},
        {"digit-side": (9,)},
        {"digit-side": (9, 18), "digit-scale": 2},
        {"channels": 3},
    ],
)
def test_digits_out_of_range_are_refused(capsys, tmp_path, settings):
    out = tmp_path / "run"
    assert refused(call(capsys, *train_command(out, "multi-digits", **{"canvas": 50} | settings)))
    assert not out.exists()


@pytest.mark.parametrize("fraction", [0, 1, -1, "nan", 0.001])
def test_a_held_out_fraction_that_leaves_nothing_is_refused(capsys, tmp_path, scenes, fraction):
    out = tmp_path / "run"
    file = scenes(images=pixels(40, SIDE, SIDE))
    assert refused(call(capsys, *train_command(out, file, held_out_fraction=fraction)))
    assert not out.exists()


@pytest.mark.parametrize(
    ("flag", "hint"),
    [("--stepz=5", "--steps"), ("--learning_rat=1", "--learning-rate"), ("--no-likelihood", "--no-likelihood")],
)
def test_unknown_flags_are_refused_with_a_hint(capsys, tmp_path, flag, hint):
    assert refused(call(capsys, "train", "sprites", flag, f"--out={tmp_path / 'run'}"), hint)


@pytest.mark.parametrize("arguments", [("trian", "sprites"), ("train", "sprites"), ("evaluate",), ("infer",)])
def test_unknown_commands_and_missing_arguments_are_refused(capsys, arguments):
    assert refused(call(capsys, *arguments))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"stepz = 3\n", "steps"),
        (b"steps = \n", "settings.toml"),
        (b"steps = 'many'\n", "steps"),
        (b"[train]\nsteps = 3\n", "train"),
        (b"\xff\xfe\n", "settings.toml"),
        (None, "settings.toml"),
    ],
)
def test_a_settings_file_that_makes_no_sense_is_refused(capsys, tmp_path, content, word):
    file, out = tmp_path / "settings.toml", tmp_path / "run"
    if content is not None:
        file.write_bytes(content)
    for spelling in (["--config", file], [f"--config={file}"]):
        assert refused(call(capsys, *train_command(out, steps=None), *spelling), word)
    assert not out.exists()


def test_config_without_a_file_is_refused(capsys):
    assert refused(call(capsys, "train", "sprites", "--config"), "--config")


def test_a_data_set_that_does_not_exist_is_refused(capsys, tmp_path):
    out = tmp_path / "run"
    assert refused(call(capsys, *train_command(out, "sprite")), "sprites", "'sprite'")
    assert refused(call(capsys, *train_command(out, "multi-mnist", data_dir=tmp_path / "none")), "none")
    assert refused(call(capsys, *train_command(out, tmp_path / "none.npz")), "none.npz")
    assert not out.exists()


@pytest.mark.slow
def test_settings_that_mean_nothing_to_a_data_set_are_refused(capsys, tmp_path, scenes):
    file = scenes(images=pixels(40, SIDE, SIDE))
    settings = {"background": "noise", "channels": 3, "digit_side": (9, 18)}
    for data, unused in ((file, settings), ("omniglot", settings), ("sprites", ["digit_side"])):
        for setting in unused:
            assert refused(
                call(capsys, *train_command(tmp_path / "run", data, **{setting: settings[setting]})), setting
            )
    assert not (tmp_path / "run").exists()


def test_omniglot_that_is_not_there_or_too_small_for_the_canvas_is_refused(capsys, tmp_path):
    command = train_command(tmp_path / "run", "omniglot", data_dir=tmp_path)
    assert refused(call(capsys, *command), "no Omniglot drawing", tmp_path)
    large = train_command(tmp_path / "run", "omniglot", data_dir=tmp_path, canvas=106)
    assert refused(call(capsys, *large), "canvas", "105")
    (tmp_path / "images_background.zip").write_bytes(b"PK")
    assert refused(call(capsys, *command), "images_background.zip can't be read")
    assert not (tmp_path / "run").exists()


# Folders that can't be used


@pytest.mark.slow
def test_a_folder_of_something_else_is_left_alone(capsys, tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    assert refused(call(capsys, *train_command(tmp_path)), tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["letter.txt"]
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_a_file_is_not_taken_for_a_folder(capsys, tmp_path):
    file = tmp_path / "letter.txt"
    file.write_text("mine")
    assert refused(call(capsys, *train_command(file)), file)
    assert refused(call(capsys, *train_command(file / "run")), file)
    assert file.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_refused(capsys, tmp_path):
    if os.geteuid() == 0:
        closed = Path("/proc")  # nothing else is closed to root
    else:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
    assert refused(call(capsys, *train_command(closed / "run")), "run")


@pytest.mark.parametrize("change", [{"learning_rate": 0.5}, {"steps": 12}, {"seed": 1}, {"data_seed": 1}])
def test_going_on_with_other_settings_is_refused_and_nothing_lost(capsys, run, change):
    before = commands.contents(run)
    (name,) = change
    assert refused(call(capsys, *train_command(run, **change)), run, name)
    assert commands.contents(run) == before


def test_a_second_training_in_the_same_folder_is_refused(capsys, run):
    with RunLock(run):
        before = commands.contents(run)
        assert refused(call(capsys, *train_command(run)), run, "in use")
        assert commands.contents(run) == before


def test_training_does_not_go_on_from_damaged_checkpoints(capsys, tmp_path, run):
    damaged = commands.copied(run, tmp_path / "run")
    commands.damage_checkpoints(damaged)
    before = commands.contents(damaged)
    assert refused(call(capsys, *train_command(damaged)), "valid")
    assert commands.contents(damaged) == before


# evaluate


@pytest.mark.slow
def test_scores_of_held_out_scenes(capsys, run):
    said = call(capsys, "evaluate", run, "--json")
    assert (said.code, said.err) == (0, "")
    scores = json.loads(said.out)
    assert tuple(scores) == (*SCORES, "iw_bound_100")
    assert scores["scenes"] == np.sum(scores["confusion"]) == 32
    assert scores["iw_bound_100"] >= scores["elbo"]
    assert scores["ari_fg"] is None  # no scene of the tiny run has two objects
    shares = [name for name in SCORES if name.startswith(("count_", "mean_", "ap50", "box_", "mask_", "panoptic_"))]
    assert len(shares) == 9
    assert all(0 <= scores[name] <= 1 for name in shares)
    assert scores["count_accuracy_mode"] == np.trace(scores["confusion"]) / 32


@pytest.mark.slow
def test_scores_are_fixed_by_the_seed(capsys, run):
    command = ("evaluate", run, "--samples=4", "--json")
    assert call(capsys, *command).out == call(capsys, *command, "--seed=0").out
    assert call(capsys, *command).out != call(capsys, *command, "--seed=1").out


def test_scores_for_people(capsys, run):
    said = call(capsys, "evaluate", run, "--samples=4")
    assert said.code == 0
    assert "count_accuracy_mode" in said.out


def test_scores_that_a_file_does_not_allow_are_null(capsys, run, scenes):
    command = ("evaluate", run, "--samples=4", "--json", "--on")
    scores = json.loads(call(capsys, *command, scenes()).out)
    assert scores["scenes"] == 6
    known = {name for name, value in scores.items() if value is not None}
    assert known == {"scenes", "elbo", "iw_bound_4"}
    scores = json.loads(call(capsys, *command, scenes(counts=np.full(6, 5, np.int32))).out)
    assert scores["count_accuracy_mode"] == 0
    assert scores["mean_iou"] is None
    assert np.shape(scores["confusion"]) == (6, 6)
    assert np.sum(scores["confusion"]) == 6


@pytest.mark.slow
def test_masks_are_scored_on_files_that_hold_true_ones(capsys, run, scenes):
    true = np.zeros((6, SIDE, SIDE), np.uint8)
    true[:, 2:8, 2:8], true[:, 10:, 10:] = 1, 2
    command = ("evaluate", run, "--samples=4", "--json", "--on")
    scores = json.loads(call(capsys, *command, scenes(segmentation=true)).out)
    known = {name for name, value in scores.items() if value is not None}
    assert known == {"scenes", "elbo", "iw_bound_4", *MASK_SCORES}
    assert refused(call(capsys, *command, scenes(segmentation=true[:, 1:])), "segmentation must be uint8")


def test_without_pycocotools_only_its_scores_are_left_out(capsys, caplog, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    scores = json.loads(call(capsys, "evaluate", run, "--samples=4", "--json").out)
    assert {name for name in SCORES if scores[name] is None} == {"ari_fg", "box_ap", "mask_ap"}
    assert caplog.text.count("pip install 'airjax[coco]'") == 2


def test_the_former_name_of_a_flag_works_with_a_note(capsys, caplog, run, scenes):
    command, path = ("evaluate", run, "--samples=4", "--json"), scenes()
    now = call(capsys, *command, "--on", path)
    assert "--on" not in caplog.text
    assert call(capsys, *command, "--scenes", path).out == now.out
    assert "evaluate --scenes is called --on now" in caplog.text
    shown = call(capsys, "evaluate", "--help").out
    assert "--on" in shown
    assert "--scenes" not in shown


@pytest.mark.parametrize(
    ("images", "word"),
    [
        (pixels(6, SIDE + 4, SIDE), "24"),
        (pixels(6, SIDE, SIDE, 3), "3"),
        (pixels(6, SIDE, SIDE) / 255, "uint8"),
        (pixels(6, SIDE, SIDE)[:0], "none"),
        (pixels(SIDE, SIDE), "uint8"),
    ],
)
def test_scenes_that_do_not_fit_the_model_are_refused(capsys, run, scenes, images, word):
    assert refused(call(capsys, "evaluate", run, "--json", "--on", scenes(images=images)), word)


def test_files_that_are_no_scenes_are_refused(capsys, tmp_path, run):
    text, other = tmp_path / "text.npz", tmp_path / "other.npz"
    text.write_text("hello")
    np.savez(other, pictures=pixels(6, SIDE, SIDE))
    for path in (text, other, tmp_path / "none.npz", tmp_path):
        assert refused(call(capsys, "evaluate", run, "--on", path), path)
        assert refused(call(capsys, *train_command(tmp_path / "run", path)), path)
    assert not (tmp_path / "run").exists()


def test_only_scenes_in_3d_are_drawn_by_another_renderer(capsys, run):
    assert refused(call(capsys, "evaluate", run, "--renderer", "mujoco"), "solids or crockery")
    assert refused(call(capsys, "evaluate", run, "--renderer", "blender"), "mujoco")


@pytest.mark.parametrize("images", [pixels(40, SIDE, SIDE) / 255, pixels(40, SIDE, SIDE)[:0], pixels(1, SIDE, SIDE)])
def test_training_on_scenes_that_cannot_be_used_is_refused(capsys, tmp_path, scenes, images):
    assert refused(call(capsys, *train_command(tmp_path / "run", scenes(images=images))), "scenes.npz")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--samples=0", "--samples=-1", "--samples=x", "--seed=-1"])
@pytest.mark.parametrize("command", ["evaluate", "infer"])
def test_samples_and_seeds_out_of_range_are_refused(capsys, run, picture, command, flag):
    images = [picture()] if command == "infer" else []
    assert refused(call(capsys, command, run, *images, flag), flag.split("=")[1])


# infer


@pytest.mark.slow
def test_what_a_picture_shows(capsys, tmp_path, run):
    paths = _pictures(tmp_path, 2, (SIDE, SIDE))
    said = call(capsys, "infer", run, *paths, "--samples=4", "--json")
    assert (said.code, said.err) == (0, "")
    assert said.out.count("\n") == 1
    described = json.loads(said.out)["images"]
    assert [one["image"] for one in described] == [str(path) for path in paths]
    for one in described:
        assert len(one["objects"]) == one["count"] <= 2
        assert len(one["count_posterior"]) == 3
        assert sum(one["count_posterior"]) == pytest.approx(1, abs=1e-5)
    assert "p(n|x)" in call(capsys, "infer", run, *paths, "--samples=4").out


def test_pictures_that_cannot_be_used_are_refused(capsys, tmp_path, run, picture):
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("hello")
    cut.write_bytes(picture().read_bytes()[:200])
    for path in (text, cut, tmp_path / "none.png"):
        assert refused(call(capsys, "infer", run, picture(), path), path)
    assert refused(call(capsys, "infer", run, picture(), tmp_path), "folder")
    assert refused(call(capsys, "infer", run, picture(), picture()), "twice")


@pytest.mark.slow
def test_inference_takes_as_many_trajectories_as_told(capsys, picture, monkeypatch):
    asked = []
    find = infer.find
    monkeypatch.setattr(
        infer, "find", lambda model, *images, **given: asked.append(model.trajectories) or find(model, *images, **given)
    )
    for flags in ((), ("--trajectories=2",)):
        assert call(capsys, "infer", "sprites", picture(), "--samples=1", *flags).code == 0
    assert asked == [1, 2]
    assert refused(call(capsys, "infer", "crockery", picture(), "--trajectories=2"), "no effect unless objects is")
    assert refused(call(capsys, "infer", "sprites", picture(), "--trajectories=0"), "trajectories", "at least 1, got 0")


# scenes, sample and figures


def test_scenes_are_drawn_before_training_and_never_over_a_file(capsys, tmp_path):
    out = tmp_path / "scenes.png"
    command = ("scenes", "sprites", "--channels=3", "--background=texture", f"--out={out}")
    assert call(capsys, *command, "--n=4") == (0, "", "")
    drawn = out.read_bytes()
    assert Image.open(out).size == (480, 121)
    assert refused(call(capsys, *command, "--n=6"), out, "--force")
    assert out.read_bytes() == drawn
    assert call(capsys, *command, "--n=6", "--force").code == 0
    assert out.read_bytes() != drawn


@pytest.mark.parametrize(
    "flags",
    [
        ["--n=0"],
        ["--n=x"],
        ["--background=fog"],
        ["--channels=2"],
        ["--digit-side", "9", "18"],
        ["--stepz=1"],
        ["--name=x"],
        ["--out=a.xyz", "--force"],
    ],
)
def test_scenes_that_cannot_be_drawn_are_refused(capsys, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    out = [] if "--out=a.xyz" in flags else ["--out=a.png"]
    assert refused(call(capsys, "scenes", "sprites", *out, *flags))
    assert refused(call(capsys, "scenes", "sprite", "--out=a.png"), "sprites", "'sprite'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_samples_are_drawn_and_never_over_a_file(capsys, tmp_path, run):
    out = tmp_path / "samples.png"
    assert call(capsys, "sample", run, f"--out={out}", "--n=4") == (0, "", "")
    drawn = out.read_bytes()
    assert Image.open(out).size > (20, 20)
    assert refused(call(capsys, "sample", run, f"--out={out}", "--n=6"), out, "--force")
    assert out.read_bytes() == drawn
    assert call(capsys, "sample", run, f"--out={out}", "--n=6", "--force").code == 0
    assert out.read_bytes() != drawn


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flag"), [("a.png", "--n=0"), ("a.png", "--n=-1"), ("a.xyz", ""), ("a", "")])
def test_samples_that_cannot_be_drawn_are_refused(capsys, tmp_path, run, name, flag):
    assert refused(call(capsys, "sample", run, f"--out={tmp_path / name}", *flag.split()))
    assert list(tmp_path.iterdir()) == []


def test_figures_are_drawn_and_their_paths_printed(capsys, tmp_path, run):
    mine = commands.copied(run, tmp_path / "run")
    said = call(capsys, "figures", mine, "--compare", run)
    assert (said.code, said.err) == (0, "")
    paths = [Path(line) for line in said.out.splitlines()]
    assert [path.stem for path in paths] == ["attention", "samples", "curves", "confusion", "training"]
    assert all(Image.open(path).size > (100, 100) for path in paths)


def test_comparing_with_what_is_no_run_is_refused(capsys, tmp_path, run):
    before = commands.contents(run)
    assert refused(call(capsys, "figures", run, "--compare", tmp_path / "none"), "none")
    assert commands.contents(run) == before


# Runs that can't be read


@pytest.fixture(params=["evaluate", "infer", "sample", "figures", "serve"])
def reading(request, tmp_path, picture):
    """Spell a command that reads a run."""
    rest = {"infer": [picture("shown.png")], "sample": [f"--out={tmp_path / 'samples.png'}"], "serve": ["--port=0"]}
    return lambda run: [request.param, run, *rest.get(request.param, [])]


def test_folders_without_a_run_or_checkpoint_are_refused(capsys, tmp_path, run, reading):
    assert refused(call(capsys, *reading(tmp_path / "none")), tmp_path / "none")
    assert refused(call(capsys, *reading(tmp_path)), tmp_path)
    young = commands.copied(run, tmp_path / "young")
    for path in (young / "checkpoints").iterdir():
        path.unlink()
    before = commands.contents(young)
    assert refused(call(capsys, *reading(young)), young, "no checkpoint")
    assert commands.contents(young) == before


def test_damaged_checkpoints_are_refused(capsys, tmp_path, run, reading):
    damaged = commands.copied(run, tmp_path / "damaged")
    commands.damage_checkpoints(damaged)
    before = commands.contents(damaged)
    assert refused(call(capsys, *reading(damaged)), "checkpoints")
    assert commands.contents(damaged) == before


# The installed packages


def test_every_package_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed, page = _names(project["dependencies"]), _names(extras["serve"])
    parts = ("coco", "czi", "dicom", "hub", "mujoco", "parquet", "ray", "remote", "rois")
    parts += ("supervision", "tfrecords", "video")
    optional = _names([requirement for part in parts for requirement in extras[part]])
    owners = importlib.metadata.packages_distributions()
    for path in (ROOT / "src").rglob("*.py"):
        declared = needed | (page if path.parent.name == "serve" else optional)
        foreign = set(_imports(path)) - sys.stdlib_module_names - {"airjax"}
        missing = {name for name in foreign if not declared & {owner.lower() for owner in owners.get(name, ())}}
        assert missing == set(), path


def _names(requirements):
    return {re.split(r"[^\w.-]", line)[0].lower() for line in requirements}


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]
