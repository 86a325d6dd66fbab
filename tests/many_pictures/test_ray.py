"""Inference by Ray itself, on this machine: one cluster for all tests, and commands that are killed."""

import contextlib
import json
import re
import signal
import subprocess
import time

import commands
import jax
import numpy as np
import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image
from s3_server import s3, serving

from airjax.interfaces import infer_files, infer_ray, infer_tiles, output_files, partitions
from airjax.interfaces.partitions import MANIFEST
from airjax.models import air

pytestmark = pytest.mark.slow
PICTURES = 2_200
KEY = jax.random.PRNGKey(0)


@pytest.fixture(scope="module")
def many(tmp_path_factory, tiny_images):
    """So many pictures that they make several partitions, one of them damaged."""
    root = tmp_path_factory.mktemp("many")
    for index in range(PICTURES):
        path = root / f"{index // 500}" / f"{index:04d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.roll(tiny_images[index % 10, 0], index // 10, axis=1)).save(path)
    (root / "1" / "0700.png").write_text("bad")
    return root


@pytest.fixture(scope="module")
def store():
    """An S3 server that the workers' environment names."""
    with pytest.MonkeyPatch.context() as patch, serving(patch) as server:
        yield server


@pytest.fixture(scope="module")
def pool(store):
    """An actor of a cluster of this machine; each takes seconds to start."""
    infer_ray._check_ray()
    with infer_ray.cluster(1) as pool:
        yield pool


@pytest.fixture(scope="module", autouse=True)
def as_in_workers(users_unroll):
    """Compile what workers compile: the loops of tests in this process make the same numbers but for rounding."""
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(air, "UNROLL", users_unroll)
        yield
    jax.clear_caches()


@pytest.fixture
def small_partitions(monkeypatch):
    monkeypatch.setattr(partitions, "BATCHES", 2)


@pytest.fixture(scope="module")
def some(many):
    """The first 500 pictures."""
    return infer_files.gather([many / "1"])


def job(model, pictures):
    return infer_files.Inference(model, pictures, invert=False, samples=3, key=KEY)


def table_of(folder):
    """Read a folder; return what is known of pictures that could be read, and the places of those that could not."""
    table = pq.read_table(folder)
    bad = table.filter(pc.is_valid(table["problem"]))
    return table.filter(pc.is_null(table["problem"])).drop_columns("problem"), bad["id"].to_pylist()


def without_ray(inference, tmp_path):
    output_files.to_files(inference, output_files.Outputs(parquet=tmp_path / "one.parquet"), progress=False)
    return pq.read_table(tmp_path / "one.parquet")


@pytest.mark.usefixtures("small_partitions")
def test_results_of_a_stores_pictures_are_those_without_ray_to_the_bit(model, some, many, pool, tmp_path, monkeypatch):
    """Even if a worker dies, which is replaced."""
    killed, add = [], partitions.Partitions.add

    def kill(self, batch):
        if not killed:
            workers = [one for one in psutil.Process().children(recursive=True) if "MapWorker" in one.name()]
            killed.extend(workers)
            workers[0].kill()
        add(self, batch)

    monkeypatch.setattr(partitions.Partitions, "add", kill)
    s3().put(str(many / "1"), "bucket/some", recursive=True)
    remote = infer_files.gather(["s3://bucket/some"])
    infer_ray.to_partitions(job(model, remote), tmp_path / "out", pool, progress=False)
    assert killed
    found, bad = table_of(tmp_path / "out")
    assert found.equals(without_ray(job(model, some), tmp_path))
    assert bad == [201]
    assert len(list((tmp_path / "out").iterdir())) == 5


@pytest.mark.usefixtures("small_partitions")
@pytest.mark.parametrize("still", [None, Image.new("L", (12, 12), 90)])
def test_tiles_are_those_without_ray_to_the_bit(model, some, pool, tmp_path, still):
    pictures = some._replace(names=some.names[:5])
    tiled = infer_tiles.TiledInference(model, pictures, invert=False, samples=3, key=KEY, tile=9, still=still)
    infer_ray.to_partitions(tiled, tmp_path / "out", pool, progress=False)
    assert table_of(tmp_path / "out")[0].equals(without_ray(tiled, tmp_path))


def test_an_error_is_that_without_ray(model, many, pool, tmp_path):
    named = infer_files.gather([many / "1" / "0700.png"])
    with pytest.raises(ValueError, match=r"0700\.png is not a picture"):
        infer_ray.to_partitions(job(model, named), tmp_path / "out", pool, progress=False)


def test_more_workers_than_there_is_room_for_are_refused(pool):
    with pytest.raises(ValueError, match="at most what the Ray cluster has"), infer_ray.cluster(64):
        pass


def words_of(process):
    """Return a process's command, or nothing if it has ended."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def finished(folder):
    return len(json.loads((folder / MANIFEST).read_text())["partitions"]) if (folder / MANIFEST).exists() else 0


def test_killed_and_begun_again_every_picture_is_there_once(capsys, caplog, run, many, pool, tmp_path):
    out = tmp_path / "out"
    command = ["infer", str(run), str(many), "--samples=2"]
    with_ray = [*command, "--engine=ray", "--workers=1", f"--parquet={out}"]
    process = subprocess.Popen([commands.AIRJAX, *with_ray], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not finished(out):
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # nothing goes on while its workers are looked for
    started = psutil.Process(process.pid).children(recursive=True)
    folders = {word for one in started for word in re.findall(r"airjax-ray-\w+", words_of(one))}
    process.kill()
    process.communicate()
    started += [one for one in psutil.process_iter() if any(folder in words_of(one) for folder in folders)]
    for one in started:  # some would end only after minutes
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    assert 0 < finished(out) < 3
    said = commands.call(capsys, *with_ray)  # within the cluster of this process
    assert (said.code, said.out) == (0, ""), said.err
    assert "going on after" in caplog.text
    assert "left out 1 of 2200 pictures" in caplog.text
    ids = pq.read_table(out)["id"].to_pylist()
    assert list(dict.fromkeys(ids)) == sorted(set(ids)) == list(range(1, PICTURES + 1))
    assert commands.call(capsys, *command, f"--parquet={tmp_path / 'one.parquet'}").code == 0
    assert table_of(out)[0].equals(pq.read_table(tmp_path / "one.parquet"))
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
