"""Outputs within the folder of pictures: refused at once, since they would be data the next time."""

import commands
import pytest
from commands import call, refused, train_command
from PIL import Image

from airjax.interfaces import doctor


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda *_, **__: pytest.fail("they were looked at"))
    root = tmp_path / "pictures"
    root.mkdir()
    Image.new("L", (20, 20)).save(root / "a.png")
    return root


@pytest.mark.parametrize("place", ["run", "deep/run", "../pictures/run", "."])
def test_a_run_among_its_pictures_is_refused_at_once(capsys, folder, place):
    before = commands.contents(folder)
    words = "--out must lie outside of", "pictures there would be taken for data"
    assert refused(call(capsys, *train_command(folder / place, folder)), *words)
    assert refused(call(capsys, *train_command(folder / place, f"{folder}/../pictures")), *words)
    assert commands.contents(folder) == before
    assert [path.name for path in folder.iterdir()] == ["a.png"]


def test_pictures_that_commands_draw_are_refused_there(capsys, folder, run, tmp_path):
    for command in (["doctor", folder], ["scenes", folder, "--n=1"]):
        assert refused(call(capsys, *command, "--out", folder / "b.png"), "--out must lie outside of")
    assert [path.name for path in folder.iterdir()] == ["a.png"]


def test_a_link_to_the_folder_is_the_folder(capsys, folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert refused(call(capsys, *train_command(tmp_path / "link" / "run", folder)), "--out must lie outside of")


def test_a_folder_beside_is_allowed(folder, tmp_path):
    from airjax.interfaces.console import check_outside

    check_outside(tmp_path / "pictures2", str(folder))
    check_outside(tmp_path, str(folder))
    check_outside(tmp_path / "sprites" / "run", "sprites")
