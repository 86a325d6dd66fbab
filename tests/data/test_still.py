import numpy as np
import pytest
from PIL import Image

from airjax.config import DataConfig
from airjax.data import folder, load_scenes, still, tiles
from airjax.data.ahead import read_pictures
from airjax.data.folder import load_folder
from airjax.data.sources import find_still
from airjax.data.still import OtherSizeError, compare, still_background
from airjax.data.tiles import Tiles, scaled

SHAPE = (1, 16, 16)


def stage(colours=False):
    """A stage: a light field on dark, with a rail."""
    pixels = np.full((48, 64, 3), 40, np.uint8)
    pixels[30:], pixels[:, 50:54] = (200, 120, 60), 90
    return pixels if colours else pixels[..., 0]


def shots(number, behind, thing=4):
    """Pictures of a stage on which a square has another place, and another level, in each."""
    rng, pictures = np.random.default_rng(0), []
    for _ in range(number):
        pixels, (y, x) = behind.copy(), rng.integers(0, (44, 60))
        pixels[y : y + thing, x : x + thing] = rng.integers(256)
        pictures.append(Image.fromarray(pixels))
    return pictures


@pytest.mark.parametrize("colours", [False, True])
def test_what_stands_still_is_seen_behind_things(colours, monkeypatch):
    pictures = shots(20, stage(colours), thing=12)
    found = still_background(pictures)
    np.testing.assert_array_equal(np.asarray(found), stage(colours))
    monkeypatch.setattr(still, "AT_ONCE", 5_000)
    np.testing.assert_array_equal(np.asarray(still_background(pictures)), found)


def test_a_thing_that_is_sometimes_absent_is_not_part_of_the_background():
    always, seldom = stage(), stage()
    seldom[8:13, 20:26] = 250
    always[8:13, 36:42] = seldom[8:13, 36:42] = 250
    found = still_background([Image.fromarray(pixels) for pixels in 18 * [seldom] + 2 * [always]])
    np.testing.assert_array_equal(np.asarray(found), always)
    once = still_background([Image.fromarray(pixels) for pixels in 29 * [seldom] + [always]])
    np.testing.assert_array_equal(np.asarray(once), seldom)


def test_noise_averages_out():
    rng = np.random.default_rng(1)
    noisy = [Image.fromarray(np.uint8(np.clip(stage() + rng.normal(0, 4, (48, 64)), 0, 255))) for _ in range(40)]
    assert np.abs(np.asarray(still_background(noisy), float) - stage()).mean() < 2


def test_pictures_of_another_size_or_too_few_tell_nothing():
    odd = [Image.new("L", (3, 3))] * 7
    np.testing.assert_array_equal(np.asarray(still_background([*odd, *shots(9, stage())])), stage())
    for few in ([], odd):
        with pytest.raises(ValueError, match=f"at least 8 pictures of one size, got {len(few)}"):
            still_background(few)


def test_no_difference_is_lost_and_none_is_mid_grey():
    values = np.arange(256, dtype=np.uint8)
    one, other = (Image.fromarray(np.tile(row, (256, 1))) for row in (values, values[::-1]))
    assert np.unique(np.asarray(compare(one, one))).tolist() == [128]
    difference = np.asarray(compare(one, other))[0].astype(int)
    np.testing.assert_array_equal(difference, 128 + (2 * np.arange(256) - 255) // 2)
    assert (difference.min(), difference.max()) == (0, 255)


def test_a_colour_picture_is_compared_with_a_grey_one():
    colour, grey = Image.new("RGB", (2, 2), (100, 60, 20)), Image.new("L", (2, 2), 60)
    assert compare(colour, grey).getpixel((0, 0)) == (148, 128, 108)
    assert compare(grey, colour).getpixel((0, 0)) == (108, 128, 148)
    assert compare(grey, grey).mode == "L"


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(OtherSizeError, match="has 9 x 5 pixels, and the model's still background 64 x 48"):
        scaled(Image.new("L", (9, 5)), SHAPE, 16, still=Image.fromarray(stage()))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Twenty pictures of a stage, each with one thing."""
    monkeypatch.setattr(tiles, "TILES", 100)
    folder._still.cache_clear()
    for index, picture in enumerate(shots(20, stage())):
        picture.save(tmp_path / f"{index:02}.png")
    return tmp_path


def test_tiles_show_only_what_differs(root):
    plain, compared = (load_folder(root, SHAPE, tiles=Tiles(16, 0.2, still)) for still in (False, True))
    assert plain.shape == compared.shape == (100, 16, 16)
    assert np.mean(compared == 128) > 0.9
    assert np.mean((compared == 128).all((1, 2))) > 0.5
    assert not (plain == 128).all((1, 2)).any()
    assert np.array_equal(load_folder(root, SHAPE, tiles=Tiles(16, 0.2, True)), compared)


def test_a_picture_of_another_size_is_left_out_or_an_error(root, caplog):
    Image.new("L", (70, 48)).save(root / "odd.png")
    assert len(load_folder(root, SHAPE, tiles=Tiles(16, 0.2, True))) == 5 * 20
    assert "left out 1 of 21 pictures: odd.png has 70 x 48 pixels, and the model's still" in caplog.text
    with pytest.raises(ValueError, match=r"odd\.png has 70 x 48"):
        load_folder(root, SHAPE, tiles=Tiles(16, 0.2, True), strict=True)


def test_the_background_is_told_by_pictures_that_are_learned_from(root, monkeypatch):
    seen = []
    monkeypatch.setattr(folder, "enough", lambda read, names: seen.extend(names) or still.enough(read, names))
    config = DataConfig(str(root), canvas=16, tile=16, still=True, held_out_fraction=0.3).resolved()
    learnt, background = load_scenes(config, "train"), find_still(config)
    assert len(seen) == len(set(seen)) == 14, "once for tiles and the run's own"
    assert background is not None
    np.testing.assert_array_equal(np.asarray(background), stage())
    assert len(learnt) == 70


def test_fewer_large_pictures_are_looked_at(monkeypatch):
    monkeypatch.setattr(still, "BYTES", 10 * 48 * 64)
    asked = []

    def read(names):
        asked.append(names)
        return (Image.fromarray(stage()) for _ in names)

    names = [f"a.tif#{i}" for i in range(30, 0, -1)]
    assert len(still.enough(read, names)) == 10
    assert asked[1] == [f"a.tif#{i}" for i in range(21, 31)], "in the order of the file"
    assert still.enough(lambda names: iter(()), names) == []


def test_only_tiles_of_a_folder_have_a_still_background(root):
    with pytest.raises(ValueError, match="give tile, too"):
        DataConfig(str(root), still=True)
    with pytest.raises(ValueError, match="still is a setting of folders"):
        load_scenes(DataConfig("sprites", still=False), "train")
    assert find_still(DataConfig(str(root), tile=16)) is None
    assert find_still(DataConfig("sprites")) is None


def test_the_problem_of_a_picture_names_it(root):
    background, shape = Image.new("L", (9, 9)), (1, 8, 8)
    fit = lambda picture: scaled(picture, shape, 8, still=background)
    [ahead], [later] = read_pictures(root, ["03.png"], then=fit), read_pictures(root, ["03.png"])
    assert ahead.problem == later.then(fit).problem
    assert str(ahead.problem).startswith("03.png has 64 x 48 pixels")
    with pytest.raises(ValueError, match="tile must be at least 1"):
        later.then(lambda picture: scaled(picture, shape, 0.5))
