"""Pictures that change while a job is stopped: noticed, so that no results of old and new ones are mixed."""

import os
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from airjax.files import hashed_as
from airjax.interfaces import infer_files, output_files

pytestmark = pytest.mark.usefixtures("small_batches")


def change(path):
    with Image.open(path) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)


def change_secretly(path):
    """Change a file, and keep its size and time."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("one_of", ["those done", "the others"])
@pytest.mark.parametrize("how", [change, change_secretly])
def test_a_changed_picture_is_refused_and_inferred_anew_if_asked(inference, stopped, root, tmp_path, how, one_of):
    copy = tmp_path / "pictures"
    shutil.copytree(root, copy)
    job = replace(inference, pictures=infer_files.gather([copy]))
    outputs = output_files.Outputs(tmp_path / "k.json", overlay=tmp_path / "shown")
    stopped(outputs, 2, job)
    first = next(path for path in sorted((copy / "a").glob("*.png")))
    last = next(path for path in sorted((copy / "b").glob("*.png"), reverse=True))
    how(first if one_of == "those done" else last)
    hashed_as.cache_clear()  # as in another process
    if (how, one_of) == (change_secretly, "the others"):
        output_files.to_files(job, outputs, progress=False)  # nothing old is mixed with it
        return
    with pytest.raises(ValueError, match=r"pictures.*--force to begin anew"):
        output_files.to_files(job, outputs, progress=False)
    assert not outputs.coco.exists()
    output_files.to_files(job, outputs, force=True, progress=False)
    fresh = output_files.Outputs(tmp_path / "fresh.json")
    output_files.to_files(job, fresh, progress=False)
    assert outputs.coco.read_bytes() == fresh.coco.read_bytes()
