"""The examples run, and are as short as they say."""

import ast
import re
import runpy
import sys
from pathlib import Path

import equinox as eqx
import numpy as np
import pytest
from commands import exported
from opengl import by_mujoco
from PIL import Image

from airjax.config import ModelConfig
from airjax.render3d import LAID_TABLE

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {"count_prior": "uniform", "learn_count": False, "embed_channels": 2, "embed_hidden": 8, "head_hidden": 8}


def sees_two(model):
    """Let an untrained model in 3D hold two objects to be there, whatever it is shown."""
    presence = lambda m: m.recogniser.attend.dense.layers[-1].bias
    return eqx.tree_at(presence, model, presence(model).at[0].set(5.0))


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run an example within a folder; return what it printed. It runs in this process, which has compiled a lot."""

    def run(name, *arguments, folder=tmp_path, within=EXAMPLES):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        monkeypatch.chdir(folder)
        capsys.readouterr()
        runpy.run_path(str(within / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def _drawn(folder):
    """Name what an example left, all of which must be pictures."""
    for path in folder.iterdir():
        with Image.open(path) as picture:
            picture.load()
    return [path.name for path in folder.iterdir()]


@pytest.mark.slow
def test_a_patch_model_of_ones_own_trains_and_is_scored(run, tmp_path):
    said = run("own_patch_model", "--steps=4", "--scenes=100", "--held-out-scenes=20")
    assert re.search(r"held-out count accuracy \d+\.\d\d%, ELBO -?\d+\.\d nats", said)
    assert _drawn(tmp_path) == ["own_patch_model.png"]


@pytest.mark.slow
def test_a_table_is_drawn_and_laid_again_from_its_picture(run, tmp_path):
    said = run("render_crockery", "--out=table.png", "--side=32", "--steps=40")
    first, last = map(float, re.findall(r"\d\.\de-\d+", said))
    assert last < 0.5 * first
    with Image.open(tmp_path / "table.png") as picture:
        assert picture.size == (160, 64)


@pytest.mark.slow
def test_a_table_is_laid_again_through_another_renderer(run, tmp_path):
    by_mujoco(LAID_TABLE, (8, 8))
    said = run("another_renderer", "--out=renderers.png", "--side=16", "--steps=20")
    first, last = map(float, re.findall(r"\d\.\d+", said))
    assert last < 0.6 * first
    with Image.open(tmp_path / "renderers.png") as picture:
        assert picture.size == (80, 48)


@pytest.mark.slow
def test_tables_are_inferred_and_what_was_inferred_gets_sharper(run, tmp_path):
    exported(tmp_path / "model", ModelConfig(objects="crockery", max_objects=2, **SMALL), (3, 16, 16), sees_two)
    folder = tmp_path / "drawn"
    folder.mkdir()
    arguments = (f"--model={tmp_path / 'model'}", "--samples=2", "--steps=10")
    said = run("tables_in_3d", *arguments, folder=folder)
    first, last = map(float, re.findall(r"\d\.\d+e-\d+", said))
    assert last < first
    assert said.count("the model finds 2") == 6
    assert _drawn(folder) == ["tables_in_3d.png"]


@pytest.mark.slow
def test_a_pipeline_counts_without_labels_and_reads_from_few(run, tmp_path):
    said = run("counts_with_sklearn", "--labels=100", "--scenes=100")
    counted, by_air, by_pixels = map(float, re.findall(r"(\d+\.\d) %", said))
    assert counted > 90
    assert by_air > 60 > 30 > by_pixels
    assert _drawn(tmp_path) == ["counts_with_sklearn.png"]


@pytest.mark.slow
def test_what_the_page_on_scikit_learn_shows_runs(run, tmp_path):
    page = (EXAMPLES.parent / "docs" / "sklearn.md").read_text()
    program = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    quick = program.replace("steps=1_000", "steps=2").replace("4_000", "40").replace("1_000", "20")
    (tmp_path / "page.py").write_text(quick + "\nprint(reader)")
    assert run("page", within=tmp_path).startswith("Pipeline")


def test_a_patch_model_of_ones_own_takes_less_than_40_lines():
    tree = ast.parse((EXAMPLES / "own_patch_model.py").read_text())
    (model,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert model.end_lineno - model.lineno + 1 < 40


@pytest.mark.slow
def test_a_first_training_is_scored_and_drawn(run, tmp_path):
    said = run("first_training", "--steps=4", "--scenes=100", "--held-out-scenes=20")
    assert re.search(r"counted right: \d+\.\d%", said)
    assert _drawn(tmp_path) == ["first_training.png"]


@pytest.mark.slow
def test_pictures_of_ones_own_are_looked_at_learned_from_and_boxed(run, tmp_path):
    said = run("own_images", "--pictures=40", "--steps=2")
    assert re.findall(r"\$ airjax (\w+)", said) == ["doctor", "train", "infer"]
    assert "in colour\nbackground: constant" in said
    assert _drawn(tmp_path) == ["own_images.png"]


@pytest.mark.slow
def test_digits_pushed_together_are_first_two_then_one(run, tmp_path):
    said = run("count_posterior", "--samples=5")
    posteriors = [np.fromstring(text, sep=" ") for text in re.findall(r"p \[(.*)\]", said)]
    assert [int(np.argmax(p)) for p in posteriors[:: len(posteriors) - 1]] == [2, 1]
    assert _drawn(tmp_path) == ["count_posterior.png"]


@pytest.mark.slow
def test_a_stopped_run_ends_in_the_same_weights_and_is_handed_over(run, tmp_path):
    said = run("resume_and_export", "--steps=60")
    assert re.search(r"stopped; the checkpoints: step_0*20, step_0*40", said)
    assert said.count("the same weights: True") == 2
    assert _drawn(tmp_path) == ["resume_and_export.png"]


def test_every_example_runs_in_a_test():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    tested = Path(__file__).read_text()
    assert names == {name for name in names if f'"{name}"' in tested or f'"{name}.py"' in tested}
