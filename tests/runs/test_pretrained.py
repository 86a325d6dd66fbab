import hashlib
import json
import sys
from pathlib import Path

import commands
import jax
import numpy as np
import pytest
import safetensors.numpy

import airjax
from airjax.data.batches import channels_first
from airjax.data.tables import tables
from airjax.render3d import LAID_TABLE
from airjax.runs import pretrained
from airjax.runs.pretrained import CONFIG, WEIGHTS, PretrainedError, from_pretrained, save_pretrained
from airjax.runs.record import STILL


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return commands.trained_run(tmp_path_factory)


@pytest.fixture
def saved(run, tmp_path):
    save_pretrained(run, tmp_path / "saved")
    return tmp_path / "saved"


def change(folder, **values):
    """Change the configuration of a saved model."""
    content = json.loads((folder / CONFIG).read_text())
    for name, value in values.items():
        content = content | {name: value} if name in content else content | {"model": content["model"] | {name: value}}
    (folder / CONFIG).write_text(json.dumps(content))


def same(one, two, tolerance=0.0):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_inference_may_choose_from_more_trajectories():
    trained = from_pretrained("sprites")
    more = trained.with_trajectories(3)
    assert (trained.model.trajectories, more.model.trajectories, more.config.trajectories) == (1, 3, 3)
    same(more.model, trained.model)


@pytest.mark.parametrize(("name", "number"), [("sprites", 0), ("crockery", 2)])
def test_trajectories_that_mean_nothing_are_refused(name, number):
    with pytest.raises(ValueError, match=r"trajectories (must be at least 1|has no effect unless)"):
        from_pretrained(name).with_trajectories(number)


@pytest.mark.slow
def test_a_saved_model_is_the_runs(run, saved):
    trained = from_pretrained(saved)
    same(trained.model, airjax.load_model(run))
    same(airjax.load(str(run)), trained.model)
    assert trained.config == airjax.runs.record.read_record(run).config.model
    assert trained.polarity == "light"
    assert "airjax.load" in (saved / "README.md").read_text()


@pytest.mark.slow
def test_weights_of_half_size_are_almost_the_same(run, saved, tmp_path):
    save_pretrained(run, tmp_path / "half", half=True)
    sizes = [(folder / WEIGHTS).stat().st_size for folder in (tmp_path / "half", saved)]
    assert sizes[0] < 0.7 * sizes[1]
    same(airjax.load(tmp_path / "half"), airjax.load(saved), tolerance=1e-3)


def test_a_saved_model_is_never_written_over(run, saved):
    with pytest.raises(FileExistsError, match="holds a model already"):
        save_pretrained(run, saved)


def test_a_source_that_is_nothing_is_refused(tmp_path):
    with pytest.raises(PretrainedError, match="neither a folder nor one of"):
        airjax.load("mutli-mnist")
    with pytest.raises(PretrainedError, match="can't be read"):
        airjax.load(tmp_path)


def test_a_model_of_the_hub_is_fetched_or_its_absence_told(saved, monkeypatch):
    import huggingface_hub

    asked = []

    def fetch(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    same(airjax.load("someone/digits"), airjax.load(saved))
    assert asked == [("someone/digits", [CONFIG, WEIGHTS, STILL])]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(PretrainedError, match="someone/digits can't be fetched"):
        airjax.load("someone/digits")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(PretrainedError, match=r"airjax\[hub\]"):
        airjax.load("someone/digits")


HOSTILE = {
    "no json": "{",
    "other json": "[1, 2]",
    "nothing": "{}",
    "deep": "[" * 100_000,
    "huge": " " * 2_000_000,
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_configuration_that_is_none_is_refused(saved, content):
    (saved / CONFIG).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PretrainedError, match=r"config\.json"):
        airjax.load(saved)


@pytest.mark.parametrize(
    "values",
    [
        {"format": 7},
        {"format": 2, "image_shape": [1, 12, 14]},
        {"levels": [3, 1, 1]},
        {"levels": "dark"},
        {"pick_channels": [0]},
        {"pick_channels": "12"},
        {"pick_channels": [1, 2, 3, 4]},
        {"image_shape": [1, 20]},
        {"image_shape": [2, 20, 20]},
        {"image_shape": [1, 10**9, 10**9]},
        {"image_shape": "abc"},
        {"polarity": "grey"},
        {"sha256": 7},
        {"still": 7},
        {"still": "0" * 64},
        {"hidden": 10**12},
        {"max_objects": 10**5},
        {"hidden": -1},
        {"hidden": "many"},
        {"patches": "os.system"},
        {"count_table": [float("inf")]},
        {"sd": float("nan")},
        {"unheard_of": 1},
    ],
    ids=str,
)
def test_absurd_values_are_refused_before_anything_is_made(saved, values):
    change(saved, **values)
    with pytest.raises(PretrainedError, match=r"config\.json is not a valid configuration"):
        airjax.load(saved)


def test_a_model_of_the_format_before_still_backgrounds_loads(saved):
    content = json.loads((saved / CONFIG).read_text())
    del content["still"]
    (saved / CONFIG).write_text(json.dumps(content))
    with pytest.raises(PretrainedError, match="must hold"):
        airjax.load(saved)
    (saved / CONFIG).write_text(json.dumps(content | {"format": 5}))
    assert from_pretrained(saved).still is None


def test_weights_of_another_model_are_refused(saved):
    change(saved, hidden=9)
    with pytest.raises(PretrainedError, match="of another model"):
        airjax.load(saved)


@pytest.mark.parametrize("keep", [0, 7, 1000, -1])
def test_truncated_or_changed_weights_are_refused(saved, keep):
    content = (saved / WEIGHTS).read_bytes()
    for damaged in (content[:keep], content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]):
        (saved / WEIGHTS).write_bytes(damaged)
        with pytest.raises(PretrainedError, match="SHA-256"):
            airjax.load(saved)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, safetensors.numpy.save({"a": np.zeros(3)})])
def test_weights_that_are_none_are_refused_even_with_the_right_hash(saved, content):
    (saved / WEIGHTS).write_bytes(content)
    change(saved, sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(PretrainedError, match=r"model\.safetensors"):
        airjax.load(saved)


def test_missing_weights_are_told(saved):
    (saved / WEIGHTS).unlink()
    with pytest.raises(PretrainedError, match="can't be read"):
        airjax.load(saved)


@pytest.mark.slow
@pytest.mark.parametrize("name", pretrained.names())
def test_the_models_of_the_package_count_their_scenes(name):
    """Half the scenes would be right by chance at most."""
    if name == "sprites":
        scenes = airjax.data.sprites(64, seed=3)
    elif name == "crockery":
        scenes = tables(LAID_TABLE, 64, seed=3, counts=(0, 1, 2, 3))
    else:
        scenes = airjax.data.multi_digits(airjax.data.embedded_digits("held-out"), 64, seed=3)
    found = airjax.find(airjax.load(name), channels_first(scenes.images))
    assert np.mean(found.count == scenes.counts) >= (0.9 if name == "multi-mnist" else 0.98)


def test_the_models_of_the_package_are_small_and_have_cards():
    folder = Path(pretrained.__file__).parent
    assert {"multi-mnist", "sprites"} <= set(pretrained.names())
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 8e6
    for name in pretrained.names():
        assert "airjax train" in (folder / name / "README.md").read_text()


def test_a_card_tells_no_path_of_the_machine_it_was_made_on(run, saved):
    assert str(run) not in (saved / "README.md").read_text()
    assert "data_dir" not in (saved / "README.md").read_text()
