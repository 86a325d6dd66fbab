"""What the tests of run folders and of the command line share: one tiny trained run, and ways to call `airjax`."""

import dataclasses
import functools
import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from airjax.interfaces import cli, infer_files
from airjax.models.build import build_model
from airjax.runs import checkpoint, pretrained

AIRJAX = str(Path(sysconfig.get_path("scripts")) / "airjax")
"""The installed command."""

PYTHON = sys.executable

SIDE = 20
"""Side of the scenes of the tiny run, in pixels."""

TINY = {
    "canvas": SIDE,
    "scenes": 64,
    "held-out-scenes": 32,
    "counts": (0, 1),
    "max-objects": 2,
    "window": 8,
    "hidden": 8,
    "embed-channels": 2,
    "embed-hidden": 8,
    "head-hidden": 8,
    "code-size": 2,
    "patch-hidden": 8,
    "batch": 8,
    "warmup": 2,
    "chunk": 4,
    "steps": 8,
    "checkpoint-every": 4,
    "evaluate-every": 8,
}


class Said(NamedTuple):
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str


def flags(settings):
    """Spell settings as flags: an iterable becomes several values, False a `--no-` flag."""
    words = []
    for name, value in settings.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, tuple | list):
            words += [f"--{name}", *map(str, value)]
        else:
            words.append(f"--{name}={value}")
    return words


def train_command(out, data="sprites", **changes):
    """Spell the training of the tiny run, with settings changed (`batch=3`) or left out (`batch=None`)."""
    settings = TINY | {name.replace("_", "-"): value for name, value in changes.items()}
    chosen = {name: value for name, value in settings.items() if value is not None}
    return ["train", str(data), *flags(chosen), "--quiet", f"--out={out}"]


def call(capsys, *arguments):
    """Run a command within this process."""
    capsys.readouterr()
    code = cli.main([str(word) for word in arguments])
    return Said(code, *capsys.readouterr())


def spawn(*arguments, program=(AIRJAX,), **options):
    """Run a command as a process of its own."""
    command = [*program, *(str(word) for word in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    return Said(done.returncode, done.stdout, done.stderr)


@functools.cache
def _trained(base):
    run = base / "tiny-run"
    assert cli.main(train_command(run)) == 0
    return run


def trained_run(tmp_path_factory):
    """The folder of the tiny run, trained once in a session; copy it before changing it."""
    return _trained(tmp_path_factory.getbasetemp())


def copied(run, to):
    """Copy a run's folder."""
    return Path(shutil.copytree(run, to))


def contents(path):
    """Read every file under a path, to see that nothing has changed."""
    path = Path(path)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file): file.read_bytes() for file in files if file.name != ".lock"}


def exported(folder, config, shape, change=lambda model: model):
    """Write an untrained model, changed, as a folder that `airjax.load` reads."""
    weights = checkpoint.to_bytes(change(build_model(config, shape, key=jax.random.PRNGKey(0))))
    known = {"format": 1, "image_shape": shape, "model": dataclasses.asdict(config), "polarity": "light"}
    folder.mkdir()
    (folder / pretrained.WEIGHTS).write_bytes(weights)
    (folder / pretrained.CONFIG).write_text(json.dumps(known | {"sha256": hashlib.sha256(weights).hexdigest()}))


def damage_checkpoints(run):
    """Flip a bit in the middle of every checkpoint."""
    for path in (run / "checkpoints").glob("*.safetensors"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def stop_after(monkeypatch, batches):
    """Let inference be interrupted once so many batches are done."""
    original = infer_files.Inference._describe

    def describe(self, batch, index):
        if index == batches:
            raise KeyboardInterrupt
        return original(self, batch, index)

    monkeypatch.setattr(infer_files.Inference, "_describe", describe)


def pixels(*shape, seed=0):
    """Draw random pixels."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def refused(said, *words):
    """Check that a command ended with exit code 2 and one sentence on stderr that holds the words."""
    assert said.code == 2, said
    assert said.out == "", said
    lines = [line for line in said.err.splitlines() if "making scenes" not in line]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("airjax: "), said.err
    for word in words:
        assert str(word) in lines[0], (word, lines[0])
    return True
