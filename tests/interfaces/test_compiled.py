"""Compiled programs that are kept: damaged ones are replaced."""

import os
import subprocess
import sys
import warnings

from airjax.interfaces.compiled import keep_compiled

PROGRAM = """
from airjax.interfaces.compiled import keep_compiled
keep_compiled()
import jax
print(jax.jit(lambda x: x + 1)(1))
"""


def test_a_damaged_program_is_compiled_again_and_replaced(tmp_path):
    kept = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def run():
        command = [sys.executable, "-c", PROGRAM]
        said = subprocess.run(command, env=os.environ | kept, capture_output=True, text=True, check=True)
        assert said.stdout == "2\n"
        return said.stderr

    assert run() == ""
    [file] = [file for file in tmp_path.glob("*-cache") if "lambda" in file.name]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert run() == ""
    assert len(file.read_bytes()) > len(whole) // 2
    before = file.stat().st_mtime_ns
    assert run() == ""
    assert file.stat().st_mtime_ns == before


def test_other_warnings_are_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    with warnings.catch_warnings(record=True) as shown:
        keep_compiled()
        warnings.warn("something else", stacklevel=1)
    assert [str(one.message) for one in shown] == ["something else"]
