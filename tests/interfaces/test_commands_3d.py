"""Every command on solids in 3D: the same as on any other data set."""

import json

import numpy as np
import pytest
from commands import call, refused
from opengl import by_mujoco
from PIL import Image

import airjax
from airjax.data import Scenes, save_npz
from airjax.data.tables import tables
from airjax.interfaces.cli import main
from airjax.interfaces.console import print_images
from airjax.models.air3d.model import AIR3D
from airjax.render3d import ONE_SOLID
from airjax.runs.log import read_metrics
from airjax.runs.record import read_record
from airjax.sklearn import AIR

pytestmark = pytest.mark.slow

QUICK = (
    *("--scenes", "16", "--held-out-scenes", "8", "--canvas", "12", "--steps", "2", "--batch", "4", "--chunk", "1"),
    *("--embed-channels", "2", "--embed-hidden", "8", "--head-hidden", "8", "--quiet"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("solids") / "run"
    assert main(["train", "solids", *QUICK, "--out", str(folder)]) == 0
    return folder


def test_a_data_set_in_3d_brings_its_settings_and_flags_win(run):
    config = read_record(run).config
    assert (config.model.objects, config.model.max_objects, config.data.counts) == ("solids", 1, (1,))
    assert (config.data.canvas, config.train.batch) == (12, 4)


def test_scores_tell_identities_and_poses(capsys, run):
    scores = json.loads(call(capsys, "evaluate", run, "--samples", 2, "--json").out)
    for name in ("count_accuracy_mode", "matched", "elbo"):
        assert isinstance(scores[name], float)
    for name in ("identity_accuracy", "position_error", "rotation_error_deg"):
        assert name in scores


def test_a_run_is_scored_on_the_same_scenes_drawn_by_another_renderer(capsys, run, tmp_path):
    by_mujoco(ONE_SOLID, (12, 12))
    command = ("evaluate", run, "--samples", 2, "--json")
    own, other = (json.loads(call(capsys, *command, *more).out) for more in ((), ("--renderer", "mujoco")))
    assert own.keys() == other.keys()
    assert own["elbo"] != other["elbo"]
    assert np.isfinite(other["elbo"])
    save_npz(tmp_path / "bare.npz", Scenes(np.zeros((1, 12, 12, 3), np.uint8)))
    bare = ("--on", tmp_path / "bare.npz", "--renderer", "mujoco")
    assert refused(call(capsys, *command, *bare), "counts, labels and poses")


def test_poses_are_scored_during_training(run):
    logged = [line for line in read_metrics(run) if "held_out_elbo" in line]
    assert logged
    assert all(0.0 <= line["held_out_matched"] <= 1.0 for line in logged)


def test_an_image_is_told_by_identity_and_pose(capsys, run, tmp_path):
    image = tables(ONE_SOLID, 1, seed=0, counts=(1,), canvas=12).images[0]
    Image.fromarray(image).save(tmp_path / "a.png")
    printed = json.loads(call(capsys, "infer", run, tmp_path / "a.png", "--samples", 2, "--json").out)
    assert len(printed["images"][0]["objects"]) == printed["images"][0]["count"]


def test_people_are_told_identity_pose_and_camera(capsys):
    cup = {"identity": "cup", "position": [0.1, -0.2], "rotation_deg": 71.26, "box": [1, 2, 3, 4], "presence": 0.9}
    image = {"image": "a.png", "count": 1, "count_posterior": [0, 1], "azimuth_deg": 12.34, "objects": [cup]}
    print_images([image], as_json=False)
    said = capsys.readouterr().out
    assert "camera at 12.3 degrees" in said
    assert "cup at [0.1, -0.2], turned by 71.3 degrees, box [1, 2, 3, 4], presence 0.9000" in said


def test_samples_figures_and_exports(capsys, run, tmp_path):
    call(capsys, "sample", run, "--out", tmp_path / "samples.png", "--n", 4)
    assert str(run / "pictures" / "turntable.gif") in call(capsys, "figures", run).out
    call(capsys, "export", run, "--out", tmp_path / "model")
    model = airjax.load(tmp_path / "model")
    assert isinstance(model, AIR3D)
    images = np.zeros((2, 3, 12, 12), np.uint8)
    np.testing.assert_array_equal(airjax.find(model, images).what, airjax.find(airjax.load_model(run), images).what)


def test_only_the_marginal_objective_knows_identities(capsys, tmp_path):
    flags = ("--objective", "nvil", *QUICK, "--out", tmp_path / "run")
    assert refused(call(capsys, "train", "crockery", *flags), "objective")
    assert not (tmp_path / "run").exists()


def test_settings_of_a_data_set_are_taken_wherever_its_name_stands(capsys, tmp_path):
    flags = ("--objective", "nvil", *QUICK, "--out", tmp_path / "run")
    assert refused(call(capsys, "train", *flags, "crockery"), "objective")


def test_an_estimator_is_for_patches(run):
    with pytest.raises(ValueError, match="patches, not of solids"):
        AIR.from_pretrained(run)
