"""Every kind of stall ends, with a sentence and an exit code: waiting, computing for ever, and ignoring Ctrl-C."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from airjax.interfaces import console

STALLED = """
import ctypes, sys, time
from airjax.interfaces.console import end_stalled
from airjax.runs.watchdog import Watchdog
wait = ctypes.CDLL(None).usleep  # outside of Python
def busy():
    while True:
        sum(range(1000))
def ignoring():
    while True:
        try:
            print("ready", flush=True)
            while True:
                wait(20_000)
                sum(range(100_000))
        except KeyboardInterrupt:
            pass
with Watchdog(end_stalled, least=float(sys.argv[2]), patience=0.3) as watchdog:
    if sys.argv[1] != "waiting":
        watchdog.beat()
    {"waiting": lambda: [wait(100_000) for _ in iter(int, 1)], "busy": busy, "ignoring": ignoring}[sys.argv[1]]()
"""
LOOP = """
import sys
import numpy as np, jax, jax.numpy as jnp
from airjax.interfaces import cli
loop = jax.jit(lambda x: jax.lax.while_loop(lambda x: x < 2, lambda x: x * 1, x))
def compute(*_, **__):
    print("ready", flush=True)
    loop(jnp.ones(())).block_until_ready()
cli.app, cli.stand_ins = compute, lambda *_: ()
sys.exit(cli.main(["evaluate"]))
"""


DEFAULTS = """
import signal  # a shell's background jobs ignore these
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""


def started(script, *arguments, **options):
    command = [sys.executable, "-c", DEFAULTS + script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "told"), [("waiting", "no processor time used"), ("busy", "no progress for"), ("ignoring", "interrupted")]
)
def test_a_stalled_process_ends(kind, told):
    process = started(STALLED, kind, "1e6" if kind == "ignoring" else "0.4")
    if kind == "ignoring":
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == console.STALLED
    assert told in said
    assert "run the same command again to resume" in said


@pytest.mark.slow
def test_a_computation_that_never_returns_ends_after_ctrl_c():
    process = started(LOOP)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == console.INTERRUPTED
    assert "airjax: interrupted" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_a_process_at_once(number):
    process = started("from airjax.interfaces import cli; print(flush=True); input()", stdin=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(number)
    process.communicate()
    assert process.returncode == -number


class Blocked:
    """A stream that nobody reads."""

    def write(self, _):
        raise OSError(5, "Input/output error")

    flush = write


@pytest.mark.parametrize("stream", [None, Blocked()])
def test_last_words_that_cannot_be_said_are_no_hindrance(monkeypatch, stream):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(sys, "stderr", stream)
    with contextlib.suppress(OSError):
        console.end_stalled("it stands still")
    assert codes[0] == console.STALLED


def test_the_server_handles_signals_by_itself():
    with console.interruptible(["serve"]) as watchdog:
        assert watchdog is None
    with console.interruptible(["infer"]) as watchdog:
        assert watchdog is not None
