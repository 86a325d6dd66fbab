import numpy as np
import pytest
from PIL import Image

from airjax.config import DataConfig
from airjax.data import load_scenes, tiles
from airjax.data.folder import load_folder
from airjax.data.tiles import Tiles, random_tiles, scaled

SHAPE = (1, 8, 8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Ten pictures of 20 x 30 pixels, each of one level of grey; the first hundred tiles are cut out of them."""
    monkeypatch.setattr(tiles, "TILES", 100)
    for index in range(10):
        Image.new("L", (30, 20), 10 + 20 * index).save(tmp_path / f"{index}.png")
    return tmp_path


def test_every_picture_yields_tiles_and_those_held_out_are_of_others(folder):
    images = load_folder(folder, SHAPE, tiles=Tiles(10, 0.2))
    assert images.shape == (100, 8, 8)
    assert images.dtype == np.uint8
    assert all(len(np.unique(image)) == 1 for image in images)
    levels, counts = np.unique(images[:, 0, 0], return_counts=True)
    assert levels.tolist() == [10 + 20 * index for index in range(10)]
    assert set(counts) == {10}
    assert not set(images[:20, 0, 0]) & set(images[20:, 0, 0])
    assert len(set(images[20:30, 0, 0])) > 3, "tiles of training are in random order"


def test_the_seed_fixes_tiles(folder, tmp_path):
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)).save(folder / "0.png")
    one, same, other = (load_folder(folder, SHAPE, tiles=Tiles(10, 0.2), seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, load_folder(folder, SHAPE, tiles=Tiles(12, 0.2)))


def test_unreadable_pictures_are_left_out_once(folder, caplog):
    (folder / "3.png").write_text("bad")
    images = load_folder(folder, SHAPE, tiles=Tiles(10, 0.2))
    assert len(images) == 90
    assert 70 not in images
    assert caplog.text.count("3.png is not") == 1
    assert "left out 1 of 10" in caplog.text


def test_many_pictures_yield_a_few_tiles_each(folder, monkeypatch):
    monkeypatch.setattr(tiles, "TILES", 12)
    images = load_folder(folder, SHAPE, tiles=Tiles(10, 0.2))
    assert len(images) == 12
    assert len(np.unique(images)) == 3


def test_tiles_are_split_by_the_share_held_out(folder):
    config = DataConfig(str(folder), canvas=8, tile=10, held_out_fraction=0.3).resolved()
    learnt, held_out = load_scenes(config, "train"), load_scenes(config, "held-out")
    assert (len(learnt), len(held_out)) == (70, 30)
    assert not set(learnt.images[:, 0, 0]) & set(held_out.images[:, 0, 0])


def test_random_tiles_reach_every_pixel():
    pixels = np.arange(12 * 10, dtype=np.uint8).reshape(1, 12, 10)
    cut = random_tiles(pixels, SHAPE, 300, (0,))
    assert {tuple(tile.shape) for tile in cut} == {SHAPE}
    assert len(np.unique(cut)) == 120


def test_tiles_of_few_pictures_are_turned_and_mirrored(folder, monkeypatch):
    rows = np.arange(20, dtype=np.uint8)[:, None] * 10
    Image.fromarray(np.repeat(rows, 30, axis=1)).save(folder / "0.png")
    falls = lambda images: {
        tuple(np.sign(np.diff(image.astype(int), axis=axis).sum()) for axis in (0, 1)) for image in images
    }
    turned = falls(load_folder(folder, SHAPE, tiles=Tiles(10, 0.2)))
    assert turned == {(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)}
    monkeypatch.setattr(tiles, "FEW", 1)
    assert falls(load_folder(folder, SHAPE, tiles=Tiles(11, 0.2))) == {(0, 0), (1, 0)}


def test_oblong_tiles_are_turned_by_half_a_turn():
    pixels = np.arange(8 * 12, dtype=np.uint8).reshape(1, 8, 12)
    found = {tile.tobytes() for tile in random_tiles(pixels, (1, 8, 12), 40, (0,), turned=True)}
    assert found == {pixels[:, ::a, ::b].tobytes() for a in (1, -1) for b in (1, -1)}


def test_a_scaled_picture_keeps_its_proportions():
    picture = Image.new("L", (300, 200))
    fitted = scaled(picture, (1, 32, 32), 64)
    assert fitted.pixels.shape == (1, 100, 150)
    np.testing.assert_allclose(fitted.placement.to_picture(np.array([10.0, 20, 30, 50])), [20, 40, 60, 100])


def test_a_picture_smaller_than_a_tile_is_centred_and_not_magnified():
    fitted = scaled(Image.new("RGB", (20, 10), "red"), (3, 32, 32), 32, invert=True)
    assert fitted.pixels.shape == (3, 32, 32)
    assert (fitted.pixels[0] == 0).all()
    np.testing.assert_allclose(fitted.placement.to_picture(np.array([6.0, 11, 26, 21])), [0, 0, 20, 10])


def test_pictures_are_not_magnified_beyond_measure():
    assert scaled(Image.new("L", (5, 5)), (1, 32, 32), 4).pixels.shape == (1, 40, 40)
    with pytest.raises(ValueError, match="tile must be at least 4 for images of 32 pixels, got 3"):
        scaled(Image.new("L", (5, 5)), (1, 32, 32), 3)


def test_tiles_are_for_folders():
    with pytest.raises(ValueError, match="tile is a setting of folders, not of sprites; got 64"):
        load_scenes(DataConfig("sprites", tile=64), "train")
    with pytest.raises(ValueError, match="tile must be at least 1, or none, got 0"):
        DataConfig(tile=0)
