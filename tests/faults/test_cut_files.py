"""Files of several pictures that end too early: what is there is read, with a warning that names the file."""

import io

import numpy as np
import pytest
from handmade_videos import moving_gif, video

from airjax.data import images
from airjax.data.folder import list_pictures
from airjax.data.reading import open_picture, opening


@pytest.fixture(autouse=True)
def _forgotten():
    images.warn_cut.cache_clear()


@pytest.mark.parametrize("kind", ["gif", "mkv", "avi"])
def test_a_cut_file_is_named_and_a_whole_one_is_not(tmp_path, caplog, kind):
    content = moving_gif() if kind == "gif" else video(kind)
    (tmp_path / f"whole.{kind}").write_bytes(content)
    whole = list_pictures(tmp_path)
    assert len(whole) == 20
    assert caplog.text == ""
    (tmp_path / f"whole.{kind}").unlink()
    (tmp_path / f"cut.{kind}").write_bytes(content[: int(0.9 * len(content))])
    cut = list_pictures(tmp_path)
    assert 1 < len(cut) < 20
    assert f"ends too early: only the {len(cut)} picture(s)" in caplog.text
    assert caplog.text.count(f"cut.{kind}") == 1
    with opening(tmp_path / f"cut.{kind}", "cut") as opened:
        first = np.asarray(opened.read(0, "cut").convert("L"))
    assert first.shape == (32, 32)


def test_a_gif_with_padding_is_whole(caplog):
    open_picture(io.BytesIO(moving_gif(1) + b"\0\0\n"))
    assert caplog.text == ""
