"""Pictures on a real S3 server on this machine, and the small job of inference."""

import commands
import pytest
from s3_server import s3, serving
from small_inference import inference, model, root, small_batches  # noqa: F401


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return commands.trained_run(tmp_path_factory)


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as running:
        yield running


@pytest.fixture
def folder(server, root):  # noqa: F811
    """The address of a folder with the pictures of `root`."""
    s3().put(str(root), "bucket/pictures", recursive=True)
    return "s3://bucket/pictures"
