"""Pictures of the user's own on the web page: the same results as `airjax infer` writes, shown at full resolution."""

import base64
import csv
import io

import commands
import jax
import numpy as np
import pytest
from fastapi.testclient import TestClient
from pages import DESKTOP, pixels_of, served
from PIL import Image, ImageColor
from playwright.sync_api import expect

from airjax.interfaces import infer_files, output_files
from airjax.interfaces.infer_tiles import TiledInference
from airjax.interfaces.serve import create_app
from airjax.interfaces.serve.own import Reading
from airjax.runs.plots import STEP_COLOURS

pytestmark = pytest.mark.slow
LOCAL = "http://localhost"
DARK = Reading("dark", (20.0, 220.0, 2.0))
FILE = "my, picture.png"


@pytest.fixture(scope="module")
def model(tiny_model):
    """A grey, oblong model that finds three objects in anything."""
    return tiny_model((1, 8, 12), counts=(0.1, 0.2, 0.3, 0.4), rough=0.5, seed=2)


@pytest.fixture(scope="module")
def client(model):
    return TestClient(create_app(model, name="tiny", reading=DARK), base_url=LOCAL)


def _pictures(number):
    """Make portraits in colour, larger than the model's images and of another shape."""
    return commands.pixels(number, 90, 50, 3)


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _send(client, pixels, name):
    headers = {"content-type": "image/png"}
    reply = client.post("/api/infer", params={"name": name}, content=_png(pixels), headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def _opened(content):
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_files_of_a_picture_are_those_of_airjax_infer(client, model, tmp_path):
    for i, pixels in enumerate(_pictures(2)):
        path = tmp_path / f"{i}.png"
        path.write_bytes(_png(pixels))
        outputs = output_files.Outputs(table=tmp_path / f"{i}.csv", labels=tmp_path / "labels" / str(i))
        settings = {"invert": True, "levels": DARK.levels, "samples": 2, "key": jax.random.PRNGKey(0)}
        job = infer_files.Inference(model, infer_files.gather([path]), **settings)
        output_files.to_files(job, outputs, progress=False)
        answer = _send(client, pixels, str(path))
        table = base64.b64decode(answer["own"]["table"])
        assert table == outputs.table.read_bytes()
        assert len(table.splitlines()) == 1 + answer["count"] == 4
        labels = np.asarray(_opened(answer["own"]["labels"]))
        np.testing.assert_array_equal(labels, np.asarray(Image.open(outputs.labels / path.name)))


def test_a_picture_larger_than_a_tile_is_answered_as_a_whole(model, tmp_path):
    (pixels,) = _pictures(1)
    (tmp_path / "a.png").write_bytes(_png(pixels))
    reading, outputs = (
        Reading("dark", tile=24),
        output_files.Outputs(table=tmp_path / "a.csv", labels=tmp_path / "labels"),
    )
    pictures, key = infer_files.gather([tmp_path / "a.png"]), jax.random.PRNGKey(0)
    output_files.to_files(TiledInference(model, pictures, True, 2, key, tile=24), outputs, progress=False)
    tiled = TestClient(create_app(model, name="tiny", reading=reading), base_url=LOCAL)
    own = _send(tiled, pixels, str(tmp_path / "a.png"))["own"]
    assert base64.b64decode(own["table"]) == outputs.table.read_bytes()
    assert own["count"] == len(own["boxes"]) > 3, "more than in one tile"
    assert (own["tiled"], own["q"]) == (True, None)
    assert 0 <= own["p"] <= 1
    np.testing.assert_array_equal(np.asarray(_opened(own["labels"])), np.asarray(Image.open(outputs.labels / "a.png")))


def test_a_picture_is_compared_with_a_still_background(model):
    (pixels,) = _pictures(1)
    own = Reading("dark", tile=24, still=Image.fromarray(pixels)).read(model, _png(pixels))
    assert own.whole is not None
    assert (own.whole.pixels == 127).all(), "mid-grey, inverted"
    assert np.array_equal(np.asarray(own.picture), pixels)
    with pytest.raises(ValueError, match="the picture has 50 x 90 pixels, and the model's still background 9 x 9"):
        Reading(tile=24, still=Image.new("L", (9, 9))).read(model, _png(pixels))


def test_a_picture_is_described_in_its_own_pixels(client):
    answer = _send(client, _pictures(1)[0], "a.png")
    own = answer["own"]
    assert (own["width"], own["height"], own["inverted"]) == (50, 90, True)
    assert len(own["boxes"]) == answer["count"] > 0
    labels = np.asarray(_opened(own["labels"]))
    masks = np.asarray(_opened(own["masks"]).convert("RGBA"))
    np.testing.assert_array_equal(masks[..., 3], np.where(labels, 255, 0))
    for number, (x0, y0, x1, y1) in enumerate(own["boxes"], start=1):
        assert (masks[labels == number][:, :3] == ImageColor.getrgb(STEP_COLOURS[number - 1])).all()
        y, x = np.nonzero(labels == number)
        assert ((x + 0.5 >= x0) & (x + 0.5 <= x1) & (y + 0.5 >= y0) & (y + 0.5 <= y1)).all()
    as_read = 255 * np.clip((_pictures(1)[0] - 20.0) / 200, 0, 1) ** 0.5
    np.testing.assert_allclose(np.asarray(_opened(own["picture"])), as_read, atol=0.51)
    assert answer["steps"][0]["object"]["shape"] == [1, 12, 12]  # a whole window, though the image is oblong


def test_more_objects_than_colours_take_the_first_ones_again():
    from airjax.interfaces.serve.own import _coloured

    labels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    masks = np.asarray(Image.open(io.BytesIO(_coloured(labels))).convert("RGBA")).reshape(12, 4)
    assert masks[:, 3].tolist() == [0] + [255] * 11
    np.testing.assert_array_equal(masks[1:4], masks[9:12])


def test_a_name_that_is_too_long_is_refused(client):
    reply = client.post("/api/infer?name=" + "x" * 256, content=b"", headers={"content-type": "image/png"})
    assert (reply.status_code, reply.json()) == (422, {"error": "name may have 255 characters"})


def test_a_picture_of_ones_own_is_shown_at_full_resolution_and_its_files_are_saved(model, visit, shoot):
    pixels = _pictures(1)[0]
    with served(model, reading=Reading("dark")) as address:
        page = visit(address, **DESKTOP)
        expect(page.locator("#own")).to_be_hidden()
        with page.expect_response("**/api/infer?name=*") as answered:
            page.locator("#file").set_input_files({"name": FILE, "mimeType": "image/png", "buffer": _png(pixels)})
        expect(page.locator("#source")).to_have_text(f"{FILE}, inverted and fitted to 12 × 8")
        answer = answered.value.json()
        count = answer["count"]
        np.testing.assert_array_equal(pixels_of(page, "#own-picture"), pixels)
        expect(page.locator("#own-count")).to_have_text(f"{count} object{'s' * (count != 1)}")
        expect(page.locator("#own-boxes rect")).to_have_count(count)
        assert page.locator("#own-boxes text").all_text_contents() == [str(1 + t) for t in range(count)]
        for name, shares in (("p", "count_posterior"), ("q", "count_probs")):
            assert float(page.locator(f"#own-{name}").text_content()[1:]) == pytest.approx(
                answer[shares][count], abs=1e-3
            )
        shoot(page, "own")
        table, labels = (
            _saved(page, "#own-table", "my, picture.csv"),
            _saved(page, "#own-labels", "my, picture-labels.png"),
        )
        rows = list(csv.DictReader(io.StringIO(table.decode(), newline="")))
        assert [(row["image"], row["object"]) for row in rows] == [(FILE, str(1 + t)) for t in range(count)]
        numbers = np.asarray(Image.open(io.BytesIO(labels)))
        assert [int(row["area"]) for row in rows] == [(numbers == 1 + t).sum() for t in range(count)]
        np.testing.assert_array_equal(pixels_of(page, "#own-masks").any(2), numbers > 0)
        page.locator("#own-show-full").check()
        assert page.locator("#own-picture").bounding_box()["width"] == 50
        page.locator("#own-show-masks").uncheck()
        expect(page.locator("#own-masks")).to_be_hidden()
        page.locator("#clear").click()
        expect(page.locator("#own")).to_be_hidden()


def _saved(page, link, name):
    with page.expect_download() as saving:
        page.locator(link).click()
    assert saving.value.suggested_filename == name
    return saving.value.path().read_bytes()
