#!/usr/bin/env bash
# `jnp.asarray(x)` of a numpy array compiles and runs a program, a new one for each shape. If x's own type is stated,
# `jnp.asarray(x, x.dtype)`, nothing is compiled, although it asks for the same; nor by `jax.device_put(x)`. A program
# takes about ten milliseconds, which adds up where shapes are many, such as the weights of a model that is loaded.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2
for way in 'jnp.asarray(x)' 'jnp.asarray(x, x.dtype)' 'jax.device_put(x)'; do
    JAX_PLATFORMS=cpu "$folder/env/bin/python" - "$way" <<'PYTHON'
import sys
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np

ways = {
    "jnp.asarray(x)": jnp.asarray,
    "jnp.asarray(x, x.dtype)": lambda x: jnp.asarray(x, x.dtype),
    "jax.device_put(x)": jax.device_put,
}
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: compiled.append(seconds) if name.endswith("backend_compile_duration") else None
)


def programs(length):
    """Count the programs that are compiled for an array of this length."""
    compiled.clear()
    jax.block_until_ready(ways[sys.argv[1]](np.ones(length, np.float32)))
    return len(compiled)


counts = [programs(length) for length in (10, 11, 12, 10)]
print(f"jax {version('jax')}, {sys.argv[1]}: programs compiled for lengths 10, 11, 12 and 10 again: {counts}")
assert counts == ([1, 1, 1, 0] if sys.argv[1] == "jnp.asarray(x)" else [0, 0, 0, 0])
PYTHON
done
