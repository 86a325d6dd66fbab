import dataclasses
import json
from pathlib import Path

import commands
import jax
import numpy as np
import pytest

from airjax.config import Config, DataConfig, ModelConfig, TrainConfig
from airjax.runs.record import RECORD, Record, RunError, load_model, read_record, write_record

OTHER = Record(
    Config(
        DataConfig(name="sprites", data_dir=Path("/digits"), counts=(0, 3), digit_scale=1.7, channels=3),
        ModelConfig(likelihood="bernoulli", count_prior="uniform", hidden=8),
        TrainConfig(seed=3, objective="nvil", schedule="constant", learning_rate=1e-4),
    ),
    (3, 12, 14),
)
SMALL = Record(Config(), (1, 20, 20))
SIDES = Record(Config(DataConfig(digit_side=(9.0, 18.0), max_ink=None, background="grid", canvas=64)), (1, 64, 64))


@pytest.fixture
def run(tmp_path, tmp_path_factory):
    return commands.copied(commands.trained_run(tmp_path_factory), tmp_path / "run")


@pytest.mark.parametrize("record", [SMALL, OTHER, SIDES])
def test_the_record_read_is_the_record_written(tmp_path, record):
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record


def test_the_record_names_versions_and_device(tmp_path):
    write_record(tmp_path, SMALL)
    content = json.loads((tmp_path / RECORD).read_text())
    assert content["versions"]["jax"] == jax.__version__
    assert content["device"] == str(jax.devices()[0])


def test_the_same_run_is_recorded_once(tmp_path):
    write_record(tmp_path, OTHER)
    before = (tmp_path / RECORD).read_bytes()
    write_record(tmp_path, OTHER)
    assert (tmp_path / RECORD).read_bytes() == before


@pytest.mark.parametrize("part", [field.name for field in dataclasses.fields(Config)])
def test_another_run_is_refused_by_name_of_what_differs(tmp_path, part):
    write_record(tmp_path, SMALL)
    changed = Record(dataclasses.replace(SMALL.config, **{part: getattr(OTHER.config, part)}), (1, 20, 21))
    with pytest.raises(RunError, match=r"images \(1, 20, 20\), not \(1, 20, 21\)") as caught:
        write_record(tmp_path, changed)
    old, new = getattr(SMALL.config, part), getattr(changed.config, part)
    for field in dataclasses.fields(old):
        differs = getattr(old, field.name) != getattr(new, field.name)
        assert (f"; {field.name} " in str(caught.value)) == differs
    assert read_record(tmp_path) == SMALL


def test_a_folder_of_something_else_gets_no_record(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no run"):
        write_record(tmp_path, SMALL)
    assert not (tmp_path / RECORD).exists()


def test_what_a_killed_run_leaves_of_its_record_is_no_other_run(tmp_path):
    for name in (".lock", f".{RECORD}.tmp", f".{RECORD}.0a1b2c3d.tmp"):
        (tmp_path / name).write_bytes(b"{")
    write_record(tmp_path, SMALL)
    assert read_record(tmp_path) == SMALL


def _changed(change):
    """Change the record of a run, given as the content of `run.json`."""

    def damage(content):
        change(content)
        return json.dumps(content)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda _: "{",
        lambda _: "null",
        lambda _: "[]",
        lambda _: "{}",
        lambda _: "\0" * 20,
        _changed(lambda c: c.pop("image_shape")),
        _changed(lambda c: c.update(image_shape=5)),
        _changed(lambda c: c.update(image_shape=[1, 20])),
        _changed(lambda c: c.update(image_shape=[1, 20, -20])),
        _changed(lambda c: c["config"].pop("train")),
        _changed(lambda c: c["config"]["model"].pop("hidden")),
        _changed(lambda c: c["config"].update(train=[])),
        _changed(lambda c: c["config"]["model"].update(stepz=1)),
        _changed(lambda c: c["config"]["model"].update(hidden=0)),
        _changed(lambda c: c["config"]["model"].update(hidden=-8)),
        _changed(lambda c: c["config"]["model"].update(hidden="eight")),
        _changed(lambda c: c["config"]["model"].update(count_prior="none")),
        _changed(lambda c: c["config"]["train"].update(steps=None)),
        _changed(lambda c: c["config"]["data"].update(digit_side=9)),
        _changed(lambda c: c["config"]["data"].update(digit_side=[9, 18, 27])),
        _changed(lambda c: c["config"]["data"].update(background="fog")),
        _changed(lambda c: c["config"]["data"].update(channels=2)),
    ],
)
def test_a_damaged_record_is_refused_in_a_sentence_that_names_it(run, damage):
    path = run / RECORD
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(RunError, match="damaged") as caught:
        load_model(run)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_a_damaged_record(run):
    (run / RECORD).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match="damaged"):
        read_record(run)


def test_the_model_loaded_is_the_one_of_the_newest_valid_checkpoint(run, caplog):
    newest = load_model(run)
    path = run / "checkpoints" / "step_000000008.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    older = load_model(run)
    assert "step_000000008" in caplog.text
    same = [np.array_equal(a, b) for a, b in zip(jax.tree.leaves(newest), jax.tree.leaves(older))]
    assert not all(same)


def test_a_run_without_checkpoints_has_no_model(tmp_path):
    write_record(tmp_path, SMALL)
    with pytest.raises(RunError, match="no checkpoint"):
        load_model(tmp_path)
