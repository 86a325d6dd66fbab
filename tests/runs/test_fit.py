"""Training in a folder: killed, gone on with, diverging."""

import json
import math
import signal
import subprocess
import time

import commands
import pytest
from commands import call, spawn, train_command

from airjax.runs.checkpoint import restore_newest
from airjax.runs.record import read_record

# Kills the process in the middle of writing its third checkpoint, when its hash is there and half of its data.
KILLED = """
import math, os, signal, sys
from airjax.models import air
from airjax.runs import checkpoint, fit
from airjax.interfaces.cli import main

air.UNROLL = 1  # as in the tests' own process, to the bit
write, writes = checkpoint.write_atomically, []

def write_or_die(path, content):
    writes.append(path.suffix)
    if writes.count(".safetensors") < 3:
        return write(path, content)
    path.with_name(f".{path.name}.tmp").write_bytes(content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

checkpoint.write_atomically = write_or_die
fit.SAVED_EVERY = math.inf
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def _no_checkpoints_by_the_clock(monkeypatch):
    """Which steps have a checkpoint must not depend on how fast the machine is."""
    monkeypatch.setattr("airjax.runs.fit.SAVED_EVERY", math.inf)


@pytest.fixture
def run(tmp_path, tmp_path_factory):
    return commands.copied(commands.trained_run(tmp_path_factory), tmp_path / "run")


def _log(run):
    """Read a run's log, without what the machine's load decides."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_s"} for line in lines]


def _steps(run):
    return sorted(int(path.stem.split("_")[1]) for path in (run / "checkpoints").glob("*.safetensors"))


def _newest(run):
    return (run / "checkpoints" / f"step_{max(_steps(run)):09d}.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["marginal", "nvil"])
def test_a_killed_run_ends_like_an_uninterrupted_one(capsys, caplog, tmp_path, objective):
    settings = {"steps": 24, "chunk": 4, "checkpoint_every": 6, "evaluate_every": 10, "objective": objective}
    command = train_command(tmp_path / "killed", **settings)
    assert spawn(*command, program=(commands.PYTHON, "-c", KILLED)).code == -9
    assert _steps(tmp_path / "killed") == [8, 12]
    assert [line["step"] for line in _log(tmp_path / "killed")][-1] > 12
    assert call(capsys, *command).code == 0
    assert "going on from step 12 of 24" in caplog.text
    assert call(capsys, *train_command(tmp_path / "whole", **settings)).code == 0
    assert _steps(tmp_path / "killed") == _steps(tmp_path / "whole") == [12, 20, 24]
    assert _newest(tmp_path / "killed") == _newest(tmp_path / "whole")
    assert _log(tmp_path / "killed") == _log(tmp_path / "whole")
    pictures = [{p.name: p.read_bytes() for p in (tmp_path / n / "pictures").iterdir()} for n in ("killed", "whole")]
    assert pictures[0] == pictures[1]


@pytest.mark.slow
def test_a_run_with_a_damaged_newest_checkpoint_goes_on_from_the_one_before(capsys, caplog, run):
    whole, log = _newest(run), _log(run)
    damaged = run / "checkpoints" / "step_000000008.safetensors"
    damaged.write_bytes(whole[:-1])
    assert call(capsys, *train_command(run)).code == 0
    assert "step_000000008" in caplog.text
    assert _newest(run) == whole
    assert _log(run) == log


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_anew(capsys, run):
    whole, log = _newest(run), _log(run)
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    assert call(capsys, *train_command(run)).code == 0
    assert _newest(run) == whole
    assert _log(run) == log


def test_the_seed_decides_the_weights(capsys, tmp_path, run):
    for name, seed in (("same", 0), ("other", 1)):
        assert call(capsys, *train_command(tmp_path / name, seed=seed)).code == 0
    assert _newest(tmp_path / "same") == _newest(run)
    assert _newest(tmp_path / "other") != _newest(run)


# The second rate takes the weights straight to infinity, by a gradient that is finite.
@pytest.mark.slow
@pytest.mark.parametrize("rate", [1e30, 3e38])
def test_a_run_that_diverges_stops_and_keeps_only_finite_checkpoints(capsys, tmp_path, rate):
    out = tmp_path / "run"
    settings = {"learning_rate": rate, "warmup": 6, "steps": 40, "chunk": 1, "checkpoint_every": 1, "seed": 5}
    said = call(capsys, *train_command(out, **settings))
    assert said.code == 3
    assert said.out == ""
    assert said.err.count("\n") == 1
    (kept,) = [int(word.rstrip(",")) for word in said.err.split("last good checkpoint is step ")[1].split()[:1]]
    assert "seed 5" in said.err
    assert str(out) in said.err
    assert kept == max(_steps(out))
    (step,) = [int(word) for word in said.err.split("not finite at step ")[1].split()[:1]]
    assert step > kept
    _assert_finite(out)


@pytest.mark.slow
def test_a_run_that_diverges_before_its_first_checkpoint_says_so(capsys, tmp_path):
    out = tmp_path / "run"
    said = call(capsys, *train_command(out, steps=40, learning_rate=1e30, warmup=0, chunk=40, checkpoint_every=40))
    assert said.code == 3
    assert "no checkpoint yet" in said.err
    assert not (out / "checkpoints").exists()


def _assert_finite(run):
    import jax
    import numpy as np

    for step in _steps(run):
        for path in (run / "checkpoints").glob("*.safetensors"):
            if f"{step:09d}" not in path.name:
                path.rename(path.with_suffix(".away"))
        found = restore_newest(run / "checkpoints", read_record(run).blank_state())
        assert found is not None
        assert found[0] == step
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found[1]))
        for path in (run / "checkpoints").glob("*.away"):
            path.rename(path.with_suffix(".safetensors"))


