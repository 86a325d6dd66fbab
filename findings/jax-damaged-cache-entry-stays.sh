#!/usr/bin/env bash
# JAX keeps compiled programs in a folder and writes each in place, not under another name first, so a process that is
# killed while it writes one leaves a part of it. Such a part is never replaced: every later process warns that it can't
# be read, compiles again, finds that a file of that name exists, and writes nothing. Results are right, but the program
# is compiled at every start until somebody removes the file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2
cat > "$folder/program.py" <<'PYTHON'
import jax
import jax.numpy as jnp

print(float(jax.jit(lambda x: jnp.sum(jnp.sin(x) ** 2 + jnp.cos(x) ** 2))(jnp.arange(8.0))))
PYTHON
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

print(f"jax {version('jax')}")
kept = Path(sys.argv[1]) / "kept"
settings = {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": str(kept),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


def run():
    command = [sys.executable, f"{sys.argv[1]}/program.py"]
    said = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
    assert said.stdout == "8.0\n", said.stdout
    return said.stderr.count("Error reading persistent compilation cache entry")


print(f"programs that can't be read at the first and second start: {run()}, {run()}")
assert run() == 0
entries = sorted(kept.glob("*-cache"))
for entry in entries:
    entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])
sizes = [entry.stat().st_size for entry in entries]
warned = [run() for _ in range(3)]
print(f"cut to half, as a kill leaves them; at the next three starts: {warned}")
assert min(warned) > 0
assert [entry.stat().st_size for entry in entries] == sizes
print("their files are as short as before")
PYTHON
