import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from airjax.config import DataConfig
from airjax.data import Scenes, add_background, save_npz, sprites
from airjax.data.banks import embedded_digits
from airjax.data.multi_digits import multi_digits
from airjax.interfaces import console, doctor


def write(folder, images):
    folder.mkdir()
    for index, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / f"{index:04d}.png")
    return str(folder)


@pytest.fixture(scope="module")
def digits():
    return multi_digits(embedded_digits("train"), 160, seed=0)


@pytest.fixture(scope="module")
def shapes():
    return sprites(300, seed=0, counts=(0, 1, 2, 3), canvas=60)


def behind(images, kind):
    images = images.copy()
    add_background(images, kind, seed=0)
    return images


def sides(scenes):
    boxes = scenes.boxes[~np.isnan(scenes.boxes[..., 0])]
    return (boxes[:, 2:] - boxes[:, :2]).max(1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["digits", "shapes"])
def test_size_and_number_of_objects_are_those_of_the_generator(tmp_path, kind, request):
    scenes = request.getfixturevalue(kind)
    found = doctor.propose(write(tmp_path / "a", scenes.images))
    side = max(scenes.images.shape[1:])
    assert found.side * side == pytest.approx(np.median(sides(scenes)), rel=0.12)
    shares = np.bincount(scenes.counts, minlength=5) / len(scenes)
    np.testing.assert_allclose(np.pad(found.counts, (0, 5))[:5], shares, atol=0.07)
    assert found.settings["max_objects"] == scenes.counts.max() + 1
    assert found.settings["canvas"] == side
    assert found.settings["scale"] == pytest.approx(doctor.MARGIN * found.side, abs=1e-3)
    assert (found.polarity, found.background, found.colour) == ("light", "constant", False)
    assert found.settings["background_model"] == "none"


@pytest.mark.slow
def test_images_in_memory_look_like_those_of_files(tmp_path, digits):
    images = digits.images[:60]
    expected = doctor.propose(write(tmp_path / "a", images))
    assert doctor.propose_for(images) == expected
    assert doctor.propose_for([Image.fromarray(image).convert("LA") for image in images]) == expected
    with pytest.raises(ValueError, match="picture 1 has 32 bits"):
        doctor.propose_for([Image.new("L", (8, 8)), Image.new("F", (8, 8))])
    with pytest.raises(ValueError, match="images holds no picture"):
        doctor.propose_for([])


def test_dark_objects_on_white_are_to_be_inverted(tmp_path, digits):
    images = digits.images[:60]
    light, dark = (doctor.propose(write(tmp_path / name, x)) for name, x in (("a", images), ("b", 255 - images)))
    assert dark.polarity == dark.settings["polarity"] == "dark"
    assert dark.side == light.side
    assert (dark.settings["background_model"], dark.settings["compose"]) == ("none", "add")


@pytest.mark.slow
def test_lighter_and_darker_objects_cover_a_learned_ground(tmp_path, capsys):
    rng, images = np.random.default_rng(0), np.full((80, 40, 40, 3), (120, 110, 60), np.uint8)
    for index, image in enumerate(images):
        for colour in [(250, 210, 120), (20, 10, 0)][: 1 + index % 2]:
            y, x = rng.integers(0, 31, 2)
            image[y : y + 9, x : x + 9] = colour
    found = doctor.propose(write(tmp_path / "a", images))
    assert (found.settings["background_model"], found.settings["compose"], found.polarity) == (
        "constant",
        "over",
        "light",
    )
    assert found.colour
    console.print_report(found, as_json=False)
    assert "objects: lighter and darker than the background" in capsys.readouterr().out


@pytest.mark.slow
def test_a_picture_behind_all_scenes_is_found(tmp_path, digits):
    still = np.random.default_rng(0).integers(0, 90, (50, 50)).astype(np.uint8)
    found = doctor.propose(write(tmp_path / "a", np.maximum(digits.images, still)))
    assert found.background == found.settings["background_model"] == "mean"
    assert not any("pattern" in doubt for doubt in found.doubts)


