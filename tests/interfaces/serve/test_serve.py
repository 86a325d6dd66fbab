"""The web page's server: what it answers, what it refuses, and how."""

import asyncio
import base64
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import commands
import jax
import numpy as np
import pytest
from commands import call, refused
from fastapi.testclient import TestClient
from PIL import Image

from airjax.data.images import letterbox
from airjax.data.reading import open_picture
from airjax.inference import infer
from airjax.interfaces.serve import answers, create_app, held_out_pictures
from airjax.interfaces.serve.app import STATIC
from airjax.interfaces.serve.requests import MAX_BODY
from airjax.models.backgrounds.linear import LinearBackground
from airjax.runs import plots

LOCAL = "http://localhost"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(background=LinearBackground((1, 12, 12), components=2), over=True, rough=0.5)


@pytest.fixture(scope="module")
def app(model, tiny_images):
    return create_app(model, name="<b>tiny</b>", pictures=tiny_images, places=2)


@pytest.fixture(scope="module")
def client(app):
    return TestClient(app, base_url=LOCAL)


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _values(picture):
    data = np.frombuffer(base64.b64decode(picture["data"]), picture["type"])
    return data.reshape(picture["shape"])


def _infer(client, pixels):
    reply = client.post("/api/infer", json={"pixels": pixels.tolist()})
    assert reply.status_code == 200, reply.text
    return reply.json()


# Answers


def test_the_card_says_what_the_model_is(client, model):
    card = client.get("/api/model").json()
    assert (card["name"], card["colours"], card["solids"]) == ("<b>tiny</b>", list(plots.STEP_COLOURS), None)
    card = card["patches"]
    assert (card["image_shape"], card["max_objects"]) == ([1, 12, 12], 3)
    assert (card["window"], card["scenes"]) == (5, "held-out")
    np.testing.assert_allclose(card["count_prior"], np.exp(model.count_log_prior), rtol=1e-5)
    assert all(1 <= size <= 12 for size in card["typical"].values())
    assert _values(card["background"]).shape == (1, 12, 12)


def test_an_answer_is_what_inference_finds(client, model, tiny_images):
    answer = _infer(client, tiny_images[5, 0])
    image = tiny_images[5:6]
    found = infer.find(model, image, batch=1)
    bound = infer.bound(model, image, samples=answers.SAMPLES, key=jax.random.PRNGKey(0), batch=1)
    views = infer.view(model, image, found)
    assert answer["count"] == found.count[0]
    np.testing.assert_allclose(answer["count_probs"], found.count_probs[0], rtol=1e-5)
    np.testing.assert_allclose(answer["count_posterior"], bound.count_posterior[0], rtol=1e-4)
    np.testing.assert_array_equal(_values(answer["image"]), tiny_images[5])
    for n, canvas in enumerate(answer["canvases"]):
        np.testing.assert_allclose(_values(canvas) / 255, np.clip(found.canvases[0, n], 0, 1), atol=0.6 / 255)
    for t, step in enumerate(answer["steps"]):
        assert step["presence"] == pytest.approx(found.presence[0, t])
        assert step["window"] == pytest.approx(found.windows[0, t].tolist())
        np.testing.assert_allclose(step["box"], found.boxes[0, t])
        np.testing.assert_allclose(_values(step["glimpse"]) / 127, np.clip(views.glimpses[0, t], -1, 1), atol=0.6 / 127)
        np.testing.assert_allclose(_values(step["object"]) / 255, np.clip(views.objects[0, t], 0, 1), atol=0.6 / 255)
    assert len(answer["canvases"]) == len(answer["steps"]) + 1 == 4


def test_a_picture_is_answered_like_its_pixels(client, tiny_images):
    for kind in ("image/png", "IMAGE/PNG; charset=x"):
        reply = client.post("/api/infer", content=_png(tiny_images[5, 0]), headers={"content-type": kind})
        answer = reply.json()
        assert answer.pop("own")["picture"] is None
        assert answer == _infer(client, tiny_images[5, 0])


def test_a_picture_of_another_size_is_fitted(client):
    content = _png(commands.pixels(40, 30, 3))
    reply = client.post("/api/infer", content=content, headers={"content-type": "image/png"})
    expected = letterbox(open_picture(io.BytesIO(content)), (1, 12, 12)).pixels
    np.testing.assert_array_equal(_values(reply.json()["image"]), expected)


@pytest.mark.slow
@pytest.mark.parametrize("level", [250, 5])
@pytest.mark.parametrize("learned", [False, True])
def test_dark_ink_on_light_paper_is_inverted_unless_the_ground_is_learned(client, tiny_model, level, learned):
    if not learned:
        client = TestClient(create_app(tiny_model(), name="black"), base_url=LOCAL)
    paper = np.full((12, 12), level, np.uint8)
    paper[4:8, 4:8] = 255 - level
    reply = client.post("/api/infer", content=_png(paper), headers={"content-type": "image/png"})
    seen = _values(reply.json()["image"]).reshape(12, 12)
    np.testing.assert_array_equal(seen, paper if learned or level == 5 else 255 - paper)


