"""Tables in 3D on the web page: what the server answers and refuses, and how the page shows it."""

import base64
import dataclasses
import json
import re
import threading
import urllib.request

import equinox as eqx
import jax
import numpy as np
import pytest
from commands import exported
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pages import DESKTOP, PHONE, pixels_of, served
from playwright.sync_api import expect

from airjax.data.batches import channels_first
from airjax.data.tables import tables
from airjax.inference import infer
from airjax.interfaces import serve
from airjax.interfaces.serve import create_app
from airjax.interfaces.serve.requests import MAX_BODY
from airjax.interfaces.serve.tables import HELD_OUT, TABLES, VIEW, TableAnswers
from airjax.models import count
from airjax.models.air import AIR
from airjax.models.air3d.model import AIR3D
from airjax.models.likelihood import NormalLikelihood
from airjax.render3d import LAID_TABLE
from airjax.render3d.turntable import turntable
from airjax.runs import pretrained

pytestmark = pytest.mark.slow
LOCAL = "http://localhost"
SIDE = 16
JSON = {"content-type": "application/json"}
CUP = {"identity": "cup", "position": [0.3, -0.2], "rotation_deg": 71.0}
HOSTILE = "<script>alert(1)</script>"


def make(shape):
    """A model that has learned nothing, but holds two objects to be likely."""
    made = AIR3D(
        shape,
        LAID_TABLE,
        NormalLikelihood(0.3),
        count.uniform(2),
        embed_channels=2,
        embed_hidden=8,
        head_hidden=8,
        key=jax.random.PRNGKey(0),
    )
    attend = lambda m: m.recogniser.attend.dense.layers[-1].bias
    return eqx.tree_at(attend, made, attend(made).at[0].set(3.0))


@pytest.fixture(scope="module")
def model():
    return make((3, SIDE, SIDE))


@pytest.fixture(scope="module")
def app(model):
    return create_app(model, name="<b>tables</b>")


@pytest.fixture(scope="module")
def client(app):
    return TestClient(app, base_url=LOCAL)


@pytest.fixture(scope="module")
def table_page(model):
    """The address of the page."""
    with served(model) as address:
        yield _compiled(address)


@pytest.fixture(scope="module")
def both_page(tiny_model, model):
    """The address of a page of two models."""
    with served(tiny_model(), beside=model) as address:
        yield _compiled(address)


def _compiled(address):
    """Wait until there are answers."""
    question = urllib.request.Request(f"{address}/api/table", b'{"seed": 0}', JSON)
    assert urllib.request.urlopen(question).status == 200
    return address


def _values(picture):
    return np.frombuffer(base64.b64decode(picture["data"]), picture["type"]).reshape(picture["shape"])


def _ask(client, path, **question):
    reply = client.post(path, json=question)
    assert reply.status_code == 200, reply.text
    return reply.json()


# Answers


def test_the_card_says_what_can_stand_on_the_table(client):
    card = client.get("/api/model").json()
    assert (card["name"], card["patches"]) == ("<b>tables</b>", None)
    expected = {"image_shape": [3, SIDE, SIDE], "max_objects": 2, "kinds": {"cup": 1, "bowl": 0, "plate": 3}}
    assert card["solids"] == expected


def test_a_table_is_a_held_out_one_and_what_inference_finds_there(client, model):
    laid = tables(LAID_TABLE, TABLES, seed=HELD_OUT, counts=(1, 2), canvas=SIDE)
    for seed in (3, TABLES + 5):
        answer, i = _ask(client, "/api/table", seed=seed), seed % TABLES
        np.testing.assert_array_equal(_values(answer["image"]), laid.images[i].transpose(2, 0, 1))
        assert [one["identity"] for one in answer["laid"]] == [
            LAID_TABLE.kinds[k].name for k in laid.labels[i] if k >= 0
        ]
        for one, pose in zip(answer["laid"], laid.poses[i]):
            assert one["position"] == pytest.approx(pose[:2], abs=1e-5)
            assert np.radians(one["rotation_deg"]) == pytest.approx(pose[2], abs=1e-4)
    found = infer.find(model, channels_first(laid.images[i : i + 1]), batch=1)
    assert (answer["count"], len(answer["steps"]), len(answer["canvases"])) == (found.count[0], 2, 3)
    for t, step in enumerate(answer["steps"]):
        assert step["window"] == pytest.approx(found.windows[0, t].tolist())
        assert {name: step[name] for name in CUP} == model.describe(found.what[0, t])
    assert np.radians(answer["azimuth_deg"]) == pytest.approx(LAID_TABLE.azimuth)
    assert sum(answer["count_posterior"]) == pytest.approx(1.0, abs=1e-4)


def test_no_table_is_one_that_was_learned_from(client):
    learned = tables(LAID_TABLE, TABLES, seed=0, counts=(1, 2), canvas=SIDE).images.transpose(0, 3, 1, 2)
    shown = _values(_ask(client, "/api/table", seed=7)["image"])
    assert not (learned == shown).all((1, 2, 3)).any()


