"""The folder that inference by Ray writes, and what its workers do, without Ray."""

import itertools
import json
import os
import random
import shutil
import sys
from dataclasses import replace

import commands
import jax
import pandas as pd
import pytest
from PIL import Image

from airjax.data.addresses import UnreachableError, address
from airjax.files import hashed_as
from airjax.interfaces import infer_files, infer_ray, infer_tiles, jobs, partitions, tabular
from airjax.interfaces.partitions import MANIFEST, Batch, Partitions
from airjax.interfaces.ray_workers import Reader, Worker

pytestmark = pytest.mark.usefixtures("small_batches")


@pytest.fixture(autouse=True)
def two_batches(monkeypatch):
    """Twelve pictures make two partitions, of two batches and of one."""
    monkeypatch.setattr(partitions, "BATCHES", 2)


def rows(inference, todo):
    return [infer_ray._row(inference, index, first=index == todo[0]) for index in todo]


def worked(inference, todo):
    """Do what Ray's workers do, in this process."""
    pictures = inference.pictures
    reader = Reader(pictures.root, inference.levels, inference.channels, inference.fit)
    worker = Worker(replace(inference, pictures=pictures._replace(names=pictures.names[: inference.together])))
    return [worker(reader.read(row)) for row in rows(inference, todo)]


@pytest.fixture
def batches(inference):
    """All batches of the job, inferred once."""
    return [infer_ray._checked(row) for row in worked(inference, [0, 1, 2])]


def complete(folder, inference, batches, **options):
    """Infer all that is unfinished."""
    parts = Partitions(folder, inference, **options)
    todo = parts.unfinished
    for index in todo:
        parts.add(batches[index])
    parts.finish()
    return todo


@pytest.fixture
def whole(inference, batches, tmp_path):
    complete(tmp_path / "whole", inference, batches)
    return files_of(tmp_path / "whole")


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def described(inference):
    return [line for batch in inference.batches() for line in batch]


def test_workers_infer_what_is_inferred_without_them(inference, batches):
    assert [line for batch in batches for line in batch.lines] == described(inference)


def test_workers_infer_tiles_as_without_them(model, root):
    options = {"invert": False, "samples": 3, "key": jax.random.PRNGKey(0)}
    job = infer_tiles.TiledInference(model, infer_files.gather([root]), **options, tile=12)
    found = [infer_ray._checked(row).lines for row in worked(job, range(12))]
    assert found == list(job.batches())


def test_a_folder_holds_every_picture_once_and_says_what_can_not_be_read(inference, whole, tmp_path):
    table = pd.read_parquet(tmp_path / "whole")
    tabular.write_parquet(iter([one for one in described(inference) if "problem" not in one]), tmp_path / "one.parquet")
    one = pd.read_parquet(tmp_path / "one.parquet")
    assert list(table.columns) == [*one.columns, "problem"]
    assert list(table.drop_duplicates("id").image) == inference.pictures.names
    bad = table[table.problem.notna()]
    assert list(bad.image) == ["a/bad.png"]
    assert "not a picture" in bad.problem.iloc[0]
    assert bad.drop(columns=["image", "id", "problem"]).isna().all(axis=None)
    assert sorted(whole) == [MANIFEST, "part-000000.parquet", "part-000001.parquet"]
    read = table[table.problem.isna()].drop(columns="problem").reset_index(drop=True)
    pd.testing.assert_frame_equal(read.astype(one.dtypes), one)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_in_which_batches_arrive_has_no_influence(inference, batches, whole, tmp_path, seed):
    parts = Partitions(tmp_path / "mixed", inference)
    for batch in random.Random(seed).sample(batches, len(batches)):
        parts.add(batch)
    parts.finish()
    assert files_of(tmp_path / "mixed") == whole


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_whatever_call_to_the_disk_fails_the_same_job_goes_on(inference, batches, whole, tmp_path, monkeypatch, error):
    for number in itertools.count():
        folder, left = tmp_path / str(number), iter(range(number))
        with monkeypatch.context() as patch:
            for name in ("fsync", "replace", "unlink"):
                patch.setattr(os, name, failing(getattr(os, name), left, error))
            try:
                complete(folder, inference, batches)
                break
            except error:
                pass
        finished = json.loads((folder / MANIFEST).read_text())["finished"] if (folder / MANIFEST).exists() else False
        if not finished:
            complete(folder, inference, batches)
        assert files_of(folder) == whole, number
    assert number > 8


def failing(call, left, error):
    def guarded(*arguments, **named):
        if next(left, None) is None:
            raise error("stopped")
        return call(*arguments, **named)

    return guarded


