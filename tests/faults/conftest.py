import commands
import pytest
from small_inference import inference, model, root, small_batches  # noqa: F401


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return commands.trained_run(tmp_path_factory)


@pytest.fixture
def stopped(inference, small_batches, monkeypatch):  # noqa: F811
    """Begin a job of inference, and stop it after some batches."""
    from airjax.interfaces import output_files

    def stop(outputs, batches=1, job=inference):
        with monkeypatch.context() as patch:
            commands.stop_after(patch, batches)
            with pytest.raises(KeyboardInterrupt):
                output_files.to_files(job, outputs, progress=False)

    return stop