def test_a_table_of_the_prior_is_fixed_by_its_seed_and_has_objects(client):
    one, again, other = (_ask(client, "/api/table", seed=seed, prior=True) for seed in (4, 4, 5))
    assert one == again
    assert one["image"] != other["image"]
    assert [len(table["laid"]) for table in (one, other)] == [1, 2]


def test_what_is_laid_looks_from_its_own_camera_as_it_was_shown(client):
    """The view of what truly stands there is the table's own picture, in more pixels."""
    table = _ask(client, "/api/table", seed=2)
    view = _values(_ask(client, "/api/view", objects=table["laid"], azimuth_deg=table["azimuth_deg"])["image"])
    assert view.shape == (3, VIEW, VIEW)
    shrunk = view.reshape(3, SIDE, VIEW // SIDE, SIDE, VIEW // SIDE).mean((2, 4))
    assert np.abs(shrunk - _values(table["image"])).mean() < 0.03 * 255
    empty = _values(_ask(client, "/api/view", objects=[], azimuth_deg=table["azimuth_deg"])["image"])
    assert np.abs(empty.astype(int) - view).max() > 50


def test_a_view_is_drawn_from_where_it_is_asked_for(client):
    what = np.array([[[0.3, -0.2, np.radians(71.0), 0.0], np.zeros(4)]], np.float32)
    for azimuth in (0.0, 40, -300.5):
        expected = turntable(
            LAID_TABLE, np.int32([1]), what, np.radians([azimuth], dtype=np.float32), frames=1, side=VIEW
        )
        view = _values(_ask(client, "/api/view", objects=[CUP], azimuth_deg=azimuth)["image"])
        np.testing.assert_allclose(view, 255 * expected[0, 0], atol=0.6)


# Refusals


def _view(**changes):
    return json.dumps({"objects": [CUP | changes], "azimuth_deg": 0}).encode()


@pytest.mark.parametrize(
    ("status", "path", "content", "kind"),
    [
        (404, "/api/infer", b"{}", "application/json"),
        (413, "/api/table", bytes(MAX_BODY + 1), "application/json"),
        (413, "/api/view", bytes(MAX_BODY + 1), "application/json"),
        (415, "/api/table", b'{"seed": 0}', "text/plain"),
        (415, "/api/view", b"", "image/png"),
        (422, "/api/table", b"", "application/json"),
        (422, "/api/table", b'{"seed": -1}', "application/json"),
        (422, "/api/table", b'{"seed": 4294967296}', "application/json"),
        (422, "/api/table", b'{"seed": 0, "prior": 1}', "application/json"),
        (422, "/api/table", json.dumps({"seed": 0, HOSTILE: 1}).encode(), "application/json"),
        (422, "/api/view", b"[" * 100_000, "application/json"),
        (422, "/api/view", b'{"objects": []}', "application/json"),
        (422, "/api/view", b'{"objects": [], "azimuth_deg": NaN}', "application/json"),
        (422, "/api/view", b'{"objects": [], "azimuth_deg": 721}', "application/json"),
        (422, "/api/view", b'{"objects": 3, "azimuth_deg": 0}', "application/json"),
        (422, "/api/view", json.dumps({"objects": [CUP] * 3, "azimuth_deg": 0}).encode(), "application/json"),
        (422, "/api/view", _view(identity="cube"), "application/json"),
        (422, "/api/view", _view(identity=HOSTILE), "application/json"),
        (422, "/api/view", _view(identity=0), "application/json"),
        (422, "/api/view", _view(position=[0.0]), "application/json"),
        (422, "/api/view", _view(position=[0.0, 0.0, 0.0]), "application/json"),
        (422, "/api/view", _view(position=[0.0, 101]), "application/json"),
        (422, "/api/view", _view(position=[0.0, float("nan")]), "application/json"),
        (422, "/api/view", _view(position=[0.0, float("inf")]), "application/json"),
        (422, "/api/view", _view(position=["0", 0]), "application/json"),
        (422, "/api/view", _view(rotation_deg=10**400), "application/json"),
        (422, "/api/view", _view(rotation_deg=None), "application/json"),
        (422, "/api/view", _view(**{HOSTILE: 1}), "application/json"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_one_sentence(client, status, path, content, kind):
    reply = client.post(path, content=content, headers={"content-type": kind})
    assert reply.status_code == status, reply.text
    assert list(reply.json()) == ["error"]
    assert not re.search(r"script|Traceback|\.py|0x|\\n", reply.text)


def test_objects_at_the_edge_of_what_is_allowed_are_drawn(client):
    far = [CUP | {"position": [100, -100.0], "rotation_deg": 720}] * 2
    assert _values(_ask(client, "/api/view", objects=far, azimuth_deg=-720)["image"]).any()


def test_pictures_of_tables_have_to_be_square():
    with pytest.raises(ValueError, match="16 x 8"):
        create_app(make((3, 8, 16)), name="x")


def test_the_server_ends_without_compiling_all_that_waits(model, monkeypatch):
    started, go_on, threads, done = threading.Event(), threading.Event(), [], []

    def slow():
        threads.append(threading.current_thread())
        started.set()
        assert go_on.wait(60)

    monkeypatch.setattr(TableAnswers, "warm", lambda _: (slow, lambda: done.append(1)))
    with TestClient(create_app(model, name="x"), base_url=LOCAL):
        assert started.wait(60)
    go_on.set()
    threads[0].join()
    assert done == []


# Without a run


def test_digits_are_shown_by_default_and_crockery_beside_them_once_it_is_there(tmp_path, monkeypatch, tiny_config):
    monkeypatch.setattr(pretrained.resources, "files", lambda _: tmp_path)
    exported(tmp_path / "multi-mnist", tiny_config, (1, 12, 12))
    made = []
    monkeypatch.setattr(serve, "create_app", lambda *model, **settings: made.append((*model, settings)) or FastAPI())
    serve._app(None)
    exported(tmp_path / "crockery", dataclasses.replace(tiny_config, objects="crockery"), (3, SIDE, SIDE))
    for source in (None, "multi-mnist", "crockery"):
        serve._app(source)
    assert [type(model) for model, _ in made] == [AIR, AIR, AIR, AIR3D]
    assert [settings["name"] for _, settings in made] == ["multi-mnist", "multi-mnist", "multi-mnist", "crockery"]
    assert [type(settings["beside"]) for _, settings in made] == [type(None), AIR3D, type(None), type(None)]


# The page


def test_a_table_is_inferred_step_by_step_and_seen_from_elsewhere(visit, table_page, shoot):
    page = visit(table_page, shown="#table-count", **DESKTOP)
    expect(page.locator("#warming")).to_be_hidden()
    expect(page.locator("[role=tab]:visible")).to_have_text(["Table in 3D"])
    expect(page.locator("#look")).to_be_hidden()
    expect(page.locator("#table-count")).to_have_text("2 objects")
    cards = page.locator("#table-steps .object")
    expect(cards).to_have_count(2)
    expect(cards.first).to_contain_text(re.compile(r"(cup|bowl|plate) at \(−?\d\.\d\d, −?\d\.\d\d\)"))
    expect(page.locator("#laid-told")).to_contain_text("Laid: ")
    page.locator("body").press("Home")
    for step in (0, 1, 2):
        expect(page.locator("#table-windows rect")).to_have_count(step)
        expect(page.locator("#table-drawn-after")).to_have_text(f"after {step} of 2")
        page.locator("body").press("ArrowRight")
    colours = page.locator("#table-windows rect").evaluate_all("all => all.map(box => getComputedStyle(box).stroke)")
    assert colours == ["rgb(255, 42, 42)", "rgb(34, 204, 51)"]
    before, dial = pixels_of(page, "#around"), page.locator("#dial-turn")
    assert before.shape == (VIEW, VIEW, 3)
    with page.expect_response("**/api/view"):
        dial.press("ArrowRight")
    expect(page.locator("#turn-said")).to_have_text("+5°")
    expect(page.locator("#table")).to_have_attribute("aria-busy", "false")
    assert np.abs(pixels_of(page, "#around").astype(int) - before).max() > 20
    expect(page.locator("#table-drawn-after")).to_have_text("after 2 of 2")  # the dial's keys are its own
    shoot(page, "table")


def test_other_tables_are_laid_and_sampled(visit, table_page):
    page = visit(table_page, shown="#table-count", **DESKTOP)
    for button, said in (("another", "held out from training"), ("sampled", "sampled from the prior")):
        before = pixels_of(page, "#laid")
        with page.expect_response("**/api/table"):
            page.locator(f"#{button}").press("Enter")
        expect(page.locator("#laid-source")).to_have_text(said)
        expect(page.locator("#table")).to_have_attribute("aria-busy", "false")
        assert (pixels_of(page, "#laid") != before).any()


def test_while_the_model_is_compiled_that_is_said(browser, table_page):
    page, held = browser.new_page(), []
    page.route("**/api/table", lambda route: held.append(route))
    page.goto(table_page)
    expect(page.locator("#warming")).to_contain_text("Compiling the renderer")
    for _ in range(100):  # the page says it before it asks
        if not held:
            page.wait_for_timeout(50)
    held.pop().continue_()
    expect(page.locator("#warming")).to_be_hidden()
    page.close()


def test_beside_digits_the_table_is_the_third_tab(visit, both_page):
    page = visit(both_page, **DESKTOP)
    expect(page.locator("[role=tab]")).to_have_text(["Look", "Imagine", "Table in 3D"])
    expect(page.locator("#table")).to_be_hidden()
    page.locator("#tab-look").press("End")
    expect(page.locator("#table-count")).to_have_text("2 objects")
    page.locator("#tab-table").press("ArrowRight")
    expect(page.locator("#look")).to_be_visible()
    expect(page.locator("#table")).to_be_hidden()


def test_a_phone_needs_no_sideways_scrolling(visit, table_page, shoot):
    page = visit(table_page, shown="#table-count", **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    inside = """all => all.filter(e => e.offsetParent).map(e => e.getBoundingClientRect())
        .every(r => r.left >= 0 && r.right <= 360)"""
    assert page.locator("button, input, canvas, figcaption").evaluate_all(inside)
    shoot(page, "table-phone")