def begun(folder, inference, batches):
    """Infer the first partition only."""
    parts = Partitions(folder, inference)
    for batch in batches[:2]:
        parts.add(batch)
    return folder


def test_finished_partitions_are_not_inferred_again(inference, batches, whole, tmp_path):
    folder = begun(tmp_path / "out", inference, batches)
    assert Partitions(folder, inference).done == 8
    assert complete(folder, inference, batches) == [2]
    assert files_of(folder) == whole


def test_a_damaged_partition_is_inferred_again(inference, batches, whole, tmp_path, caplog):
    folder = begun(tmp_path / "out", inference, batches)
    path = folder / "part-000000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert complete(folder, inference, batches) == [0, 1, 2]
    assert "part-000000.parquet is damaged" in caplog.text
    assert files_of(folder) == whole


def test_changed_pictures_are_noticed(model, root, batches, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(root, own)
    job = infer_files.Inference(model, infer_files.gather([own]), invert=False, samples=3, key=jax.random.PRNGKey(0))
    mine = [replace(one, read=jobs.hash_of_batch(job, one.index)) for one in batches]
    folder = begun(tmp_path / "out", job, mine)
    path = own / "a" / "00.png"
    content, stat = path.read_bytes(), path.stat()
    path.write_bytes(content + b" ")
    with pytest.raises(ValueError, match="sizes or times"):
        Partitions(folder, job)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    hashed_as.cache_clear()  # as in another process
    with pytest.raises(ValueError, match="pictures that have changed since"):
        Partitions(folder, job)
    assert Partitions(folder, job, force=True).done == 0


def test_what_others_have_written_is_refused_and_kept(inference, batches, whole, tmp_path):
    with pytest.raises(ValueError, match="holds a finished inference; give --force"):
        Partitions(tmp_path / "whole", inference)
    with pytest.raises(ValueError, match="differs in samples"):
        Partitions(tmp_path / "whole", replace(inference, samples=4))
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds files of something else"):
        Partitions(other, inference)
    (tmp_path / "whole" / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        Partitions(tmp_path / "whole", inference)
    assert files_of(tmp_path / "whole") == whole | {MANIFEST: b"{"}
    for folder in (other, tmp_path / "whole"):
        complete(folder, inference, batches, force=True)
        assert files_of(folder).items() >= whole.items()
    assert (other / "mine.txt").read_text() == "mine"


def test_partitions_grow_with_the_number_of_pictures(inference, tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "MOST", 1)
    parts = Partitions(tmp_path / "out", inference)
    assert len(list(parts._of(0))) == 3


def test_errors_of_workers_are_those_of_the_command(inference, root, tmp_path):
    strict = replace(inference, pictures=infer_files.gather([root / "a" / "00.png", root / "a" / "bad.png"]))
    with pytest.raises(ValueError, match=r"bad\.png is not a picture"):
        infer_ray._checked(worked(strict, [0])[0])
    useless = jax.tree.map(lambda leaf: leaf * float("nan") if leaf.dtype.kind == "f" else leaf, inference.model)
    with pytest.raises(ValueError, match="not finite"):
        infer_ray._checked(worked(replace(inference, model=useless), [0])[0])
    reader = Reader(address("http://127.0.0.1:9"), None, None, inference.fit)
    row = reader.read(rows(inference, [0])[0] | {"states": json.dumps({"a/00.png": (1, "")})})
    with pytest.raises(UnreachableError, match=r"http://127.0.0.1:9/a/00.png can't be read"):
        infer_ray._checked(Worker(inference)(row))


def test_names_that_are_not_utf_8_pass(model, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("L", (12, 12)).save(tmp_path / name, format="PNG")
    job = infer_files.Inference(
        model, infer_files.gather([tmp_path]), invert=False, samples=3, key=jax.random.PRNGKey(0)
    )
    [found] = worked(job, [0])
    assert infer_ray._checked(found).lines[0]["image"] == name
    assert isinstance(infer_ray._checked(found), Batch)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--engine", "ray"], "needs --parquet FOLDER"),
        (["--engine", "ray", "--parquet", "out", "--coco", "a.json"], "no other output"),
        (["--engine", "ray", "--parquet", "out", "--json"], "no other output"),
        (["--engine", "ray", "--parquet", "out", "--workers", "0"], "workers must be at least 1, got 0"),
        (["--parquet", "out", "--workers", "2"], "--workers needs --engine ray"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(capsys, root, flags, words):
    assert commands.refused(commands.call(capsys, "infer", "none", root, *flags), words)


def test_missing_ray_is_told(capsys, root, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    said = commands.call(capsys, "infer", "none", root, "--engine", "ray", "--parquet", "out")
    assert commands.refused(said, "pip install 'airjax[ray]'")
