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


def test_a_patch_model_of_ones_own_takes_less_than_40_lines():
    tree = ast.parse((EXAMPLES / "own_patch_model.py").read_text())
    (model,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert model.end_lineno - model.lineno + 1 < 40
