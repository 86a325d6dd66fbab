import commands
import pytest
from small_inference import inference, model, root, small_batches  # noqa: F401


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return commands.trained_run(tmp_path_factory)
