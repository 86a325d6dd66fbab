#!/usr/bin/env bash
# Once `jax.distributed.initialize` has been called, SIGTERM no longer ends a program. JAX's preemption service takes the
# signal, to announce it to programs that ask for it, and a program that doesn't ask runs on to its end. So `kill PID`,
# `timeout`, or a scheduler's polite request do nothing, even to a program of one process. With the option
# `jax_enable_preemption_service` switched off, SIGTERM ends it at once, as it ends any Python program.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat > "$folder/program.py" <<'PYTHON'
import socket
import sys
import time

import jax

if sys.argv[1] == "off":
    jax.config.update("jax_enable_preemption_service", False)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
jax.distributed.initialize(address, num_processes=1, process_id=0)
print("ready", flush=True)
time.sleep(5)
print("ran to its end", flush=True)
PYTHON
"$folder/env/bin/python" - "$folder/program.py" <<'PYTHON'
import signal
import subprocess
import sys
from importlib.metadata import version

print(f"jax {version('jax')}")
for service, ended in (("on", (0, "ran to its end")), ("off", (-signal.SIGTERM, ""))):
    program = subprocess.Popen(
        [sys.executable, sys.argv[1], service], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert program.stdout.readline() == "ready\n"
    program.terminate()
    said = program.stdout.read().strip()
    code = program.wait()
    print(f"preemption service {service}, SIGTERM sent: exit code {code}, the program said {said!r}")
    assert (code, said) == ended
PYTHON
