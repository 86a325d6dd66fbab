"""What the tests of the web page share: screens, a server, and the pixels of a canvas."""

import base64
import io
import threading
from contextlib import contextmanager

import numpy as np
import uvicorn
from PIL import Image

from airjax.interfaces.serve import create_app

DESKTOP = {"viewport": {"width": 1280, "height": 860}}
DARK = DESKTOP | {"color_scheme": "dark"}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@contextmanager
def served(model, **settings):
    """Serve a model's page; its address."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(model, name="a <b>model</b>", **settings), port=0, log_level="error")
    )
    started = threading.Event()
    startup = server.startup

    async def announced(**options):
        await startup(**options)
        started.set()

    server.startup = announced
    thread = threading.Thread(target=server.run)
    thread.start()
    assert started.wait(60)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def pixels_of(page, canvas="#pad"):
    url = page.locator(canvas).evaluate("canvas => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))
