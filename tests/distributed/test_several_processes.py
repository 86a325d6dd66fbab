"""Real processes on this machine that train together: like one, and ending together."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time

import commands
import numpy as np
import pytest
import safetensors.numpy

from airjax.interfaces import console, several

# A shell's background jobs ignore Ctrl-C. Programs are unrolled as in the tests' own process.
PROGRAM = """
import signal, sys
from airjax.interfaces.cli import main
from airjax.models import air
air.UNROLL = 1
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""


def free_port(least=1024):
    """Find a free port."""
    for port in range(least, 2**16):
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError("no port is free")


class Together:
    """Processes of one training."""

    def __init__(self, out, number=2, by_slurm=False, own=None, **settings):
        port = free_port(65536 - 4096 + os.getpid() % 2048)
        self.processes = []
        for index in range(number):
            words = commands.train_command(out, **settings, **(own or {}).get(index, {}))
            environment = dict(os.environ)
            if by_slurm:
                environment |= {
                    "SLURM_JOB_ID": str(port - (65536 - 4096) + 4096),  # JAX takes the port from it
                    "SLURM_STEP_NODELIST": "localhost",
                    "SLURM_NTASKS": str(number),
                    "SLURM_PROCID": str(index),
                    "SLURM_LOCALID": str(index),
                }
            else:
                words += [f"--coordinator=127.0.0.1:{port}", f"--processes={number}", f"--process-id={index}"]
            self.processes.append(
                subprocess.Popen(
                    [commands.PYTHON, "-c", PROGRAM, *words],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )

    def ended(self):
        """Wait for all; return what they said."""
        said = [process.communicate(timeout=300) for process in self.processes]
        return [commands.Said(process.returncode, *words) for process, words in zip(self.processes, said)]


@pytest.fixture
def alone(tmp_path_factory):
    """The folder of the tiny run, which one process trained."""
    return commands.trained_run(tmp_path_factory)


def without_last(run, to):
    """Copy a run, less its last checkpoint and log."""
    shutil.copytree(run, to)
    for path in (to / "checkpoints").glob("step_000000008.*"):
        path.unlink()
    return to


def log(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [value for line in lines for name, value in sorted(line.items()) if name != "images_per_s"]


def same(run, other):
    """Check that two runs end with the same weights, scores and log, but for rounding."""
    np.testing.assert_allclose(log(run), log(other), rtol=1e-5, atol=1e-6)
    one, two = (safetensors.numpy.load_file(r / "checkpoints" / "step_000000008.safetensors") for r in (run, other))
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-5, err_msg=name)
    return True


@pytest.mark.slow
def test_two_processes_train_like_one_and_go_on_from_each_other(capsys, tmp_path, alone):
    first, second = Together(tmp_path / "two", by_slurm=True).ended()
    assert (first.code, second.code) == (0, 0), (first, second)
    assert "trained; pictures are in" in first.err
    assert (first.out, second.out, second.err) == ("", "", "")
    assert same(tmp_path / "two", alone)
    going_on = without_last(tmp_path / "two", tmp_path / "then_one")
    assert commands.call(capsys, *commands.train_command(going_on)).code == 0
    assert same(going_on, alone)
    going_on = without_last(alone, tmp_path / "then_two")
    first, second = Together(going_on).ended()
    assert (first.code, second.code) == (0, 0), (first, second)
    assert "going on from step 4 of 8" in first.err
    assert same(going_on, alone)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_one(tmp_path, victim):
    together = Together(tmp_path / "run", steps=1_000_000, checkpoint_every=4, evaluate_every=1_000_000)
    wait_for(tmp_path / "run" / "checkpoints", together)
    together.processes[victim].kill()
    killed, other = together.ended()[:: 1 if victim == 0 else -1]
    assert killed.code == -signal.SIGKILL
    assert other.code == several.LOST, other
    assert [line for line in other.err.splitlines() if "left, about" not in line and "making" not in line] == [
        several.SENTENCE
    ]
    assert other.out == ""


@pytest.mark.slow
def test_ctrl_c_in_process_0_ends_both(tmp_path):
    together = Together(tmp_path / "run", steps=1_000_000, checkpoint_every=4, evaluate_every=1_000_000)
    wait_for(tmp_path / "run" / "checkpoints", together)
    together.processes[0].send_signal(signal.SIGINT)
    first, second = together.ended()
    # JAX may swallow the interrupt in a callback of the garbage collector; then the watchdog ends the process.
    assert first.code in (console.INTERRUPTED, console.STALLED), first
    assert "interrupted" in first.err
    assert second.code == several.LOST, second


def wait_for(path, together):
    """Wait until a file is there and the training goes on."""
    while not path.exists() and all(process.poll() is None for process in together.processes):
        time.sleep(0.05)
    time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"own": {1: {"seed": 3}}}, "same settings, but those of process 1"),
        ({"batch": 9}, "batch must be a multiple of the number of devices, 2"),
    ],
)
def test_processes_that_cannot_train_together_say_why(tmp_path, settings, words):
    for said in Together(tmp_path / "run", **settings).ended():
        assert commands.refused(said, words)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_process_whose_peers_do_not_come_says_so(tmp_path, index):
    flags = [f"--coordinator=127.0.0.1:{free_port(50_000)}", "--processes=2", f"--process-id={index}"]
    said = commands.spawn(*commands.train_command(tmp_path / "run"), *flags, "--join-timeout=1")
    assert commands.refused(said, "within 1 s (--join-timeout)")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--process-id=2", "--processes=2", "--coordinator=a:1"], "process_id must be from 0 to processes - 1 = 1"),
        (["--process-id=0", "--processes=2"], "given together"),
        (["--process-id=0", "--processes=2", "--coordinator=a:1", "--join-timeout=0"], "join_timeout must be at least"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_done(capsys, tmp_path, flags, words):
    said = commands.call(capsys, *commands.train_command(tmp_path / "run"), *flags)
    assert commands.refused(said, words)


def test_one_process_is_alone_whatever_the_environment_says(capsys, tmp_path, monkeypatch, alone):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    assert commands.call(capsys, *commands.train_command(tmp_path / "run"), "--processes=1").code == 0
    assert log(tmp_path / "run") == log(alone)
