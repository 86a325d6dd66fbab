"""The examples run, and are as short as they say."""

import ast
import re
from pathlib import Path

import pytest
import runs
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_a_patch_model_of_ones_own_trains_and_is_scored():
    script = EXAMPLES / "own_patch_model.py"
    said = runs.spawn("--steps=4", "--scenes=100", "--held-out-scenes=20", program=(runs.PYTHON, str(script)))
    assert said.code == 0, said.err
    assert re.search(r"held-out count accuracy \d+\.\d\d%, ELBO -?\d+\.\d nats", said.out)


@pytest.mark.slow
def test_a_table_is_drawn_and_laid_again_from_its_picture(tmp_path):
    script, path = EXAMPLES / "render_crockery.py", tmp_path / "table.png"
    said = runs.spawn("--out", str(path), "--side=32", "--steps=40", program=(runs.PYTHON, str(script)))
    assert said.code == 0, said.err
    first, last = map(float, re.findall(r"\d\.\de-\d+", said.out))
    assert last < 0.5 * first
    with Image.open(path) as picture:
        assert picture.size == (160, 64)


@pytest.mark.slow
def test_a_pipeline_counts_without_labels_and_reads_from_few():
    script = EXAMPLES / "counts_with_sklearn.py"
    said = runs.spawn("--labels=100", "--scenes=100", program=(runs.PYTHON, str(script)))
    assert said.code == 0, said.err
    counted, by_air, by_pixels = map(float, re.findall(r"(\d+\.\d) %", said.out))
    assert counted > 90
    assert by_air > 60 > 30 > by_pixels


@pytest.mark.slow
def test_what_the_page_on_scikit_learn_shows_runs():
    page = (EXAMPLES.parent / "docs" / "sklearn.md").read_text()
    program = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    quick = program.replace("steps=1_000", "steps=2").replace("4_000", "40").replace("1_000", "20")
    said = runs.spawn(program=(runs.PYTHON, "-c", quick + "\nprint(reader)"))
    assert said.out.startswith("Pipeline"), said.err


def test_a_patch_model_of_ones_own_takes_less_than_40_lines():
    tree = ast.parse((EXAMPLES / "own_patch_model.py").read_text())
    (model,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert model.end_lineno - model.lineno + 1 < 40
