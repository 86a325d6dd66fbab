"""Files of the user that an output would replace, outputs that would share a file, and those that can't be written."""

import commands
import numpy as np
import pytest
from commands import refused
from PIL import Image

from airjax.interfaces import infer_files, output_files
from airjax.interfaces.outputs import Outputs, check_outputs

pytestmark = pytest.mark.usefixtures("small_batches")


@pytest.fixture
def coco(tmp_path):
    return Outputs(tmp_path / "k.json")


def test_the_list_of_images_beside_coco_results_is_kept(inference, coco, tmp_path):
    (tmp_path / "k.images.json").write_text("mine")
    with pytest.raises(ValueError, match=r"k\.images\.json exists"):
        output_files.to_files(inference, coco, progress=False)
    assert commands.contents(tmp_path) == {str(tmp_path / "k.images.json"): b"mine"}


@pytest.mark.parametrize("added", [{"parquet": "t.parquet"}, {"overlay": "shown"}, {"table": "t.csv"}])
def test_going_on_with_other_outputs_is_refused(inference, coco, stopped, tmp_path, added):
    stopped(coco)
    (name, file) = next(iter(added.items()))
    more = coco._replace(**{name: tmp_path / file})
    with pytest.raises(ValueError, match=r"another inference: it differs in outputs.*--force"):
        output_files.to_files(inference, more, progress=False)
    output_files.to_files(inference, more, force=True, progress=False)
    if name == "overlay":
        assert sum(path.is_file() for path in more.overlay.rglob("*")) == len(inference.pictures.names) - 1


def test_going_on_with_another_folder_is_refused(inference, stopped, tmp_path):
    first = Outputs(coco=tmp_path / "k.json", overlay=tmp_path / "one")
    stopped(first)
    with pytest.raises(ValueError, match="it differs in outputs"):
        output_files.to_files(inference, first._replace(overlay=tmp_path / "two"), progress=False)


def test_a_file_made_between_stop_and_restart_is_kept(inference, coco, stopped):
    stopped(coco)
    coco.coco.write_text("mine")
    with pytest.raises(ValueError, match="has not written it"):
        output_files.to_files(inference, coco, progress=False)
    assert coco.coco.read_text() == "mine"


def test_a_job_killed_while_it_wrote_its_files_ends(inference, coco, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(output_files.Journal, "report", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            output_files.to_files(inference, coco, progress=False)
    assert coco.coco.exists()
    written = commands.contents(coco.coco)
    output_files.to_files(inference, coco, progress=False)
    assert commands.contents(coco.coco) == written
    assert not coco.journal.exists()


def named(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / name)
    return infer_files.gather([folder])


@pytest.mark.parametrize(
    ("names", "outputs", "words"),
    [
        (["b.jpg"], {"overlay": "in"}, "would be taken for pictures"),
        (["b.jpg"], {"labels": "in/labels"}, "would be taken for pictures"),
        (["a.jpg", "a.jpg.png"], {"overlay": "shown"}, "two of one name"),
        (["a.png"], {"overlay": "x", "labels": "x"}, "different files and folders"),
        (["s/a.png", "a.png"], {"overlay": "x", "labels": "x/s"}, "two outputs would be written to"),
        (["a.png"], {"coco": "x", "overlay": "x/shown"}, "a file and a folder"),
        (["a.png"], {"coco": "x.json", "parquet": "x.images.json"}, r"parquet must be a \.parquet file"),
        (["a.png"], {"coco": "x.csv"}, r"coco must be a \.json file"),
        (["a.png"], {"parquet": "x.csv"}, r"parquet must be a \.parquet file"),
        (["a.png"], {"coco": "in/a.png"}, "must not replace pictures"),
        (["a.png"], {"coco": "a file/x.json"}, "a file is not a folder"),
        (["a.png"], {"labels": "a file/x/y"}, "a file is not a folder"),
        (["a.png"], {"labels": "a file"}, "where a folder of pictures"),
        (["a.png"], {"coco": "in"}, "where a file is to be written"),
        (["a.png"], {"table": "shown/a.png.csv", "overlay": "shown/a.png.csv"}, "different files and folders"),
    ],
)
def test_outputs_that_cannot_all_be_written_are_refused(tmp_path, names, outputs, words):
    pictures = named(tmp_path / "in", *names)
    (tmp_path / "a file").write_text("mine")
    with pytest.raises(ValueError, match=words):
        check_outputs(Outputs(**{name: tmp_path / path for name, path in outputs.items()}), pictures)
    assert (tmp_path / "a file").read_text() == "mine"


def test_outputs_that_are_kept_apart_are_allowed(tmp_path):
    pictures = named(tmp_path / "in", "a.jpg", "s/a.jpg")
    check_outputs(Outputs(coco=tmp_path / "x.json", overlay=tmp_path / "x", labels=tmp_path / "x" / "labels"), pictures)


def test_pictures_of_one_name_in_two_folders_are_refused(tmp_path):
    named(tmp_path, "a/x.png", "b/x.png")
    pictures = infer_files.gather([tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"])
    with pytest.raises(ValueError, match="two of one name"):
        check_outputs(Outputs(overlay=tmp_path / "shown"), pictures)
    check_outputs(Outputs(coco=tmp_path / "k.json"), pictures)


def test_an_empty_name_is_refused(capsys, run, root):
    said = commands.call(capsys, "infer", run, root / "a" / "00.png", "--labels", "")
    assert refused(said, "labels must name a file or folder, got ''")