@pytest.mark.slow
def test_colour_pixels_are_rows_of_triples_and_glimpses_can_be_negative(tiny_model):
    colour = TestClient(create_app(tiny_model((3, 8, 6), rough=0.5), name="x"), base_url=LOCAL)
    pixels = commands.pixels(8, 6, 3) // 4
    answer = _infer(colour, pixels)
    np.testing.assert_array_equal(_values(answer["image"]), pixels.transpose(2, 0, 1))
    assert min(_values(step["glimpse"]).min() for step in answer["steps"][1:]) < 0
    assert colour.post("/api/infer", json={"pixels": pixels[..., 0].tolist()}).status_code == 422


def test_a_random_scene_is_held_out_and_fixed_by_its_seed(client, tiny_images):
    for seed in (0, 13):
        reply = client.post("/api/scene", json={"seed": seed}).json()
        np.testing.assert_array_equal(_values(reply["image"]), tiny_images[seed % 10])
        assert reply["source"] == "held-out"


def test_without_data_random_scenes_are_sampled(model):
    app = TestClient(create_app(model, name="x"), base_url=LOCAL)
    images = [app.post("/api/scene", json={"seed": seed}).json() for seed in (1, 1, 2)]
    assert images[0] == images[1] != images[2]
    assert images[0]["source"] == app.get("/api/model").json()["patches"]["scenes"] == "prior"


def test_samples_have_the_count_that_was_asked_for(client):
    ask = lambda **wanted: client.post("/api/sample", json={"seed": 3, **wanted}).json()["scenes"]
    for count in range(4):
        scenes = ask(count=count)
        assert [len(scene["windows"]) for scene in scenes] == [count] * answers.SHEET
        assert {scene["count"] for scene in scenes} == {count}
    assert len({scene["count"] for scene in ask()}) > 1
    assert ask() == ask(count=None, scale=1, temperature=1.0)
    assert ask(count=2) != ask(count=2, temperature=0.5)
    side = lambda scene: scene["windows"][0][2] - scene["windows"][0][0]
    assert side(ask(count=1, scale=2)[0]) == pytest.approx(2 * side(ask(count=1)[0]), rel=1e-4)


def test_pictures_that_do_not_fit_the_model_are_refused_at_once(model):
    with pytest.raises(ValueError, match="12 x 12"):
        create_app(model, name="x", pictures=commands.pixels(2, 1, 9, 9))


# Refusals


