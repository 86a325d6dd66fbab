"""Pictures and arrays at addresses of a real S3 server, as by users of the commands."""

import json
from pathlib import Path

import commands
import numpy as np
import pandas as pd
import pytest
from commands import SIDE, call, contents, refused, train_command
from PIL import Image
from s3_server import s3

from airjax.data import addresses, copies
from airjax.data.addresses import UnreachableError
from airjax.interfaces import infer_files
from airjax.interfaces.console import INTERRUPTED

pytestmark = pytest.mark.slow


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """A folder of scenes like those of the tiny run, and an empty cache."""
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    (tmp_path / "scenes").mkdir()
    rng = np.random.default_rng(0)
    for index in range(40):
        pixels = np.zeros((SIDE, SIDE), np.uint8)
        y, x = rng.integers(0, SIDE - 6, 2)
        pixels[y : y + 6, x : x + 6] = 200
        Image.fromarray(pixels).save(tmp_path / "scenes" / f"{index:02d}.png")
    return tmp_path / "scenes"


def lines(said):
    return json.loads(said.out)["images"]


def test_a_folder_is_inferred_as_a_local_one(capsys, caplog, run, root, folder):
    local, remote = (call(capsys, "infer", run, where, "--samples=2", "--json") for where in (root, folder))
    assert (local.code, remote.code) == (0, 0), remote.err
    assert remote.out == local.out
    assert f"cannot identify image file '{folder}/a/bad.png'" in caplog.text


def test_patterns_and_single_files_are_inferred(capsys, run, root, folder):
    matched = call(capsys, "infer", run, f"{folder}/**/*[02].png", "--samples=2", "--json")
    assert [one["image"] for one in lines(matched)] == ["a/00.png", "a/02.png", "a/10.png"]
    local = call(capsys, "infer", run, f"{root}/a/*2.png", "--samples=2", "--json")
    assert [one["image"] for one in lines(local)] == ["02.png"]
    named = call(capsys, "infer", run, f"{folder}/b/01.png", f"{folder}/a/00.png", "--samples=2", "--json")
    assert [one["image"] for one in lines(named)] == [f"{folder}/b/01.png", f"{folder}/a/00.png"]
    assert refused(call(capsys, "infer", run, f"{folder}/*.tif"), "matches no picture")
    assert refused(call(capsys, "infer", run, f"{folder}/a/bad.png"), "bad.png is not a picture")
    assert refused(call(capsys, "infer", run, f"{folder}/a/11.png"), "11.png does not exist")
    assert refused(call(capsys, "infer", run, root / "a" / "00.png", f"{folder}/a/00.png"), "got both")


def test_a_stopped_job_goes_on_and_a_changed_object_is_noticed(
    capsys, run, folder, tmp_path, small_batches, monkeypatch
):
    command = ["infer", run, folder, f"--parquet={tmp_path / 'found.parquet'}", "--samples=2", "--quiet"]
    with monkeypatch.context() as patch:
        commands.stop_after(patch, 2)
        assert call(capsys, *command).code == INTERRUPTED
    assert not (tmp_path / "found.parquet").exists()
    content = s3().cat_file("bucket/pictures/b/09.png")
    s3().pipe_file("bucket/pictures/b/09.png", bytes(reversed(content)))
    assert refused(call(capsys, *command), "sizes or times of pictures")
    s3().pipe_file("bucket/pictures/b/09.png", content)
    assert call(capsys, *command).code == 0
    found = pd.read_parquet(tmp_path / "found.parquet")
    assert found.drop_duplicates("image").id.tolist() == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]


def test_training_reads_each_object_once_and_resumes(capsys, server, scenes, tmp_path, monkeypatch):
    s3().put(str(scenes), "bucket/scenes", recursive=True)
    fetched = []
    fetch = addresses.Address.fetch
    monkeypatch.setattr(addresses.Address, "fetch", lambda self, to: (fetched.append(str(self)), fetch(self, to)))
    command = train_command(tmp_path / "run", "s3://bucket/scenes", scenes=None, held_out_scenes=None, counts=None)
    said = call(capsys, *command)
    assert said.code == 0, said.err
    assert len(fetched) == len(set(fetched)) == 40
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["data"]["name"] == "s3://bucket/scenes"
    assert call(capsys, *command).code == 0
    assert call(capsys, "evaluate", tmp_path / "run", "--samples=2").code == 0
    assert len(fetched) == 40, "later commands find the pictures in the cache"
    local = train_command(tmp_path / "local", scenes, scenes=None, held_out_scenes=None, counts=None)
    assert call(capsys, *local).code == 0
    weights = [next((tmp_path / one / "checkpoints").glob("*8.safetensors")).read_bytes() for one in ("run", "local")]
    assert weights[0] == weights[1], "it learns what it learns from the same folder on this machine"
    s3().pipe_file("bucket/scenes/00.png", (scenes / "01.png").read_bytes() + b"longer")
    said = call(capsys, *command)
    assert refused(said, "holds a run with other settings (pictures")


