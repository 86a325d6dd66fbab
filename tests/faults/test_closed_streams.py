"""Streams that are closed, full or can't show every letter: no traceback, and no failure after finished work."""

import io
import sys

import pytest

from airjax.files import append, write_atomically
from airjax.interfaces import cli, console


@pytest.fixture
def says(monkeypatch):
    """Let the command line say something, whatever it is asked."""

    def make(what="done"):
        monkeypatch.setattr(cli, "app", lambda *_, **__: print(what))
        monkeypatch.setattr(cli, "stand_ins", lambda *_: ())

    return make


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_is_no_failure(says, monkeypatch, closed):
    says()
    monkeypatch.setattr(sys, closed, None)
    assert cli.main([]) == 0


def test_closed_streams_of_the_command_are_no_failure(tmp_path):
    import commands

    shell = "sh", "-c", '"$0" train --help >&- 2>&-', commands.AIRJAX
    assert commands.spawn(program=shell) == (0, "", "")


def test_a_full_stream_is_told_in_one_sentence(says, monkeypatch, capsys):
    says("x" * 100_000)
    try:
        full = open("/dev/full", "w")  # noqa: SIM115 (closed by the command line)
    except OSError:
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(sys, "stdout", full)
    code = cli.main([])
    assert code == 2
    assert "stdout: No space left on device" in capsys.readouterr().err


def test_letters_that_a_stream_cannot_show_are_escaped(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    console.prepare_streams()
    print("é\udcff")
    stream.flush()
    assert stream.buffer.getvalue() == b"\\xe9\\udcff\n"


class Full:
    """A disk that has no room left."""

    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, content):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("write", [append, write_atomically])
def test_a_full_disk_names_the_file(tmp_path, monkeypatch, write, capsys):
    from pathlib import Path

    original = Path.open
    monkeypatch.setattr(Path, "open", lambda *a, **k: Full(original(*a, **k)))
    with pytest.raises(OSError, match="No space left") as caught:
        write(tmp_path / "a.json", b"much")
    console.report(caught.value)
    assert capsys.readouterr().err == f"airjax: {tmp_path / 'a.json'}: No space left on device\n"
    assert [path.name for path in tmp_path.iterdir()] in ([], ["a.json"])
