"""The web page as people use it: drawn on, stepped through, looked at, in a real browser."""

import base64
import io

import numpy as np
import pytest
from pages import DARK, DESKTOP, PHONE, pixels_of, served
from PIL import Image
from playwright.sync_api import expect

from airjax.models.backgrounds.linear import LinearBackground
from airjax.runs.pretrained import load

HOSTILE = '<img src=x onerror="document.title=1">.png'
# Two digits, in shares of the scene: a zero, and a one.
ANGLES = np.linspace(0, 2 * np.pi, 24)
ZERO = [(0.26 + 0.10 * np.sin(a), 0.30 - 0.15 * np.cos(a)) for a in ANGLES]
ONE = [(0.72, 0.55), (0.70, 0.70), (0.68, 0.85)]


@pytest.fixture(scope="module")
def tiny_page(tiny_model, tiny_images):
    """A page whose model has all there can be, though it has learned nothing."""
    model = tiny_model(background=LinearBackground((1, 12, 12), components=2), over=True, rough=0.5)
    with served(model, pictures=tiny_images) as address:
        yield address


@pytest.fixture(scope="module")
def digits_page():
    """The page of a model that has learned to see digits."""
    with served(load("multi-mnist")) as address:
        yield address


def _draw(page, stroke):
    """Draw with the mouse."""
    box = page.locator("#pad").bounding_box()
    for place, (x, y) in enumerate(stroke):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if not place:
            page.mouse.down()
    page.mouse.up()


def _settle(page):
    """Wait until all is answered."""
    expect(page.locator("#look")).to_have_attribute("aria-busy", "false")


def _file(name="a.png", side=12):
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side), 200, np.uint8)).save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


def _see_all(page):
    """Stop playing, at the last step."""
    _settle(page)
    page.locator("body").press("Home")
    while page.locator("#forth").is_enabled():
        page.locator("#forth").click()


# What was drawn


def test_two_digits_are_drawn_found_and_counted(visit, digits_page, shoot):
    page = visit(digits_page, **DESKTOP)
    page.locator("#clear").click()
    expect(page.locator("#count")).to_have_text("no object")
    _draw(page, ZERO)
    expect(page.locator("#count")).to_have_text("1 object")
    _draw(page, ONE)
    expect(page.locator("#count")).to_have_text("2 objects")
    expect(page.locator("#windows rect")).to_have_count(2)
    expect(page.locator("#said")).to_have_text("2 objects")
    expect(page.locator("#chart > div").nth(2)).to_contain_text("%")
    windows = [rect.bounding_box() for rect in page.locator("#windows rect").all()]
    pad = page.locator("#pad").bounding_box()
    for digit in (ZERO, ONE):
        x, y = np.mean(digit, axis=0) * [pad["width"], pad["height"]] + [pad["x"], pad["y"]]
        holding = [w for w in windows if w["x"] < x < w["x"] + w["width"] and w["y"] < y < w["y"] + w["height"]]
        assert len(holding) == 1
    shoot(page, "digits")


@pytest.mark.parametrize(("name", "look"), [("desktop", DESKTOP), ("dark", DARK), ("phone", PHONE)])
def test_digits_look_well_everywhere(visit, digits_page, shoot, name, look):
    page = visit(digits_page, **look)
    _see_all(page)
    shoot(page, f"look-{name}")
    page.locator("#tab-imagine").click()
    expect(page.locator("#sheet li")).to_have_count(12)
    shoot(page, f"imagine-{name}")


