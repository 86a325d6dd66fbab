"""Tiles that the doctor proposes for large pictures and for many objects."""

import numpy as np
import pytest
from commands import call
from PIL import Image

from airjax.interfaces import doctor, samples

DISC = 18


@pytest.fixture(autouse=True)
def _few_tiles(monkeypatch):
    monkeypatch.setattr(samples, "LOOKED_AT", 64)
    monkeypatch.setattr(samples, "SEEN", 16)


@pytest.fixture
def field(tmp_path):
    """A function that writes a picture of discs in noise, magnified by a factor."""

    def write(number, size=(360, 260), factor=1):
        rng, (width, height) = np.random.default_rng(0), size
        y, x = np.mgrid[:height, :width] + 0.5
        away, centres = np.full((height, width), np.inf), []
        while len(centres) < number:
            centre = rng.uniform(0, size)
            if all(np.hypot(*(centre - other)) > DISC + 4 for other in centres):
                centres.append(centre)
                away = np.minimum(away, np.hypot(x - centre[0], y - centre[1]))
        pixels = 40 + 150 * np.clip(DISC / 2 - away + 0.5, 0, 1) + rng.normal(0, 5, (height, width))
        picture = Image.fromarray(np.uint8(np.clip(pixels, 0, 255)))
        picture.resize((factor * width, factor * height)).save(tmp_path / "field.png")
        return str(tmp_path)

    return write


@pytest.mark.slow
def test_a_field_of_many_objects_is_cut_into_tiles_by_their_size(field):
    found = doctor.propose(field(70, factor=3))
    side = found.side * found.tile
    assert side == pytest.approx(3 * DISC, rel=0.2)
    assert doctor.NARROWEST * 0.9 <= found.tile / side <= doctor.TILE * 1.1
    assert found.settings["tile"] == found.tile
    assert found.settings["canvas"] * found.side == pytest.approx(doctor.OBJECT, rel=0.3)
    assert found.settings["max_objects"] <= doctor.MOST
    assert found.size == (found.tile, found.tile)
    assert found.settings["batch"] > 1, "one picture yields many tiles"
    assert found.doubts == ()


@pytest.mark.slow
def test_no_tile_is_as_large_as_a_picture(field, monkeypatch):
    monkeypatch.setattr(samples, "object_side", lambda folder: 300.0)  # as a maze behind small things is
    assert doctor.propose(field(3, (70, 60), factor=6)).tile is None


@pytest.mark.parametrize(("number", "size"), [(5, (150, 120)), (30, (150, 150))])
def test_few_objects_and_small_pictures_stay_whole(field, number, size):
    found = doctor.propose(field(number, size))
    assert found.tile is None
    assert found.settings["tile"] is None


def test_small_sprites_are_measured_in_the_pictures_own_pixels(tmp_path):
    frame = np.zeros((200, 240), np.uint8)
    for y in range(20, 170, 20):
        for x in range(20, 220, 20):
            frame[y : y + 8, x : x + 6] = 200
    Image.fromarray(frame).save(tmp_path / "frame.png")
    assert samples.object_side(samples.open_folder(tmp_path, None, 1)) == pytest.approx(8, abs=1)


def test_settings_suit_the_tile_that_is_asked_for(field):
    found = doctor.propose(field(70), tile=60)
    assert found.settings["tile"] == 60
    assert found.side * 60 == pytest.approx(DISC, rel=0.2)
    assert found.settings["scale"] == pytest.approx(doctor.MARGIN * DISC / 60, rel=0.2)


@pytest.mark.slow
def test_the_report_speaks_of_tiles(field, capsys):
    said = call(capsys, "doctor", field(70))
    assert "1 picture, cut into tiles of" in said.out
    assert "objects in a tile: " in said.out
    assert "--tile " in said.out


@pytest.mark.slow
def test_a_picture_with_nothing_in_it_stays_whole(tmp_path):
    Image.new("L", (400, 300), 90).save(tmp_path / "empty.png")
    found = doctor.propose(str(tmp_path))
    assert found.tile is None
    assert "nothing stands out" in found.doubts[0]


@pytest.fixture
def stage(tmp_path):
    """A function that writes pictures of discs on a stage with rails, which may move from picture to picture."""

    def write(moves=0, number=24):
        rng, (y, x) = np.random.default_rng(0), np.mgrid[:180, :240] + 0.5
        for index in range(number):
            pixels, shift = np.full((180, 240), 60.0), moves * index
            pixels[(y + shift) % 60 < 12], pixels[(x - shift) % 90 < 9] = 150, 110
            for centre in rng.permutation([(a, b) for a in range(15, 240, 30) for b in range(15, 180, 30)])[:20]:
                pixels[np.hypot(x - centre[0], y - centre[1]) < DISC / 2] = 220
            Image.fromarray(np.uint8(pixels + rng.normal(0, 2, pixels.shape))).save(tmp_path / f"{index:02}.png")
        return str(tmp_path)

    return write


@pytest.mark.slow
def test_a_stage_that_stands_still_is_no_object(stage, capsys):
    folder = stage()
    found = doctor.propose(folder)
    assert found.still
    assert found.settings["still"]
    assert found.side * found.tile == pytest.approx(DISC, rel=0.2)
    assert found.background == "constant"
    said = call(capsys, "doctor", folder, "--tile", 60)
    assert "the camera stands still" in said.out
    assert "--still" in said.out
    assert "--still" not in call(capsys, "doctor", folder, "--tile", 60, "--no-still").out


@pytest.mark.slow
def test_a_camera_that_moves_or_pictures_of_several_sizes_have_no_still_background(stage, tmp_path):
    assert not doctor.propose(stage(moves=7), tile=60).still
    folder = stage()
    Image.new("L", (100, 90), 60).save(tmp_path / "00a.png")
    found = doctor.propose(folder, tile=60)
    assert (found.still, found.settings["still"]) == (False, None)
    assert doctor.propose(folder, still=True).settings["still"]
