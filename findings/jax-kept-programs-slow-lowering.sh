#!/usr/bin/env bash
# The more programs a process keeps, the longer JAX takes to lower the next one, although they have nothing to do with
# one another: with 1,500 programs of one addition each, three times as long as with none. MLIR notes the contexts of
# all of them for each thread, and a new context looks through the notes again and again. Programs are kept as long as
# their functions live, and JAX's own functions always do: every shape that `jnp` meets adds some. Long test runs get
# slower and slower by it; `jax.clear_caches()` now and then makes them quick again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2
JAX_PLATFORMS=cpu "$folder/env/bin/python" <<'PYTHON'
import statistics
import time
from importlib.metadata import version

import jax
import numpy as np

numbers = iter(range(10_000))
x = np.zeros(3, np.float32)


def lower():
    """Lower a new program, and measure the processor time."""
    number, before = next(numbers), time.process_time()
    lowered = jax.jit(lambda x: x + number).lower(x)
    return lowered, time.process_time() - before


def milliseconds(of=50):
    """Take the median time of programs that are forgotten at once."""
    return 1000 * statistics.median(lower()[1] for _ in range(of))


milliseconds()
none = milliseconds()
kept = [lower()[0] for _ in range(1_500)]
many = milliseconds()
del kept
jax.clear_caches()
again = milliseconds()
print(f"jax {version('jax')}: milliseconds to lower a program with none kept, with 1,500, and with none again: "
      f"{none:.1f}, {many:.1f}, {again:.1f}")
assert many > 1.7 * none, "kept programs no longer matter"
assert again < many / 1.5, "the caches were cleared, and it is still slow"
PYTHON