def test_arrays_are_trained_on_and_examined(capsys, server, scenes, tmp_path):
    images = np.stack([np.asarray(Image.open(path)) for path in sorted(scenes.iterdir())])
    np.savez(tmp_path / "a.npz", images=images)
    (tmp_path / "bad.npz").write_text("bad")
    for name in ("a.npz", "bad.npz"):
        s3().put(str(tmp_path / name), f"bucket/{name}")
    options = {"scenes": None, "held_out_scenes": None, "counts": None, "canvas": None}
    assert call(capsys, *train_command(tmp_path / "run", "s3://bucket/a.npz", **options)).code == 0
    doctor = [call(capsys, "doctor", where, "--json") for where in ("s3://bucket/a.npz", tmp_path / "a.npz")]
    assert doctor[0].out == doctor[1].out != ""
    assert refused(call(capsys, "doctor", "s3://bucket/bad.npz"), "s3://bucket/bad.npz can't be read as an npz file")


def test_the_doctor_examines_a_folder(capsys, server, scenes):
    s3().put(str(scenes), "bucket/scenes", recursive=True)
    remote, local = (call(capsys, "doctor", where, "--json") for where in ("s3://bucket/scenes", scenes))
    assert remote.out == local.out != ""


def test_what_is_not_there_is_told(capsys, run, server, tmp_path):
    out = tmp_path / "out"
    for address, words in (("s3://nobody/a", "bucket does not exist"), ("s3://bucket/none", "does not exist")):
        assert refused(call(capsys, "infer", run, address, f"--coco={out}.json"), address, words)
        assert refused(call(capsys, "doctor", address), address, words)
        assert refused(call(capsys, *train_command(out, address)), address, words)
    assert list(tmp_path.iterdir()) == []


def test_credentials_that_are_missing_or_wrong_are_told(capsys, run, folder, tmp_path, monkeypatch):
    from botocore.exceptions import NoCredentialsError

    s3().clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    said = call(capsys, "infer", run, folder)
    assert refused(said, folder, str(NoCredentialsError()))


def test_a_lost_connection_ends_a_job_and_the_same_command_goes_on(
    capsys, run, folder, server, root, tmp_path, small_batches, monkeypatch
):
    """It is not taken for pictures that can't be read."""
    command = ["infer", run, folder, f"--coco={tmp_path / 'found.json'}", "--samples=2", "--quiet"]
    fetch, copied = addresses.Address.fetch, []

    def lose(self, to):
        if len(copied) > 5:
            raise UnreachableError(f"{self} can't be read: the connection is lost")
        copied.append(str(self))
        fetch(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(copies, "KEPT", 0)
        patch.setattr(addresses.Address, "fetch", lose)
        assert refused(call(capsys, *command), "the connection is lost")
    assert [path.name for path in tmp_path.iterdir()] == [".found.json.partial"]
    assert call(capsys, *command).code == 0
    local = ["infer", run, root, f"--coco={tmp_path / 'local.json'}", "--samples=2", "--quiet"]
    assert call(capsys, *local).code == 0
    assert (tmp_path / "local.json").read_bytes() == (tmp_path / "found.json").read_bytes()


def test_a_server_that_is_gone_is_told(capsys, run, folder, server):
    places = infer_files.gather([folder])
    server.stop()
    with pytest.raises(UnreachableError, match="Could not connect"):
        (places.root / "a/00.png").fetch(Path("/dev/null"))
    server.start()


def test_copies_are_removed(capsys, run, folder):
    assert call(capsys, "infer", run, folder, "--samples=2").code == 0
    kept = contents(copies.copies._folder)
    assert 0 < sum(map(len, kept.values())) <= copies.KEPT
    commands.spawn("infer", run, folder, "--samples=2")