@pytest.mark.slow
def test_checkpoints_come_by_the_clock_too(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("airjax.runs.fit.SAVED_EVERY", 0.0)
    command = train_command(tmp_path / "run", steps=6, chunk=2, checkpoint_every=100, evaluate_every=100)
    assert call(capsys, *command).code == 0
    assert _steps(tmp_path / "run") == [2, 4, 6]


# A training whose second chunk of steps never returns: it waits, outside of Python, for a lock that it holds itself.
STUCK = """
import ctypes, functools, signal, sys
from airjax.learning import trainer
from airjax.runs import fit, watchdog
from airjax.interfaces.cli import main

run_chunk, chunks = trainer.run_chunk, []

def stuck(*arguments):
    chunks.append(1)
    if len(chunks) == 2:
        mutex = ctypes.create_string_buffer(64)
        print("STUCK", file=sys.stderr, flush=True)
        for _ in range(2):
            ctypes.CDLL(None).pthread_mutex_lock(mutex)
    return run_chunk(*arguments)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
trainer.run_chunk = stuck
fit.SAVED_EVERY = 0.0
fit.Watchdog = functools.partial(watchdog.Watchdog, least=%s, patience=0.5)
sys.exit(main())
"""


@pytest.mark.slow
def test_a_training_that_stands_still_is_ended_with_a_sentence_and_goes_on(capsys, caplog, tmp_path):
    command = train_command(tmp_path / "run", steps=8, chunk=4)
    ended = spawn(*command, program=(commands.PYTHON, "-c", STUCK % 5.0))
    assert ended.code == 4
    assert "training stands still: no " in ended.err  # processor time, or progress, whichever is noticed first
    assert "the last good checkpoint is step 4" in ended.err
    assert call(capsys, *command).code == 0
    assert "going on from step 4 of 8" in caplog.text


@pytest.mark.slow
def test_an_interrupt_ends_a_training_that_stands_still(tmp_path):
    command = train_command(tmp_path / "run", steps=8, chunk=4)
    with subprocess.Popen([commands.PYTHON, "-c", STUCK % 1e6, *command], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("STUCK" in line for line in process.stderr)
        time.sleep(1.0)  # an interrupt before it is stuck would end it in the usual way
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, said.count("interrupted while a computation did not return")) == (4, 1), said