def _reply(client, method, path, content=b"", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.request(method, path, content=content, headers=headers)


JSON = {"content_type": "application/json"}
HOSTILE = "<script>alert(1)</script>"


def _row(value):
    return json.dumps({"pixels": [[0] * 12] * 11 + [[0] * 11 + [value]]}).encode()


@pytest.mark.parametrize(
    ("status", "method", "path", "content", "headers"),
    [
        (404, "GET", "/nothing", b"", {}),
        (404, "GET", f"/{HOSTILE}", b"", {}),
        (404, "GET", "/static/../app.py", b"", {}),
        (404, "GET", "/static/%2e%2e/app.py", b"", {}),
        (404, "GET", "/docs", b"", {}),
        (404, "GET", "/openapi.json", b"", {}),
        (405, "GET", "/api/infer", b"", {}),
        (405, "POST", "/api/model", b"", {}),
        (404, "POST", "/api/table", b'{"seed": 0}', JSON),
        (400, "POST", "/api/infer", b"", JSON | {"content_length": "many"}),
        (413, "POST", "/api/infer", b"", JSON | {"content_length": str(MAX_BODY + 1)}),
        (413, "POST", "/api/infer", bytes(MAX_BODY + 1), {"content_type": "image/png"}),
        (413, "POST", "/api/sample", bytes(MAX_BODY + 1), JSON),
        (415, "POST", "/api/infer", b"{}", {}),
        (415, "POST", "/api/infer", b"{}", {"content_type": "text/plain"}),
        (415, "POST", "/api/infer", b"<svg/>", {"content_type": "image/svg+xml"}),
        (415, "POST", "/api/infer", b"", {"content_type": "multipart/form-data; boundary=x"}),
        (415, "POST", "/api/sample", b"{}", {"content_type": "text/plain"}),
        (415, "POST", "/api/scene", b"{}", {"content_type": "image/png"}),
        (422, "POST", "/api/infer", b"", JSON),
        (422, "POST", "/api/infer", b"{", JSON),
        (422, "POST", "/api/infer", b"\xff", JSON),
        (422, "POST", "/api/infer", b"[" * 100_000, JSON),
        (422, "POST", "/api/infer", b"[]", JSON),
        (422, "POST", "/api/infer", b"{}", JSON),
        (422, "POST", "/api/infer", b'{"pixels": 3}', JSON),
        (422, "POST", "/api/infer", b'{"pixels": []}', JSON),
        (422, "POST", "/api/infer", b'{"pixels": [[1, 2], [3]]}', JSON),
        (422, "POST", "/api/infer", b'{"pixels": [[1]]}', JSON),
        (422, "POST", "/api/infer", _row(256), JSON),
        (422, "POST", "/api/infer", _row(-1), JSON),
        (422, "POST", "/api/infer", _row(0.5), JSON),
        (422, "POST", "/api/infer", _row(10**30), JSON),
        (422, "POST", "/api/infer", _row(float("nan")), JSON),
        (422, "POST", "/api/infer", _row(HOSTILE), JSON),
        (422, "POST", "/api/infer", _row({HOSTILE: 1}), JSON),
        (422, "POST", "/api/infer", _row(None), JSON),
        (422, "POST", "/api/infer", json.dumps({"pixels": [[0] * 12] * 12, HOSTILE: 1}).encode(), JSON),
        (422, "POST", "/api/infer", HOSTILE.encode(), {"content_type": "image/png"}),
        (422, "POST", "/api/infer", _png(commands.pixels(12, 12))[:60], {"content_type": "image/png"}),
        (422, "POST", "/api/infer", b"", {"content_type": "image/jpeg"}),
        (422, "POST", "/api/scene", b"{}", JSON),
        (422, "POST", "/api/scene", b'{"seed": -1}', JSON),
        (422, "POST", "/api/scene", b'{"seed": 4294967296}', JSON),
        (422, "POST", "/api/scene", b'{"seed": "1"}', JSON),
        (422, "POST", "/api/scene", json.dumps({"seed": 1, HOSTILE: 1}).encode(), JSON),
        (422, "POST", "/api/sample", b'{"seed": 0, "count": -1}', JSON),
        (422, "POST", "/api/sample", b'{"seed": 0, "count": 4}', JSON),
        (422, "POST", "/api/sample", b'{"seed": 0, "count": 1.5}', JSON),
        (422, "POST", "/api/sample", b'{"seed": 0, "scale": 0.1}', JSON),
        (422, "POST", "/api/sample", b'{"seed": 0, "scale": NaN}', JSON),
        (422, "POST", "/api/sample", b'{"seed": 0, "scale": 1e999}', JSON),
        (422, "POST", "/api/sample", b'{"seed": 0, "temperature": 5}', JSON),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_one_sentence(client, status, method, path, content, headers):
    reply = _reply(client, method, path, content, **headers)
    assert reply.status_code == status, reply.text
    assert list(reply.json()) == ["error"]
    assert 5 < len(reply.json()["error"]) < 200
    assert not re.search(r"script|Traceback|\.py|0x|\\n", reply.text)
    _check_headers(reply)


def test_a_body_of_no_announced_length_is_not_read_to_its_end(app):
    headers = [(b"host", b"localhost"), (b"content-type", b"image/png")]
    scope = {"type": "http", "method": "POST", "path": "/api/infer", "headers": headers, "query_string": b""}
    read, sent = [], []

    async def receive():
        read.append(1)
        return {"type": "http.request", "body": bytes(1_000_000), "more_body": len(read) < 100}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 413
    assert len(read) == MAX_BODY // 1_000_000 + 1


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(client, monkeypatch):
    content = _png(np.zeros((4_001, 4_000), np.uint8))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    reply = client.post("/api/infer", content=content, headers={"content-type": "image/png"})
    assert (reply.status_code, reply.json()["error"]) == (
        422,
        "the picture has 4000 x 4001 pixels, too many to read: cut it up first",
    )


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "0.0.0.0"])
def test_other_hosts_are_refused(client, host):
    for path in ("/", "/api/model", "/static/main.js"):
        reply = client.get(path, headers={"host": host})
        assert reply.status_code == 400
        _check_headers(reply)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "localhost:8000", "127.0.0.1:8000"])
def test_this_machine_is_answered(client, host):
    assert client.get("/api/model", headers={"host": host}).status_code == 200


def test_a_defect_is_a_plain_500(client, monkeypatch, caplog, tiny_images):
    monkeypatch.setattr(answers.Answers, "infer", lambda *_: 1 / 0)
    reply = client.post("/api/infer", json={"pixels": tiny_images[0, 0].tolist()})
    assert reply.status_code == 500
    assert "went wrong" in reply.json()["error"]
    assert "division" not in reply.text
    assert "ZeroDivisionError" in caplog.text
    _check_headers(reply)


