"""A small job of inference, for tests of files and faults."""

import jax
import pytest
from PIL import Image

from airjax.interfaces import infer_files


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(infer_files, "AHEAD", 4)


@pytest.fixture(scope="session")
def root(tmp_path_factory, tiny_images):
    """Eleven pictures of other sizes than the model's, in subfolders, and a damaged one."""
    root = tmp_path_factory.mktemp("pictures")
    for index in range(11):
        picture = Image.fromarray(tiny_images[index % 10, 0]).resize((24 + 6 * (index % 2), 24))
        path = root / "ab"[index % 2] / f"{index:02d}.png"
        path.parent.mkdir(exist_ok=True)
        picture.save(path)
    (root / "a" / "bad.png").write_text("bad")
    return root


@pytest.fixture(scope="session")
def model(tiny_model):
    """A model that finds from none to three objects."""
    return tiny_model(rough=0.5, seed=3)


@pytest.fixture
def inference(model, root):
    return infer_files.Inference(model, infer_files.gather([root]), invert=False, samples=3, key=jax.random.PRNGKey(0))
