"""A job of inference that ends at any of its calls to the disk: the same command completes it, bit for bit."""

import itertools
import os

import commands
import pytest

from airjax.interfaces import output_files

pytestmark = pytest.mark.usefixtures("small_batches")
CALLS = ("fsync", "replace", "unlink")


@pytest.fixture
def fail_after():
    """Let the calls to the disk that follow a number of them fail."""
    calls = {name: getattr(os, name) for name in CALLS}

    def fail(number, error):
        left = iter(range(number))

        def guarded(name, *arguments, **named):
            if next(left, None) is None:
                raise error() if name == "fsync" or error is KeyboardInterrupt else error(str(arguments[0]))
            return calls[name](*arguments, **named)

        patch = pytest.MonkeyPatch()
        for name in CALLS:
            patch.setattr(os, name, lambda *a, name=name, **k: guarded(name, *a, **k))
        return patch

    return fail


def full(*file):
    """Make the error of a full disk; only some calls name the file."""
    return OSError(28, "No space left on device", *file)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def outcome(function):
    """Call a function; return what it raises."""
    try:
        function()
    except (KeyboardInterrupt, OSError) as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.parametrize(("error", "step"), [(KeyboardInterrupt, 1), (full, 4)], ids=["killed", "full"])
def test_whatever_call_fails_the_same_job_goes_on(inference, tmp_path, fail_after, error, step):
    make = lambda name: output_files.Outputs(
        tmp_path / name / "k.json", table=tmp_path / name / "t.csv", overlay=tmp_path / name / "shown"
    )
    output_files.to_files(inference, make("whole"), progress=False)
    whole = contents(tmp_path / "whole")
    for number in itertools.count(0, step):
        outputs = make(str(number))
        patch = fail_after(number, error)
        caught = outcome(lambda outputs=outputs: output_files.to_files(inference, outputs, progress=False))
        patch.undo()
        if caught is None:
            break
        assert isinstance(caught, KeyboardInterrupt) or caught.filename, "the file is named"
        if outputs.journal.exists() or not outputs.coco.exists():  # otherwise only a lock was left behind
            output_files.to_files(inference, outputs, progress=False)
        for lock in outputs.coco.parent.glob(".*.lock"):
            lock.unlink()
        assert contents(outputs.coco.parent) == whole, number
    assert number > 10


@pytest.mark.slow
def test_a_killed_command_is_completed_by_the_same_command(run, root, tmp_path):
    """Kill the process itself, once it has begun to write."""
    import subprocess
    import time

    command = ["infer", str(run), str(root), "--coco", str(tmp_path / "k.json"), "--overlay", str(tmp_path / "shown")]
    process = subprocess.Popen([commands.AIRJAX, *command], stderr=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "shown" / "a").exists():
        time.sleep(0.001)
    process.kill()
    process.wait()
    said = commands.spawn(*command)
    assert said.code == 0, said.err
    assert sum(path.is_file() for path in (tmp_path / "shown").rglob("*")) == 11
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.images.json", "k.json", "shown"]