def test_a_full_queue_is_said_at_once_and_one_thread_does_all_the_work(app, client, monkeypatch):
    started, go_on, threads = threading.Event(), threading.Event(), set()

    def slow(self, *, seed):
        threads.add(threading.current_thread())
        started.set()
        assert go_on.wait(60)
        return {"seed": seed}

    monkeypatch.setattr(answers.Answers, "scene", slow)
    ask = lambda seed: TestClient(app, base_url=LOCAL).post("/api/scene", json={"seed": seed})
    with ThreadPoolExecutor(3) as pool:
        worked_on = pool.submit(ask, 1)
        assert started.wait(60)
        others = [pool.submit(ask, seed) for seed in (2, 3)]
        while not any(other.done() for other in others):  # one waits, one is turned away
            time.sleep(0.01)
        go_on.set()
        replies = [future.result() for future in (worked_on, *others)]
    assert sorted(reply.status_code for reply in replies) == [200, 200, 503]
    away = max(replies, key=lambda reply: reply.status_code)
    assert away.headers["retry-after"] == "1"
    _check_headers(away)
    assert ask(4).json() == {"seed": 4}
    assert len(threads) == 1


# The page and its headers


def _check_headers(reply):
    assert HEADERS.items() <= dict(reply.headers).items()
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
    assert "unsafe" not in str(policy)
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_every_reply_has_strict_headers_whatever_the_origin(client, tiny_images):
    origin = {"origin": "http://evil.example"}
    _check_headers(client.get("/", headers=origin))
    _check_headers(client.get("/static/main.js", headers=origin))
    _check_headers(client.get("/api/model", headers=origin))
    _check_headers(client.post("/api/infer", json={"pixels": tiny_images[0, 0].tolist()}, headers=origin))
    _check_headers(client.options("/api/infer", headers=origin | {"access-control-request-method": "POST"}))


def test_the_page_is_whole_and_takes_nothing_from_elsewhere(client):
    files = {path.name for path in STATIC.iterdir()}
    used = {"index.html"}
    for name in sorted(files):
        text = (STATIC / name).read_text()
        assert set(re.findall(r"https?://[^\"\'\s]+", text)) <= {"http://www.w3.org/2000/svg"}, name
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\bon[a-z]+=\"|style=\"", text), name
        used |= set(re.findall(r"[\w./-]*?([\w-]+\.(?:js|css|svg))\"", text))
    assert used == files
    for name in files - {"index.html"}:
        assert client.get(f"/static/{name}").status_code == 200
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert client.get("/static/main.js").headers["content-type"].startswith("text/javascript")


def test_nothing_is_written(client, tmp_path, monkeypatch, tiny_images):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("builtins.open", lambda *a, **k: pytest.fail("a file was opened"))
    large = _png(commands.pixels(1_500, 1_500))
    assert client.post("/api/infer", content=large, headers={"content-type": "image/png"}).status_code == 200
    assert _infer(client, tiny_images[0, 0])
    assert list(tmp_path.iterdir()) == []


# The command


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return commands.trained_run(tmp_path_factory)


def test_a_runs_pictures_are_its_held_out_scenes(run):
    assert held_out_pictures(run).shape == (answers.PICTURES, 1, commands.SIDE, commands.SIDE)


def test_a_run_whose_data_is_gone_has_no_pictures(run, tmp_path, caplog):
    moved = commands.copied(run, tmp_path / "run")
    record = json.loads((moved / "run.json").read_text())
    record["config"]["data"]["name"] = str(tmp_path / "gone.npz")
    (moved / "run.json").write_text(json.dumps(record))
    assert held_out_pictures(moved) is None
    assert "gone.npz" in caplog.text


@pytest.mark.parametrize("port", [-1, 65_536, 1.5, "x"])
def test_ports_out_of_range_are_refused(capsys, run, port):
    assert refused(call(capsys, "serve", run, f"--port={port}"), "port")


def test_a_port_that_is_taken_is_refused(capsys, run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused(call(capsys, "serve", run, f"--port={port}"), port, "--port")


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_without_its_packages_the_command_says_what_to_install(capsys, monkeypatch, run, missing):
    for name in [name for name in sys.modules if name.startswith("airjax.interfaces.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    assert refused(call(capsys, "serve", run), "pip install 'airjax[serve]'")


@pytest.mark.slow
def test_the_command_serves_this_machine_until_interrupted(run):
    command = [commands.AIRJAX, "serve", str(run), "--port=0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = iter(process.stderr.readline, "")
            url = next(match[0] for line in said if (match := re.search(r"http://127\.0\.0\.1:\d+", line)))
            with urllib.request.urlopen(f"{url}/api/model") as reply:
                assert json.load(reply)["name"] == run.name
                assert "server" not in {name.lower() for name in reply.headers}
            assert urllib.request.urlopen(url).status == 200
        finally:
            process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait() == 0
        assert "Traceback" not in rest
