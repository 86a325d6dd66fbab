"""The command line on pictures of one's own: doctor, train, infer into files, export."""

import json

import commands
import numpy as np
import pooch
import pytest
from commands import SIDE, call, refused, train_command
from PIL import Image

from airjax.config import Config, ModelConfig
from airjax.interfaces import cli
from airjax.interfaces.stand_ins import stand_ins
from airjax.runs.record import read_record


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(pooch, "os_cache", lambda _: cache)


@pytest.fixture
def folder(tmp_path):
    """Forty dark squares on white, of two sizes of picture."""
    rng = np.random.default_rng(0)
    for index in range(40):
        pixels = np.full((30, (30, 40)[index % 2]), 255, np.uint8)
        for _ in range(index % 3):
            y, x = rng.integers(0, 23, 2)
            pixels[y : y + 7, x : x + 7] = 20
        path = tmp_path / "own" / f"{index % 4}" / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "own"


def train(folder, out, **changes):
    sizes = {"scenes": None, "held_out_scenes": None, "counts": None, "canvas": None, "max_objects": None}
    return train_command(out, folder, **sizes | changes)


@pytest.mark.slow
def test_the_doctor_proposes_settings_and_draws_what_it_saw(capsys, tmp_path, folder):
    said = call(capsys, "doctor", folder, "--json", "--out", tmp_path / "look.png")
    report = json.loads(said.out)
    assert report["pictures"] == 40
    assert report["settings"]["polarity"] == "dark"
    assert report["settings"]["max_objects"] == 3
    assert Image.open(tmp_path / "look.png").size[0] > 100
    assert refused(call(capsys, "doctor", folder, "--out", tmp_path / "look.png"), "exists")
    shown = call(capsys, "doctor", folder).out
    assert "--polarity dark" in shown
    assert "AIR may be the wrong tool: 40 pictures are few" in shown


@pytest.mark.slow
def test_a_folder_is_learned_from_with_settings_by_the_look_of_it(capsys, caplog, tmp_path, folder):
    out = tmp_path / "run"
    assert call(capsys, *train(folder, out)).code == 0
    assert "settings by the look of the pictures" in caplog.text
    assert "40 pictures are few" in caplog.text
    config = read_record(out).config
    assert config.data.name == str(folder)
    assert (config.data.canvas, config.data.polarity, config.model.max_objects) == (35, "dark", 3)
    assert config.model.window == 8  # a flag wins
    assert config.model.attention == 64 != ModelConfig.attention
    assert (
        len(json.loads(call(capsys, "infer", out, folder / "1" / "01.png", "--json", "--samples=2").out)["images"]) == 1
    )
    assert call(capsys, *train(folder, out)).code == 0  # it goes on, or has ended
    assert call(capsys, "evaluate", out, "--samples=2").code == 0

    (folder / "1" / "01.png").unlink()
    assert refused(call(capsys, "evaluate", out), "have changed", "40 pictures", "39 pictures")
    assert refused(call(capsys, *train(folder, out)), "pictures 40 pictures")


@pytest.mark.slow
def test_settings_of_a_file_win_over_the_look(capsys, tmp_path, folder):
    settings = tmp_path / "settings.toml"
    settings.write_text("attention = 0\nmax-objects = 2\n")
    out = tmp_path / "run"
    assert call(capsys, *train(folder, out, config=settings, canvas=20, steps=2)).code == 0
    config = read_record(out).config
    assert (config.model.attention, config.model.max_objects, config.data.canvas) == (0, 2, 20)


def test_proposals_without_effect_beside_flags_are_left_out(folder):
    words = ["train", str(folder), "--out=run", "--objective=nvil", "--likelihood=bernoulli"]
    cli.app.config = stand_ins(cli.app, words)
    _, bound, _ = cli.app.parse_args(words, exit_on_error=False, print_error=False)
    model, training = bound.arguments["model"], bound.arguments["training"]
    assert Config(model=model, train=training).model.max_objects == 3
    assert (training.paste, model.sd) == (0.0, ModelConfig.sd)


def test_folders_that_cannot_be_learned_from_are_refused(capsys, tmp_path, folder):
    out, empty = tmp_path / "run", tmp_path / "empty"
    empty.mkdir()
    assert refused(call(capsys, *train(empty, out)), "holds no picture")
    assert refused(call(capsys, *train(tmp_path / "none", out)), "a folder")
    assert refused(call(capsys, *train(folder, out, digit_side=(9, 18))), "digit_side")
    (folder / "bad.png").write_text("bad")
    assert refused(call(capsys, *train(folder, out, strict=True)), "bad.png is not a picture")
    assert not out.exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return commands.trained_run(tmp_path_factory)


@pytest.mark.slow
def test_a_folder_is_inferred_into_files(capsys, tmp_path, run, folder):
    outputs = [
        "--coco",
        tmp_path / "o" / "c.json",
        "--parquet",
        tmp_path / "o" / "p.parquet",
        "--overlay",
        tmp_path / "v",
        "--labels",
        tmp_path / "l",
        "--table",
        tmp_path / "o" / "t.csv",
    ]
    said = call(capsys, "infer", run, folder, *outputs, "--samples=2")
    assert said.code == 0
    assert "40/40" in said.err
    assert len(json.loads((tmp_path / "o" / "c.images.json").read_text())["images"]) == 40
    for folder_of_outputs in ("v", "l"):
        assert len(list((tmp_path / folder_of_outputs).rglob("*.png"))) == 40
    assert (tmp_path / "o" / "t.csv").read_text().startswith("image,id,count,object,area,")
    assert refused(call(capsys, "infer", run, folder, *outputs, "--samples=2"), "exists")
    assert call(capsys, "infer", run, folder, *outputs, "--samples=2", "--force", "--quiet") == (0, "", "")
    assert refused(call(capsys, "infer", run, folder, *outputs, "--json"), "--json")


@pytest.mark.slow
def test_polarity_can_be_chosen_where_it_differs_from_training(capsys, run, folder):
    path = folder / "1" / "01.png"
    as_trained, inverted = (
        call(capsys, "infer", run, path, "--samples=4", *more) for more in ((), ("--polarity=dark",))
    )
    assert as_trained.out != inverted.out


@pytest.mark.slow
def test_an_exported_model_stands_in_for_its_run(capsys, tmp_path, run):
    Image.fromarray(commands.pixels(SIDE, SIDE)).save(tmp_path / "a.png")
    assert call(capsys, "export", run, "--out", tmp_path / "model") == (0, "", "")
    of_run, of_model = (call(capsys, "infer", m, tmp_path / "a.png", "--json") for m in (run, tmp_path / "model"))
    assert of_run.out == of_model.out
    assert refused(call(capsys, "export", run, "--out", tmp_path / "model"), "holds a model already")
    assert refused(call(capsys, "infer", "no-such-model", tmp_path / "a.png"), "neither a folder nor one of")
