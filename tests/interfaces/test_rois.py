"""Outlines of objects as ImageJ regions."""

import zipfile

import numpy as np
import pytest
import roifile
from PIL import Image, ImageDraw
from scipy import ndimage

from airjax.interfaces.rois import outline, write_rois


def filled(points, shape):
    """Draw the pixels within an outline, eight times as large so that no edge is in doubt."""
    canvas = Image.new("L", (8 * shape[1], 8 * shape[0]))
    ImageDraw.Draw(canvas).polygon([(8 * float(x), 8 * float(y)) for x, y in points], fill=1)
    return np.asarray(canvas)[4::8, 4::8] > 0


def test_one_pixel_has_four_corners():
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    np.testing.assert_array_equal(outline(mask), [[2, 1], [3, 1], [3, 2], [2, 2]])


@pytest.mark.parametrize("seed", range(8))
def test_an_outline_holds_the_pixels_of_the_largest_part_and_its_holes(seed):
    mask = np.random.default_rng(seed).random((12, 15)) < 0.6
    parts, number = ndimage.label(mask)
    largest = parts == 1 + np.argmax(ndimage.sum(mask, parts, range(1, number + 1)))
    whole = ndimage.binary_fill_holes(largest)
    np.testing.assert_array_equal(filled(outline(mask), mask.shape), whole)


def test_an_archive_has_a_region_for_each_object_that_is_seen(tmp_path):
    labels = np.zeros((20, 30), np.uint16)
    labels[2:9, 3:12], labels[10:15, 20:30] = 1, 3
    path = tmp_path / "a" / "b.png.zip"
    write_rois(labels, path)
    regions = roifile.roiread(path)
    assert [region.name for region in regions] == ["1", "3"]
    for region, number in zip(regions, (1, 3)):
        np.testing.assert_array_equal(filled(region.coordinates(), labels.shape), labels == number)
    before = path.read_bytes()
    write_rois(labels, path)
    assert path.read_bytes() == before
    write_rois(np.zeros_like(labels), path)
    assert zipfile.ZipFile(path).namelist() == []
