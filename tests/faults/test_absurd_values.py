"""Absurd values in files and in the environment: one sentence and exit code 2, before any work."""

import json
import os

import commands
import numpy as np
import pytest
from commands import call, pixels, refused

from airjax.interfaces import console
from airjax.runs.pretrained import PretrainedError, load
from airjax.runs.record import RunError, read_record

NUMBERS = [10**30, -(10**30), 1e308, float("inf"), float("nan"), 0, -1, 1.5, "8", None, [], {}, True]
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"counts": np.full(30, 300_000)}, "counts must be at most 1000, got 300000"),
        ({"counts": np.full(30, -1)}, "counts must be at least 0"),
        ({"counts": np.full(30, 2**40)}, "counts"),
        ({"images": np.zeros((300, 0, 50), np.uint8)}, "images must have at least one pixel"),
        ({"images": np.zeros((300, 50, 0, 3), np.uint8)}, "images must have at least one pixel"),
        ({"images": np.zeros((0, 20, 20), np.uint8)}, ""),
    ],
)
def test_absurd_arrays_are_refused_by_every_command(capsys, tmp_path, run, arrays, words):
    file = tmp_path / "a.npz"
    np.savez(file, **({"images": pixels(30, 20, 20)} | arrays))
    assert refused(call(capsys, "train", file, "--out", tmp_path / "run"), words)
    assert refused(call(capsys, "doctor", file), words)
    assert refused(call(capsys, "evaluate", run, "--on", file), words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["max_objects", "hidden", "sd", "scale", "edge"])
def test_absurd_settings_of_a_record_are_told(run, tmp_path, name, value):
    folder = commands.copied(run, tmp_path / "run")
    content = json.loads((folder / "run.json").read_text())
    content["config"]["model"][name] = value
    (folder / "run.json").write_text(json.dumps(content))
    try:
        read_record(folder)
    except RunError as error:
        assert "run.json is damaged" in str(error)  # noqa: PT017 (some of the values are allowed)


@pytest.mark.parametrize("shape", [[1, 10**30, 20], [1, -20, 20], [1, 20], [1, 0, 20], "abc", [1, 1e400, 20], None])
def test_absurd_shapes_of_a_record_are_told(run, tmp_path, shape):
    folder = commands.copied(run, tmp_path / "run")
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | {"image_shape": shape}))
    with pytest.raises(RunError, match="is damaged"):
        read_record(folder)


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 50_000, "", "null", "[]", "3", '{"config": 3}', "\0", "{" * 9])
def test_records_and_configurations_of_nonsense_are_told(run, tmp_path, text):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(text)
    with pytest.raises(RunError, match="is damaged"):
        read_record(folder)
    (folder / "run.json").rename(folder / "config.json")
    with pytest.raises(PretrainedError, match="not a valid configuration"):
        load(folder)


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["max_objects", "hidden", "window", "sd", "count_ratio"])
def test_absurd_settings_of_a_configuration_are_told(tmp_path, tiny_config, name, value):
    folder = tmp_path / "model"
    commands.exported(folder, tiny_config, (1, 12, 12))
    content = json.loads((folder / "config.json").read_text())
    content["model"][name] = value
    (folder / "config.json").write_text(json.dumps(content))
    if value == 1.5 and name in ("sd", "count_ratio"):
        load(folder)  # it is allowed
        return
    with pytest.raises(PretrainedError):
        load(folder)


@pytest.mark.parametrize(
    "text",
    [
        "steps = " + "9" * 5_000,
        "steps = 1e400",
        f"counts = {DEEP}",
        "steps = -5",
        "sd = nan",
        "a." * 3_000 + "b = 1",
        "\0",
    ],
    ids=["digits", "infinite", "deep", "negative", "nan", "dotted", "zero byte"],
)
def test_absurd_files_of_settings_are_told(capsys, tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    said = call(capsys, "train", "sprites", "--config", tmp_path / "a.toml", "--out", tmp_path / "run")
    assert refused(said)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Unable to initialize backend 'tpux': Backend 'tpux' is not in the list of known backends"),
        RuntimeError("Unknown backend tpux"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99 bytes."),
        MemoryError("Unable to allocate 671. GiB"),
    ],
)
def test_a_device_that_is_not_there_or_too_small_is_the_users_affair(error):
    assert console.exit_code(error) == console.USER_ERROR
    assert console.exit_code(RuntimeError("a defect")) is None


@pytest.mark.slow
def test_an_unknown_platform_is_told_and_other_modes_do_not_matter(run, root):
    said = commands.spawn("infer", run, root / "a" / "00.png", env=os.environ | {"JAX_PLATFORMS": "tpux"})
    assert refused(said, "tpux")
    one = lambda **more: commands.spawn("infer", run, root / "a" / "02.png", env=os.environ | more)
    plain, other = one(), one(JAX_DEFAULT_PRNG_IMPL="rbg", JAX_ENABLE_X64="1", JAX_DEBUG_NANS="1")
    assert (plain.code, plain.out) == (0, other.out)
