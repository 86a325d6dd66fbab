"""The job files of the documentation: schedulers take them, and airjax takes the commands in them."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from airjax.config import TrainConfig
from airjax.interfaces import cli
from airjax.runs.processes import Place, find_place

MACHINES = Path(__file__).parents[2] / "docs" / "machines"
KUBERNETES, SLURM = MACHINES / "kubernetes.yaml", MACHINES / "slurm.sh"


@pytest.fixture(scope="module")
def manifests():
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(KUBERNETES.read_text()))


@pytest.fixture(scope="module")
def job(manifests):
    (found,) = [manifest for manifest in manifests if manifest["kind"] == "Job"]
    return found


def parsed(words):
    """Parse a command; return what is given for each argument."""
    cli.app.config = ()
    _, bound, _ = cli.app.parse_args(words, exit_on_error=False, print_error=False)
    return bound.arguments


def container(job):
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return only


def test_manifests_are_those_of_kubernetes(manifests):
    validator = pytest.importorskip("kubernetes_validate")
    for manifest in manifests:
        validator.validate(manifest, validator.latest_version(), strict=True)
    wrong = {**manifests[-1], "spec": {**manifests[-1]["spec"], "completionMod": "Indexed"}}
    with pytest.raises(validator.ValidationError):
        validator.validate(wrong, validator.latest_version(), strict=True)


def test_every_pod_has_its_place_and_finds_the_first_one(manifests, job):
    words, number = [*container(job)["command"], *container(job)["args"]], job["spec"]["completions"]
    assert words[0] == "airjax"
    assert job["spec"]["parallelism"] == number
    (service,) = [manifest for manifest in manifests if manifest["kind"] == "Service"]
    name, subdomain = job["metadata"]["name"], job["spec"]["template"]["spec"]["subdomain"]
    assert service["metadata"]["name"] == subdomain
    assert service["spec"]["selector"] == {"job-name": name}
    for index in range(number):
        given = parsed([word.replace("$(JOB_COMPLETION_INDEX)", str(index)) for word in words[1:]])
        place = find_place(given["coordinator"], given["processes"], given["process_id"], {})
        assert place == Place(f"{name}-0.{subdomain}:12345", number, index)
    assert {port["port"] for port in service["spec"]["ports"]} == {12345}
    assert given["training"].batch % number == 0


def test_what_pods_mount_is_declared(manifests, job):
    declared = {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container(job)["volumeMounts"]} == declared
    claims = [manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "PersistentVolumeClaim"]
    assert job["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] in claims


def test_the_slurm_job_starts_a_training_that_its_processes_can_share():
    subprocess.run(["bash", "-n", str(SLURM)], check=True)
    text = SLURM.read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", text, re.MULTILINE))
    (line,) = [line for line in text.splitlines() if line.startswith("srun ")]
    words = shlex.split(line)
    given = parsed(words[words.index("airjax") + 1 :])
    tasks = int(options["nodes"]) * int(options["ntasks-per-node"])
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert given["training"].batch % tasks == 0
    assert given["training"].batch != TrainConfig().batch
    assert not {"coordinator", "processes", "process_id"} & given.keys()