@pytest.mark.slow
def test_noise_is_seen_through(tmp_path, digits):
    found = doctor.propose(write(tmp_path / "a", behind(digits.images, "noise")))
    assert 0.1 < found.noise < 0.25
    assert found.settings["max_objects"] in (3, 4)
    assert found.side * 50 == pytest.approx(np.median(sides(digits)), rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grid", "texture"])
def test_a_pattern_behind_the_objects_is_looked_past_and_learned(shapes, kind):
    found = doctor.propose_for(behind(shapes.images, kind))
    assert found.background == found.settings["background_model"] == "linear"
    assert found.settings["block"] is None
    assert not any("pattern" in doubt for doubt in found.doubts)
    assert found.side * 60 == pytest.approx(np.median(sides(shapes)), rel=0.12)
    shares = np.bincount(shapes.counts, minlength=5) / len(shapes)
    np.testing.assert_allclose(np.pad(found.counts, (0, 5))[:5], shares, atol=0.07)


@pytest.mark.slow
def test_a_pattern_that_is_another_everywhere_is_doubted(shapes):
    rng = np.random.default_rng(0)
    clouds = ndimage.gaussian_filter(rng.standard_normal(shapes.images.shape), (0, 2, 2))
    background = np.clip(60 + 300 * clouds, 0, 120).astype(np.uint8)
    found = doctor.propose_for(np.maximum(shapes.images, background))
    assert any("pattern" in doubt and "detector" in doubt for doubt in found.doubts)


@pytest.mark.slow
def test_doubts_name_what_is_wrong(tmp_path):
    blank = np.full((30, 40, 40), 17, np.uint8)
    assert doctor.propose(write(tmp_path / "blank", blank)).doubts == ("nothing stands out from the background",)
    rng, crowd = np.random.default_rng(0), np.zeros((30, 120, 120), np.uint8)
    for image in crowd:
        for y, x in np.argwhere(rng.random((9, 9)) < 0.4) * 12 + 6:
            image[y : y + 6, x : x + 6] = 255
    doubts = " ".join(doctor.propose(write(tmp_path / "crowd", crowd)).doubts)
    assert "30 pictures are few" in doubts
    assert "cut them into tiles" in doubts


@pytest.mark.slow
def test_large_pictures_are_made_as_small_as_their_objects_allow(tmp_path):
    images = np.zeros((20, 300, 400), np.uint8)
    for index, image in enumerate(images):
        image[100 + index : 150 + index, 200:250] = 255
    found = doctor.propose(write(tmp_path / "a", images))
    assert found.size == (400, 300)
    assert found.side == pytest.approx(50 / 400, abs=0.01)
    assert found.settings["canvas"] == pytest.approx(doctor.OBJECT * 400 / 50, abs=8)
    window = found.settings["scale"] * found.settings["canvas"]
    assert 1.5 * window <= found.settings["block"] < found.settings["canvas"] / 2


def discs(radii, pairs=0):
    """Draw a disc of each radius in a scene of its own, and in the first `pairs` scenes another that touches it."""
    rows, columns = np.indices((80, 80))
    scenes = np.full((len(radii), 80, 80), 30, np.uint8)
    for index, (scene, radius) in enumerate(zip(scenes, radii)):
        x, y = 14 + index % 6, 20 + index % 9
        for centre in (x, x + 2 * radius)[: 2 if index < pairs else 1]:
            scene[np.hypot(columns - centre, rows - y) <= radius] = 200
    return scenes


def test_objects_that_touch_do_not_count_as_large_ones(tmp_path):
    radii = 6 + 0.5 * (np.arange(60) % 3)
    alone = doctor.propose(write(tmp_path / "alone", discs(radii)))
    touching = doctor.propose(write(tmp_path / "touching", discs(radii, pairs=28)))
    assert touching.side == pytest.approx(alone.side, rel=0.1)
    assert touching.spread == pytest.approx(alone.spread, abs=0.05)
    assert touching.touching > 0.4 > alone.touching


def test_a_cluster_holds_as_many_objects_as_its_area(tmp_path):
    scenes = discs(np.full(60, 6.0))
    rows, columns = np.indices(scenes.shape[1:])
    for scene in scenes[::3]:
        for x, y in ((50, 50), (62, 50), (50, 62), (62, 62)):
            scene[np.hypot(columns - x, rows - y) <= 6] = 200
    counts = doctor.propose(write(tmp_path / "clusters", scenes)).counts
    assert counts[1] == pytest.approx(2 / 3, abs=0.02)
    assert sum(counts[4:6]) == pytest.approx(1 / 3, abs=0.02)  # discs that touch share some of their blurred edges


def test_windows_hold_the_detail_of_large_objects_where_sizes_vary(tmp_path):
    alike = doctor.propose(write(tmp_path / "alike", discs(np.full(60, 7.0))))
    varied = doctor.propose(write(tmp_path / "varied", discs(7.0 * 1.9 ** np.linspace(-1, 1, 60))))
    assert varied.side == pytest.approx(alike.side, rel=0.15)
    assert varied.settings["scale_sd"] > 0.3 > alike.settings["scale_sd"]
    assert varied.settings["window"] >= 1.2 * alike.settings["window"]


def test_objects_that_fill_much_of_a_picture_may_change_all_of_it(tmp_path):
    images = np.zeros((20, 40, 40), np.uint8)
    for index, image in enumerate(images):
        image[index : index + 14, 12:26] = 255
    assert doctor.propose(write(tmp_path / "a", images)).settings["block"] is None


@pytest.mark.slow
def test_files_of_scenes_keep_their_size(tmp_path, digits):
    save_npz(tmp_path / "a.npz", Scenes(digits.images))
    found = doctor.propose(str(tmp_path / "a.npz"))
    assert not {"canvas", "channels"} & found.settings.keys()
    DataConfig(name=str(tmp_path / "a.npz"), polarity=found.settings["polarity"])


@pytest.mark.slow
def test_damaged_pictures_are_told(tmp_path, digits):
    folder = write(tmp_path / "a", digits.images[:20])
    (tmp_path / "a" / "bad.png").write_text("bad")
    report = doctor.propose(folder)
    assert len(report.unreadable) == 1
    assert report.pictures == 21


@pytest.mark.slow
def test_pieces_are_drawn(tmp_path, digits):
    _, sample, pieces = doctor.examine(write(tmp_path / "a", digits.images[:30]))
    doctor.draw(sample, pieces, tmp_path / "look.png")
    assert Image.open(tmp_path / "look.png").size[0] > 300
