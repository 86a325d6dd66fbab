import functools
import http.server
import os
import threading
from pathlib import Path

import pytest

from airjax.data import DigitBank, _download, embedded_digits


def _shared(name: str) -> Path:
    """Return a data folder beside the repository. If it is missing, skip the test, or fail in CI."""
    folder = Path(__file__).parents[2].parent / "shared" / name
    if not folder.is_dir():
        reason = f"no {name} files at {folder}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    return _shared("mnist")


@pytest.fixture(scope="session")
def omniglot_dir() -> Path:
    return _shared("omniglot")


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serve a folder over HTTP to a user with an empty cache; return its address and the cache folder."""
    servers = []

    def start(folder: Path) -> tuple[str, Path]:
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/", tmp_path / "cache" / "airjax"

    monkeypatch.setattr(_download, "_RETRIES", 0)
    monkeypatch.setattr(_download.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def bank() -> DigitBank:
    return embedded_digits("train")
