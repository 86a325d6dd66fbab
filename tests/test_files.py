"""Files that are complete or absent."""

import signal
import subprocess
import sys

import pytest

from airjax.files import append, atomically, write_atomically

# Kills the process after `path` was written in part, before the block ends.
KILLED = """
import os, signal, sys
from pathlib import Path
from airjax.files import atomically

with atomically(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    return tmp_path / "file"


def contents(folder):
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def test_what_was_written_reads_back(tmp_path):
    write_atomically(tmp_path / "file", b"content")
    assert contents(tmp_path) == {"file": b"content"}


def test_an_existing_file_is_whole_until_it_is_replaced(path):
    with atomically(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert contents(path.parent) == {"file": b"new"}


def test_the_new_file_can_be_read_and_changed_before_it_is_complete(path):
    with atomically(path) as file:
        file.write(b"0 rows")
        file.seek(0)
        assert file.read() == b"0 rows"
        file.seek(0)
        file.write(b"7")
    assert path.read_bytes() == b"7 rows"


def write_and_raise(path, error):
    with atomically(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_in_the_middle_leaves_the_old_file_alone(path, error):
    with pytest.raises(error):
        write_and_raise(path, error)
    assert contents(path.parent) == {"file": b"old"}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_of_the_system_leaves_the_old_file_alone(path, monkeypatch, call):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(f"os.{call}", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert contents(path.parent) == {"file": b"old"}


@pytest.mark.parametrize("exists", [True, False])
def test_a_kill_in_the_middle_leaves_the_old_file_or_none(path, exists):
    if not exists:
        path.unlink()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.exists() == exists
    assert not exists or path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_two_writers_at_once_do_not_mix(path):
    with atomically(path) as first, atomically(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert contents(path.parent) == {"file": b"first"}


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", b"content")


def test_bytes_are_added_at_the_end(path):
    append(path, b" and")
    append(path, b" new")
    assert path.read_bytes() == b"old and new"
