"""Inference on files with several pictures, with channels to pick, and on pictures whose levels nobody knows."""

import json

import jax
import numpy as np
import pandas as pd
import pytest
import tifffile
from commands import call, refused
from PIL import Image

from airjax.interfaces import doctor, formats, infer_files, output_files


@pytest.fixture(scope="module")
def stack(tmp_path_factory, tiny_images):
    """A stack of five pictures with two channels of 12 bits, of which the first is black."""
    root = tmp_path_factory.mktemp("stacks")
    seen = tiny_images[:5, 0].astype(np.uint16) * 16
    tifffile.imwrite(root / "a.tif", np.stack([0 * seen, seen], axis=1), imagej=True, metadata={"axes": "TCYX"})
    return root / "a.tif"


@pytest.fixture
def infer(tiny_model):
    """A function that makes the inference of some pictures."""
    model = tiny_model(rough=0.5, seed=3)
    made = {"invert": False, "samples": 3, "key": jax.random.PRNGKey(0)}
    return lambda pictures, **settings: infer_files.Inference(model, pictures, **made, **settings)


@pytest.mark.slow
def test_outputs_name_the_pictures_of_a_stack(stack, infer, tmp_path):
    pictures = infer_files.gather([stack.parent], every=2)
    outputs = output_files.Outputs(tmp_path / "a.json", tmp_path / "a.parquet", tmp_path / "shown")
    output_files.to_files(infer(pictures, channels=(2,)), outputs, progress=False)
    names = [f"a.tif#{k}" for k in (1, 3, 5)]
    images = json.loads(formats.images_path(outputs.coco).read_text())["images"]
    assert [one["file_name"] for one in images] == names
    assert list(dict.fromkeys(pd.read_parquet(outputs.parquet)["image"])) == names
    assert sorted(path.name for path in outputs.overlay.iterdir()) == [f"{name}.png" for name in names]
    assert Image.open(outputs.overlay / "a.tif#3.png").size == (12, 12)


@pytest.mark.slow
def test_one_picture_of_a_stack_can_be_named(stack, infer):
    pictures = infer_files.gather([stack.with_name("a.tif#4")])
    (found,) = infer_files.readable(infer(pictures, channels=(2,)))
    assert found["image"].endswith("a.tif#4")
    assert len(infer_files.gather([stack]).names) == 5
    with pytest.raises(ValueError, match="got one twice"):
        infer_files.gather([stack, stack.with_name("a.tif#4")])
    with pytest.raises(ValueError, match=r"a\.tif#9 is missing: the file holds 5"):
        list(infer_files.readable(infer(infer_files.gather([stack.with_name("a.tif#9")]), channels=(2,))))


def test_a_file_named_like_a_picture_of_a_stack_is_refused(stack, tmp_path):
    (tmp_path / "a.tif#1").write_bytes(stack.read_bytes())
    with pytest.raises(ValueError, match="is named like picture 1 of another file; rename it"):
        infer_files.gather([tmp_path / "a.tif#1"])


def test_channels_must_be_picked(stack, infer):
    with pytest.raises(ValueError, match=r"a\.tif#1 has 2 channels; choose .* with --pick-channels"):
        list(infer_files.readable(infer(infer_files.gather([stack]))))
    with pytest.raises(ValueError, match="pick_channels must be"):
        infer(infer_files.gather([stack]), channels=(0,))


@pytest.mark.slow
def test_levels_that_nobody_knows_are_chosen_and_logged(stack, infer, caplog, tiny_images, tmp_path):
    pictures = infer_files.gather([stack])
    caplog.set_level("INFO", "airjax")
    levels = infer_files.choose_levels(pictures, (2,))
    assert levels == (0, 4_095, 1)
    assert "the pictures use 12 of 16 bits: --levels 0 4095 1" in caplog.text
    for index in range(5):
        Image.fromarray(tiny_images[index, 0]).save(tmp_path / f"{index}.png")
    assert infer_files.choose_levels(infer_files.gather([tmp_path])) is None
    counts = lambda pictures, **given: [one["count"] for one in infer_files.readable(infer(pictures, **given))]
    assert counts(pictures, channels=(2,), levels=levels) == counts(infer_files.gather([tmp_path]))


def test_the_doctor_picks_channels_and_leaves_out_frames(capsys, stack):
    report = json.loads(call(capsys, "doctor", stack.parent, "--pick-channels", 2, "--every", 2, "--json").out)
    assert report["pictures"] == 3
    assert refused(call(capsys, "doctor", stack.parent), "has 2 channels; choose")
    assert refused(call(capsys, "doctor", stack.parent, "--pick-channels", 0), "pick_channels must be one to three")
    assert refused(call(capsys, "doctor", stack.parent, "--pick-channels", 1.5), "1.5")


def test_training_looks_at_the_picked_channels(capsys, stack, tmp_path, monkeypatch):
    def look(source, **reading):
        raise ValueError(f"looked with {reading}")

    monkeypatch.setattr(doctor, "propose", look)
    (tmp_path / "own.toml").write_text("pick-channels = [2]\nevery = 3\ntile = 40\n")
    train = "train", stack.parent, "--out", tmp_path / "run"
    by_flags = call(capsys, *train, "--pick-channels", 2, 1)
    assert refused(by_flags, "looked with {'channels': (2, 1), 'every': 1, 'tile': None, 'still': None}")
    by_file = call(capsys, *train, "--config", tmp_path / "own.toml")
    assert refused(by_file, "looked with {'channels': (2,), 'every': 3, 'tile': 40, 'still': None}")
