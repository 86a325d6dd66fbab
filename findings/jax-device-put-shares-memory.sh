#!/usr/bin/env bash
# `jax.device_put(x, may_alias=False)` is documented to copy x. On a CPU it does not copy a numpy array whose memory is
# aligned to 64 bytes, as that of large arrays often is: what is written to x later shows in the JAX array, which should
# never change. An array that starts elsewhere is copied, so the same code is right or wrong by chance. `jnp.array`
# copies both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np

print(f"jax {version('jax')}")
memory = np.zeros(4096 + 128, np.uint8)
aligned = -memory.ctypes.data % 64
ways = {
    "device_put": jax.device_put,
    "device_put(may_alias=False)": lambda x: jax.device_put(x, may_alias=False),
    "jnp.array": jnp.array,
}


def changes(way, offset):
    """Tell whether a JAX array changes when the numpy array that it was made from does."""
    x = memory[aligned + offset :][:4096].view(np.float32)
    x[:] = 1.0
    y = jax.block_until_ready(way(x))
    x[:] = 2.0
    return float(y[0]) == 2.0


seen = {name: tuple(changes(way, offset) for offset in (0, 16)) for name, way in ways.items()}
for name, (at_64, elsewhere) in seen.items():
    print(f"{name}: changes with the numpy array if that is aligned to 64 bytes: {at_64}; if not: {elsewhere}")
assert list(seen.values()) == [(True, False), (True, False), (False, False)]
PYTHON
