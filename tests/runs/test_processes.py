"""How processes find their place, from flags and environments; `distributed/` starts real ones."""

import importlib.util
from dataclasses import replace

import jax
import numpy as np
import pytest

from airjax.config import Config, TrainConfig
from airjax.runs import processes
from airjax.runs.processes import Place, find_place

SLURM = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_NODELIST": "node[003-004]",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "2"}


def test_flags_tell_the_place():
    assert find_place("a:1", 2, 1, {}) == Place("a:1", 2, 1)
    assert find_place("[::1]:80", 2, 0, {}) == Place("[::1]:80", 2, 0)


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        (SLURM, Place(None, 2, 1)),
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}, None),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, None),
        ({name: value for name, value in SLURM.items() if name != "SLURM_STEP_NODELIST"}, None),
        (OPEN_MPI, Place(None, 4, 3)),
        (OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}, None),
    ],
)
def test_environments_tell_the_place_where_there_are_several(environment, place):
    assert find_place(environment=environment) == place


@pytest.mark.parametrize("installed", [True, False])
def test_kubernetes_is_asked_where_its_package_is_installed(monkeypatch, installed):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed or None)
    assert find_place(environment=KUBERNETES) == (Place(None, None, 2) if installed else None)


def test_jax_finds_what_we_find(monkeypatch):
    from jax._src.clusters import ClusterEnv  # not public, but what `jax.distributed.initialize` asks

    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    address, number, own, local = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, 1)
    assert find_place() == Place(None, number, own)
    assert (address.split(":")[0], local) == ("node003", [0])


def test_flags_win_and_the_environment_tells_the_rest():
    assert find_place("a:1", environment=OPEN_MPI) == Place("a:1", 4, 3)
    assert find_place("a:1", 8, 0, OPEN_MPI) == Place("a:1", 8, 0)
    assert find_place(processes=1, environment=SLURM) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("a:1", 2, 2), "process_id must be from 0 to processes - 1 = 1, got 2"),
        (("a:1", 2, -2), "process_id must be from 0"),
        (("a:1", 0, 0), "processes must be at least 1, got 0"),
        (("a", 2, 0), "HOST:PORT"),
        ((":80", 2, 0), "HOST:PORT"),
        (("a:0", 2, 0), "HOST:PORT"),
        (("a:65536", 2, 0), "HOST:PORT"),
        (("a:b", 2, 0), "HOST:PORT"),
        (("a:1", 2, None), "given together"),
        ((None, 2, 0), "given together"),
        ((None, None, 0), "given together"),
    ],
)
def test_wrong_places_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        find_place(*given, {})


def test_open_mpi_that_tells_no_address_is_refused(monkeypatch):
    for name, value in OPEN_MPI.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    with pytest.raises(ValueError, match="give --coordinator"):
        processes.join(find_place(), 1)


def test_alone_a_process_is_the_first_and_waits_for_nobody():
    assert processes.is_first()
    assert processes.first_does(lambda: 3) == 3
    tree = [np.ones(2)]
    assert processes.from_first(tree) is tree
    processes.check_alike(Config(), np.zeros((1, 1, 2, 2), np.uint8))


@pytest.fixture
def beside(monkeypatch):
    """Let this process believe that it is one of two; what it is told by the other one is given."""

    def make(index, told=None):
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(jax, "process_index", lambda: index)
        said = []
        monkeypatch.setattr(processes, "from_first", lambda x: said.append(x) or (x if told is None else told))
        return said

    return make


def test_what_fails_in_process_0_fails_everywhere(beside):
    said = beside(0)
    with pytest.raises(KeyError, match="no such"):
        processes.first_does(lambda: {}["no such"])
    assert bytes(said[0]).startswith(b"'no such'\0")
    beside(1, told=said[0])
    with pytest.raises(ValueError, match="no such"):
        processes.first_does(lambda: pytest.fail("done by another process than the first"))


def test_what_process_0_does_is_not_done_elsewhere(beside):
    beside(1, told=np.zeros(9, np.uint8))
    assert processes.first_does(lambda: pytest.fail("done by another process than the first")) is None


@pytest.mark.parametrize("what", ["settings", "training scenes", None])
def test_other_settings_or_data_are_refused(beside, monkeypatch, what):
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 4)).astype(np.uint8)
    others = np.flip(images) if what == "training scenes" else images
    config = replace(Config(), train=TrainConfig(seed=1)) if what == "settings" else Config()
    beside(1)
    digests = []
    gather = processes.multihost_utils
    monkeypatch.setattr(gather, "process_allgather", lambda own: digests.append(own) or own[None])
    processes.check_alike(Config(), images)
    monkeypatch.setattr(gather, "process_allgather", lambda own: np.stack([digests[0], own]))
    if what is None:
        processes.check_alike(config, others)
        return
    with pytest.raises(ValueError, match=f"the same {what}, but those of process 1"):
        processes.check_alike(config, others)


def test_where_data_lie_may_differ(tmp_path):
    images = np.zeros((2, 1, 2, 2), np.uint8)
    here, there = (replace(Config(), data=replace(Config().data, name=name)) for name in ("/a/x.npz", "/b/x.npz"))
    assert processes._compared(here, images) == processes._compared(there, images)
