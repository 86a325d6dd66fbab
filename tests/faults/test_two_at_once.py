"""Two jobs that write the same outputs at once: the second is refused, and the first one's results are whole."""

import json
import subprocess
import sys

import pytest

from airjax.interfaces import formats, infer_files, output_files
from airjax.interfaces.locks import locked

pytestmark = pytest.mark.usefixtures("small_batches")
HOLDER = """
import sys
from pathlib import Path
from airjax.interfaces.locks import locked
with locked([Path(sys.argv[1])]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("shared", ["all", "overlay", "the list of images"])
def test_the_second_is_refused_while_the_first_goes_on(inference, tmp_path, monkeypatch, shared):
    first = output_files.Outputs(coco=tmp_path / "a.json", overlay=tmp_path / "shown")
    second = {
        "all": first,
        "overlay": output_files.Outputs(coco=tmp_path / "b.json", overlay=tmp_path / "shown"),
        "the list of images": output_files.Outputs(coco=tmp_path / "a.txt"),
    }[shared]
    original, refusals = infer_files.Inference._describe, []

    def describe(self, batch, index):
        if not refusals:
            refusals.append(index)  # before the call below, which infers too if it isn't refused
            with pytest.raises(ValueError, match="another process is writing"):
                output_files.to_files(inference, second, force=True, progress=False)
        return original(self, batch, index)

    monkeypatch.setattr(infer_files.Inference, "_describe", describe)
    output_files.to_files(inference, first, progress=False)
    assert refusals == [0]
    images = json.loads(formats.images_path(first.coco).read_text())["images"]
    assert len(images) == len(inference.pictures.names) - 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.images.json", "a.json", "shown"]


def test_a_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / "new" / ".a.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match="another process"), locked([path]):
        pass
    process.kill()
    process.communicate()
    with locked([path]):
        assert path.exists()
    assert not path.exists()