def test_strokes_are_light_as_wide_as_the_models_and_can_be_undone(visit, tiny_page):
    page = visit(tiny_page, **DESKTOP)
    page.locator("#clear").click()
    blank = pixels_of(page)
    expect(page.locator("#guide rect")).to_be_visible()
    _draw(page, [(0.5, 0.1), (0.5, 0.9)])
    _settle(page)
    drawn = pixels_of(page)
    expect(page.locator("#guide rect")).to_be_hidden()
    assert (drawn >= blank).all()
    width = page.evaluate("fetch('/api/model').then(reply => reply.json()).then(card => card.patches.typical.stroke)")
    ink = (drawn[6, :, 0] - blank[6, :, 0].astype(float)) / (255 - blank[6, :, 0])
    assert ink.sum() == pytest.approx(width, abs=0.2)
    page.locator("#undo").click()
    _settle(page)
    np.testing.assert_array_equal(pixels_of(page), blank)
    _draw(page, [(0.2, 0.2)])
    _settle(page)
    assert (pixels_of(page) > blank).any()
    page.locator("body").press("Control+z")
    _settle(page)
    np.testing.assert_array_equal(pixels_of(page), blank)


@pytest.mark.parametrize("kind", ["pen", "touch"])
def test_pens_and_fingers_draw_too(visit, tiny_page, kind):
    page = visit(tiny_page, **PHONE)
    page.locator("#clear").click()
    blank = pixels_of(page)
    page.locator("#pad").evaluate(
        """(pad, kind) => {
            pad.setPointerCapture = () => {};  // only real pointers can be captured
            const { left, top, width, height } = pad.getBoundingClientRect();
            for (const [type, share] of [["down", 0.2], ["move", 0.8], ["up", 0.8]]) {
                const at = { clientX: left + share * width, clientY: top + share * height };
                pad.dispatchEvent(new PointerEvent(`pointer${type}`, { pointerType: kind, pointerId: 7, ...at }));
            }
        }""",
        kind,
    )
    _settle(page)
    assert ((pixels_of(page) > blank).any(2).sum(0) > 0).sum() >= 7
    assert page.locator("#pad").evaluate("pad => getComputedStyle(pad).touchAction") == "none"


def test_what_is_asked_is_what_is_shown(visit, tiny_page):
    page = visit(tiny_page, **DESKTOP)
    _settle(page)  # a page begins with a picture of its own
    with page.expect_request("**/api/infer") as asked:
        _draw(page, [(0.3, 0.3)])
    np.testing.assert_array_equal(asked.value.post_data_json["pixels"], pixels_of(page)[..., 0])


# Steps


def _begin(page):
    """Take a scene with something in it and stop at its end; the number of objects."""
    for _ in range(20):
        _see_all(page)
        count = page.locator("#steps .object").count()
        if count >= 2:
            return count
            page.locator("#random").click()
    _settle(page)
    pytest.fail("no scene has two objects")


def test_arrow_keys_step_through_what_was_found(visit, tiny_page):
    page = visit(tiny_page, **DESKTOP)
    count = _begin(page)
    boxes, ahead = page.locator("#windows rect"), page.locator("#steps .object.ahead")
    after = {}
    for step in (*range(count, -1, -1), *range(1, count + 1)):
        expect(boxes).to_have_count(step)
        expect(ahead).to_have_count(count - step)
        expect(page.locator("#drawn-after")).to_have_text(f"after {step} of {count}")
        shown = pixels_of(page, "#drawn")
        np.testing.assert_array_equal(after.setdefault(step, shown), shown)
        page.locator("#pad").press("ArrowLeft" if len(after) <= count else "ArrowRight")
    assert page.locator("#forth").is_disabled()
    page.locator("body").press("Home")
    expect(boxes).to_have_count(0)
    assert page.locator("#back").is_disabled()
    expect(page.locator("#said")).to_contain_text("after 0 objects")


def test_boxes_have_the_papers_colours_and_the_residual_is_what_is_missing(visit, tiny_page):
    page = visit(tiny_page, **DESKTOP)
    _begin(page)
    colours = page.locator("#windows rect").evaluate_all("boxes => boxes.map(box => getComputedStyle(box).stroke)")
    assert colours[:2] == ["rgb(255, 42, 42)", "rgb(34, 204, 51)"]
    left = (pixels_of(page)[..., 0] - pixels_of(page, "#drawn")[..., 0].astype(float)) / 255
    shown = pixels_of(page, "#left")
    np.testing.assert_allclose(shown[left > 0], left[left > 0, None] * [255, 176, 66], atol=1.01)
    np.testing.assert_allclose(shown[left < 0], -left[left < 0, None] * [74, 150, 255], atol=1.01)


