"""Folders and files that are closed to writing or reading: refused before any work, with a sentence that names them."""

import json
import os
import shutil
import subprocess

import pytest
from commands import AIRJAX, PYTHON, call, train_command

ORDINARY = """
import contextlib, io, json, sys
from airjax.interfaces.cli import main
said = []
for command in json.load(sys.stdin):
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(command)
        except SystemExit as exit:
            code = exit.code
    said.append((code, err.getvalue()))
print(json.dumps(said))
"""
"""Runs several commands in one process, since starting each takes seconds."""


def without_rights():
    """Return the words that begin a command which even root runs without the right to write and read everywhere."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and setpriv, which takes that right away, is not installed")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.fixture(scope="module")
def said(run, tmp_path_factory):
    """Each command's exit code and words, and whether the closed folder stayed as it was."""
    closed = tmp_path_factory.mktemp("closed")
    pictures = run / "pictures"
    commands = {
        "train": train_command(closed / "run"),
        "doctor": ["doctor", str(pictures), "--out", str(closed / "seen.png")],
        **{
            f"infer {flag}": ["infer", str(run), str(pictures), f"--{flag}", str(closed / name)]
            for flag, name in (("coco", "x.json"), ("labels", "x"), ("table", "x.csv"), ("overlay", "x"))
        },
    }
    closed.chmod(0o500)
    command = [*without_rights(), PYTHON, "-c", ORDINARY]
    result = subprocess.run(command, input=json.dumps(list(commands.values())), capture_output=True, text=True)
    closed.chmod(0o700)
    assert result.returncode == 0, result.stderr
    assert not list(closed.iterdir())
    return dict(zip(commands, json.loads(result.stdout), strict=True)), closed


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["train", "doctor", *(f"infer {flag}" for flag in ("coco", "labels", "table", "overlay"))]
)
def test_a_closed_folder_is_refused_and_named(said, name):
    (code, words), closed = said[0][name], said[1]
    assert code == 2
    assert str(closed) in words
    assert "permission" in words.lower()
    assert "Traceback" not in words


def test_the_doctor_looks_at_nothing_before_it_knows_where_to_write(capsys, tmp_path):
    (tmp_path / "file").touch()
    said = call(capsys, "doctor", tmp_path / "missing", "--out", tmp_path / "file" / "seen.png")
    assert said.code == 2
    assert f"{tmp_path / 'file'} is not a folder" in said.err


@pytest.mark.slow
def test_pictures_that_may_not_be_read_are_left_out_and_named(run, tmp_path):
    pictures = tmp_path / "pictures"
    (pictures / "more").mkdir(parents=True)
    for name in ("a.png", "b.png", "more/c.png"):
        shutil.copy(next((run / "pictures").rglob("*.png")), pictures / name)
    (pictures / "b.png").chmod(0)
    (pictures / "more").chmod(0)
    command = [*without_rights(), AIRJAX, "infer", run, pictures, "--coco", tmp_path / "found.json", "--samples=2"]
    said = subprocess.run(command, capture_output=True, text=True)
    (pictures / "more").chmod(0o700)
    assert (said.returncode, "Traceback" in said.stderr) == (0, False), said.stderr
    assert "b.png" in said.stderr
    assert f"{pictures / 'more'}" in said.stderr
    listed = json.loads((tmp_path / "found.images.json").read_text())["images"]
    assert [image["file_name"] for image in listed] == ["a.png"]
