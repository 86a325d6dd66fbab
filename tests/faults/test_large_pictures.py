"""Large pictures: few are held at once, however many there are."""

import threading
import time
import weakref

import numpy as np
import pytest
from PIL import Image

from airjax.data import ahead
from airjax.data.folder import list_pictures, load_folder
from airjax.data.images import Raw, find_levels
from airjax.interfaces import doctor, infer_files, output_files


@pytest.fixture
def held(monkeypatch):
    """Count the pictures that are held, at most, and those that are decoded at once."""
    most, lock, alive = {"held": 0, "decoded": 0}, threading.Lock(), set()
    running, original = [], ahead.plain

    def plain(*arguments):
        with lock:
            running.append(1)
            most["decoded"] = max(most["decoded"], len(running))
        time.sleep(0.002)
        picture = original(*arguments)
        with lock:
            alive.add(id(picture))
            weakref.finalize(picture, alive.discard, id(picture))
            most["held"] = max(most["held"], len(alive))
            running.pop()
        return picture

    monkeypatch.setattr(ahead, "plain", plain)
    monkeypatch.setattr(ahead, "LARGE", 1)
    return most


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    for index in range(40):
        Image.fromarray(np.full((16, 16), 5 * index, np.uint8)).save(root / f"{index:02d}.png")
    return root


def test_training_decodes_two_at_a_time(folder, held, tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    assert len(load_folder(folder, (1, 8, 8))) == 40
    assert held["decoded"] <= 2
    assert held["held"] <= 5


@pytest.mark.slow
def test_inference_holds_few(inference, folder, held, tmp_path):
    job = infer_files.Inference(inference.model, infer_files.gather([folder]), False, 3, inference.key)
    outputs = output_files.Outputs(overlay=tmp_path / "shown", table=tmp_path / "t.csv")
    output_files.to_files(job, outputs, progress=False)
    assert len(list(outputs.overlay.iterdir())) == 40
    assert held["decoded"] <= 2
    assert held["held"] <= 8


@pytest.mark.slow
def test_the_doctor_holds_few(folder, held):
    doctor.examine(str(folder))
    assert held["held"] <= 8


def test_small_pictures_are_decoded_by_all_threads(folder, held, monkeypatch):
    monkeypatch.setattr(ahead, "LARGE", 10**9)
    small = ahead.read_pictures(folder, list_pictures(folder), then=lambda picture: picture.size)
    assert [one.picture for one in small] == [(16, 16)] * 40
    assert held["decoded"] > 2


def test_levels_keep_a_sample_of_each_picture(monkeypatch):
    kept, original = [], np.concatenate

    def concatenate(parts, *more):
        kept.extend(parts)
        return original(parts, *more)

    monkeypatch.setattr(np, "concatenate", concatenate)
    find_levels([Raw(np.zeros((1_000, 1_000), np.uint16), 65_535.0)])
    assert kept[0].base is None
    assert kept[0].size <= 20_000


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif", "pgm"])
def test_the_size_is_known_before_a_picture_is_decoded(tmp_path, kind):
    from airjax.data.reading import opening

    Image.new("L", (30, 20)).save(tmp_path / f"a.{kind}")
    with opening(tmp_path / f"a.{kind}", "a") as opened:
        assert opened.pixels == 600
