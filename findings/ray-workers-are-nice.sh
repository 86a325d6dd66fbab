#!/usr/bin/env bash
# Ray's workers run at niceness 15, so beside any other busy program on the machine, a pool of actors that computes all
# the time gets a small share of the processor: measurements of inference on a machine that is not idle are several times
# too slow. The driver runs at niceness 0. An environment variable, `RAY_worker_niceness=0`, set before Ray is started,
# makes workers equal to other programs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0
cat > "$folder/program.py" <<'PYTHON'
import logging
import os

import ray

ray.init(num_cpus=1, include_dashboard=False, logging_level=logging.ERROR)


@ray.remote
class Worker:
    def niceness(self):
        return os.getpriority(os.PRIO_PROCESS, 0)


print(os.getpriority(os.PRIO_PROCESS, 0), ray.get(Worker.remote().niceness.remote()))
PYTHON
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import version

print(f"ray {version('ray')}")
quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": sys.argv[1]}
for more, expected in (({}, "0 15"), ({"RAY_worker_niceness": "0"}, "0 0")):
    command = [sys.executable, f"{sys.argv[1]}/program.py"]
    said = subprocess.run(command, env=os.environ | quiet | more, capture_output=True, text=True, check=True)
    print(f"{more or 'by default'}: niceness of driver and worker: {said.stdout.strip()}")
    assert said.stdout.split("\n")[-2] == expected
PYTHON
