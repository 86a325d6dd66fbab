import numpy as np
import pytest
from scipy import stats

from airjax.data import add_background, multi_digits, sprites

KINDS = ("noise", "grid", "texture")


def background(kind, size=300, *, seed=0, colours=(), side=40, level=0):
    images = np.full((size, side, side, *colours), level, np.uint8)
    add_background(images, kind, seed=seed)
    return images


@pytest.mark.parametrize("colours", [(), (3,)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_scene_has_its_own_background_whatever_the_number_of_scenes(kind, colours):
    images = background(kind, 600, colours=colours, side=20)
    assert len(np.unique(images.reshape(600, -1), axis=0)) == (25 if kind == "grid" else 600)
    for size in (1, 255, 257, 513):
        np.testing.assert_array_equal(background(kind, size, colours=colours, side=20), images[:size])
    assert (background(kind, 600, colours=colours, side=20, seed=1) != images).any()


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_with_a_background_do_not_depend_on_their_number(bank, kind):
    for make in (
        lambda n: multi_digits(bank, n, seed=3, background=kind),
        lambda n: sprites(n, seed=3, background=kind),
    ):
        np.testing.assert_array_equal(make(300).images, make(600).images[:300])


def test_none_changes_nothing():
    assert not background("none").any()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_noise_is_normal_and_cut_off(level):
    values = background("noise", level=level).ravel() / 255
    expected = stats.norm(0.8 * level / 255 + 0.1, 0.2)
    for value in (0.2, 0.4, 0.6, 0.8):
        assert np.mean(values < value) == pytest.approx(expected.cdf(value), abs=0.005)
    assert np.mean(values == 0) == pytest.approx(expected.cdf(0.5 / 255), abs=0.005)
    assert np.mean(values == 1) == pytest.approx(expected.sf(254.5 / 255), abs=0.005)


def test_noise_is_independent_between_pixels_channels_and_scenes():
    x = background("noise", colours=(3,), level=128).astype(float) - 128
    scale = np.mean(x**2)
    neighbours = [(x[:-1], x[1:]), (x[:, 1:], x[:, :-1]), (x[:, :, 1:], x[:, :, :-1]), (x[..., 1:], x[..., :-1])]
    for one, other in neighbours:
        assert abs(np.mean(one * other)) < 0.01 * scale


def test_a_grid_has_a_line_every_five_pixels_from_any_offset():
    images = background("grid", 2000)
    assert set(np.unique(images)) == {0, 102}  # 0.4 of 255
    np.testing.assert_array_equal(images[:, 5:], images[:, :-5])
    np.testing.assert_array_equal(images[:, :, 5:], images[:, :, :-5])
    down, across = images.min(2)[:, :5] > 0, images.min(1)[:, :5] > 0
    np.testing.assert_array_equal(down.sum(1), 1)
    np.testing.assert_array_equal(across.sum(1), 1)
    pairs = np.bincount(5 * down.argmax(1) + across.argmax(1), minlength=25)
    assert stats.chisquare(pairs).pvalue > 0.01
    np.testing.assert_array_equal(images > 0, (images.min(2) > 0)[:, :, None] | (images.min(1) > 0)[:, None])


@pytest.mark.parametrize("side", [20, 80])
def test_a_texture_is_smooth_coloured_and_of_moderate_contrast(side):
    x = background("texture", side=side, colours=(3,)) / 255
    assert 0 <= x.min() < 0.02
    assert 0.48 < x.max() <= 127 / 255
    assert x.mean() == pytest.approx(0.25, abs=0.01)
    # Two cycles a canvas change by at most 1/4 of 2 pi * 2 / side from pixel to pixel, up to rounding.
    for axis in (1, 2):
        assert np.abs(np.diff(x, axis=axis)).max() < 0.25 * 4 * np.pi / side + 2 / 255
    contrast = x.std((1, 2))
    assert 0.06 < np.median(contrast) < 0.15
    assert np.abs(x[..., 0] - x[..., 1]).mean() > 0.05
    grey = background("texture", side=side)
    np.testing.assert_array_equal(grey, background("texture", side=side, colours=(3,))[..., 0])


def test_the_brighter_of_digits_and_background_is_seen(bank):
    for kind in ("grid", "texture"):
        plain, both = (multi_digits(bank, 100, seed=5, background=b).images for b in ("none", kind))
        np.testing.assert_array_equal(both, np.maximum(plain, background(kind, 100, seed=5, side=50)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["grid", "texture"])
def test_sprites_hide_what_is_behind_them(channels, kind):
    plain, both = (sprites(200, seed=5, channels=channels, background=b).images for b in ("none", kind))
    behind = background(kind, 200, seed=5, side=50, colours=(3,) if channels == 3 else ())
    covered = plain.reshape(200, 50, 50, -1).any(-1)
    np.testing.assert_array_equal(both[covered], plain[covered])
    np.testing.assert_array_equal(both[~covered], behind[~covered])


def test_an_unknown_kind_is_refused():
    with pytest.raises((ValueError, TypeError), match=r"background|kind"):
        background("fog")
