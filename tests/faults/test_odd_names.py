"""Names of files that are not UTF-8: escaped in every output, so that the bytes can be told again."""

import csv
import json
import os

import pandas as pd
import pytest
from commands import call
from hypothesis import given
from hypothesis import strategies as st

from airjax.interfaces import formats, infer_files, output_files
from airjax.interfaces.names import bytes_of, printable

NAMES = [b"a.png", b"b\xff.png", b"c\\xff.png", "dé.png".encode(), b"\xe9\\e.png"]
PRINTED = ["a.png", "b\\xff.png", "c\\\\xff.png", "dé.png", "\\xe9\\\\e.png"]


@given(st.binary(max_size=8) | st.text(r"a\xf0é\ud800", max_size=8).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_what_is_escaped_is_text_and_tells_the_name(name):
    printed = printable(os.fsdecode(name))
    assert bytes_of(printed) == name
    printed.encode("utf-8")


@pytest.fixture
def folder(tmp_path, root):
    for name in NAMES:
        path = os.path.join(os.fsencode(tmp_path), b"pictures", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(path, "wb") as file:
                file.write((root / "a" / "02.png").read_bytes())
        except OSError:
            pytest.skip("this file system takes no such names")
    return tmp_path / "pictures"


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
def test_every_output_holds_every_name(inference, folder, tmp_path, capsys, run):
    job = infer_files.Inference(inference.model, infer_files.gather([folder]), False, 3, inference.key)
    outputs = output_files.Outputs(*(tmp_path / name for name in ("k.json", "k.parquet", "shown", "lab", "t.csv", "r")))
    output_files.to_files(job, outputs, progress=False)
    images = json.loads(formats.images_path(outputs.coco).read_bytes())["images"]
    assert sorted(one["file_name"] for one in images) == sorted(PRINTED)
    with outputs.table.open(newline="", encoding="utf-8") as file:
        assert {row["image"] for row in csv.DictReader(file)} == set(PRINTED)
    assert set(pd.read_parquet(outputs.parquet).image) == set(PRINTED)
    assert {os.fsencode(path.name) for path in outputs.overlay.iterdir()} == set(NAMES)
    said = call(capsys, "infer", run, folder)
    assert said.code == 0
    assert {line.split(": ")[0] for line in said.out.splitlines() if "p(n|x)" in line} == set(PRINTED)
    found = json.loads(call(capsys, "infer", run, folder, "--json").out)["images"]
    assert sorted(one["image"] for one in found) == sorted(PRINTED)