def test_playing_shows_one_box_after_the_other_and_can_be_stopped(visit, tiny_page):
    page = visit(tiny_page, **DESKTOP)
    count = _begin(page)
    page.locator("#pad").press(" ")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
    expect(page.locator("#windows rect")).to_have_count(0)
    expect(page.locator("#windows rect")).to_have_count(1)
    expect(page.locator("#windows rect")).to_have_count(count)
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
    page.locator("#play").click()
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
    expect(page.locator("#windows rect")).to_have_count(0)


def test_those_who_want_no_motion_see_the_end_at_once(visit, tiny_page):
    page = visit(tiny_page, **DESKTOP, reduced_motion="reduce")
    count = _begin(page)
    page.locator("#play").click()
    assert page.locator("#windows rect").count() == count


def test_bars_are_the_distributions(visit, tiny_page):
    page = visit(tiny_page, **DESKTOP)
    _begin(page)
    with page.expect_response("**/api/infer") as answered:
        page.locator("#clear").click()
    answer = answered.value.json()
    _settle(page)
    heights = page.locator("#chart b").evaluate_all("bars => bars.map(bar => parseFloat(bar.style.height) / 100)")
    np.testing.assert_allclose(heights[::2], answer["count_posterior"], atol=1e-4)
    np.testing.assert_allclose(heights[1::2], answer["count_probs"], atol=1e-4)
    assert "0: " in page.locator("#chart").get_attribute("aria-label")


def test_everything_can_be_reached_by_keys_and_focus_is_seen(visit, tiny_page):
    page = visit(tiny_page, **DESKTOP)
    _begin(page)
    page.locator("#forth").evaluate(
        "button => button.closest('main').previousElementSibling.querySelector('button').focus()"
    )
    reached = []
    for _ in range(9):
        reached.append(page.evaluate("document.activeElement.id"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        page.keyboard.press("Tab")
        assert outline == "solid" or len(reached) == 1
    assert reached[:6] == ["tab-look", "pad", "random", "open", "undo", "clear"]
    assert {"first", "back", "play"} <= set(reached)
    page.locator("#tab-look").press("ArrowRight")
    expect(page.locator("#tab-imagine")).to_be_focused()
    expect(page.locator("#imagine")).to_be_visible()
    expect(page.locator("#look")).to_be_hidden()
    page.keyboard.press("Home")
    expect(page.locator("#look")).to_be_visible()


# Pictures


def test_a_chosen_picture_is_shown(visit, tiny_page):
    page = visit(tiny_page, **DESKTOP)
    with page.expect_file_chooser() as chooser:
        page.locator("#open").click()
    chooser.value.set_files(_file(side=6))
    expect(page.locator("#source")).to_have_text("a.png, fitted to 12 × 12")
    assert (pixels_of(page) == 200).all()


def test_a_dropped_picture_is_shown_and_its_name_is_only_text(visit, tiny_page, shoot):
    page = visit(tiny_page, **DESKTOP)
    data = page.evaluate_handle(
        """([name, content]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], name, { type: "image/png" }));
            return transfer;
        }""",
        [HOSTILE, base64.b64encode(_file()["buffer"]).decode()],
    )
    page.dispatch_event("#drop", "dragover", {"dataTransfer": data})
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    expect(page.locator("#source")).to_have_text(f"{HOSTILE}, fitted to 12 × 12")
    assert (pixels_of(page) == 200).all()
    assert page.locator("img").count() == 0
    assert page.title() != "1"
    expect(page.locator("#model")).to_contain_text("a <b>model</b>: 12 × 12")
    shoot(page, "hostile")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ({"name": HOSTILE, "mimeType": "image/png", "buffer": b"no picture"}, "damaged"),
        (
            {"name": "a.svg", "mimeType": "image/svg+xml", "buffer": b"<svg/>"},
            "a.svg can't be shown: pictures must be PNG",
        ),
        ({"name": "a.png", "mimeType": "image/png", "buffer": bytes(8_000_001)}, "8 MB"),
    ],
)
def test_what_cannot_be_read_is_said_and_forgotten(browser, tiny_page, file, said):
    page = browser.new_page()  # a refusal is reported by the browser, too
    page.goto(tiny_page)
    expect(page.locator("#count")).not_to_be_empty()
    page.locator("#file").set_input_files(file)
    expect(page.locator("#trouble")).to_contain_text(said)
    page.locator("#clear").click()
    expect(page.locator("#trouble")).to_be_hidden()
    page.close()


def test_a_server_that_is_gone_is_said(browser, tiny_page):
    page = browser.new_page()
    page.goto(tiny_page)
    expect(page.locator("#count")).not_to_be_empty()
    page.route("**/api/*", lambda route: route.abort())
    page.locator("#random").click()
    expect(page.locator("#trouble")).to_contain_text("does not answer")
    page.close()


def test_a_busy_server_is_asked_again(browser, tiny_page):
    page, times = browser.new_page(), []

    def busy(route):
        times.append(1)
        if len(times) > 1:
            return route.continue_()
        return route.fulfill(status=503, headers={"Retry-After": "0"}, json={"error": "busy"})

    page.route("**/api/scene", busy)
    page.goto(tiny_page)
    expect(page.locator("#count")).not_to_be_empty()
    assert len(times) > 1
    page.close()


# Imagined scenes


def test_dials_change_what_is_sampled(visit, tiny_page):
    page = visit(tiny_page, **DESKTOP)
    page.locator("#tab-imagine").click()
    items = page.locator("#sheet li")
    expect(items).to_have_count(12)
    expect(page.locator("#count-said")).to_have_text("from p(n)")
    slider = page.locator("#dial-count")
    for count in range(4):
        with page.expect_response("**/api/sample"):
            slider.press("ArrowRight")
        expect(page.locator("#count-said")).to_have_text(str(count))
        expect(page.locator("#sheet rect")).to_have_count(12 * count)
    assert slider.get_attribute("aria-valuetext") == "3"
    for dial, said in (("scale", "× 2.00"), ("temperature", "× 2.00")):
        before = pixels_of(page, "#sheet li:first-child canvas")
        with page.expect_response("**/api/sample"):
            page.locator(f"#dial-{dial}").press("End")
        expect(page.locator(f"#{dial}-said")).to_have_text(said)
        page.wait_for_function(
            "canvas => document.querySelector('#sheet canvas').toDataURL() !== canvas", arg=_url(before)
        )
    page.locator("#dial-windows").uncheck()
    expect(page.locator("#sheet svg").first).to_be_hidden()


def _url(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_an_imagined_scene_can_be_looked_at(visit, tiny_page):
    page = visit(tiny_page, **DESKTOP)
    page.locator("#tab-imagine").click()
    expect(page.locator("#sheet li")).to_have_count(12)
    imagined = pixels_of(page, "#sheet li:nth-child(3) canvas")
    page.locator("#sheet li:nth-child(3) button").click()
    expect(page.locator("#look")).to_be_visible()
    expect(page.locator("#source")).to_contain_text("sampled with n = ")
    np.testing.assert_array_equal(pixels_of(page), imagined)


# Small and dark screens


@pytest.mark.parametrize("tab", ["look", "imagine"])
def test_a_phone_needs_no_sideways_scrolling(visit, tiny_page, shoot, tab):
    page = visit(tiny_page, **PHONE)
    page.locator(f"#tab-{tab}").click()
    if tab == "look":
        _begin(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    inside = """all => all.filter(e => e.offsetParent).map(e => e.getBoundingClientRect())
        .every(r => r.left >= 0 && r.right <= 360)"""
    assert page.locator("button, input, canvas, figcaption").evaluate_all(inside)
    shoot(page, f"tiny-{tab}-phone")


def test_the_page_follows_the_colour_scheme(visit, tiny_page):
    shade = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"
    assert visit(tiny_page, **DESKTOP).evaluate(shade) > 600
    assert visit(tiny_page, **DARK).evaluate(shade) < 100
