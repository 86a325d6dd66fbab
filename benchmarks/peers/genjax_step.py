"""Time training steps of GenJAX's AIR example with its own trainer; run it with GenJAX's Python.

    python genjax_step.py CHECKOUT SCENES.npz --estimator mvd --steps 20

CHECKOUT is a checkout of GenJAX with examples/air. Prints one JSON object.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

EPOCHS = 3


def synchronised_clock() -> float:
    """Return the time after all dispatched work is done; the trainer's own clock doesn't wait for it."""
    import jax

    for array in jax.live_arrays():
        array.block_until_ready()
    return time.perf_counter()


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--estimator", choices=["mvd", "reinforce", "enum", "hybrid"], default="mvd")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--window", type=int, default=28)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.checkout))
    import jax
    import jax.numpy as jnp
    from examples.air import core

    core.time = SimpleNamespace(perf_counter=synchronised_clock)
    # Three epochs of steps / 2 batches: the first one compiles, the other two are timed.
    per_epoch = max(1, arguments.steps // 2)
    data = np.load(arguments.scenes, allow_pickle=False)
    scenes = arguments.batch * per_epoch
    result = core.train_air(
        jnp.asarray(data["images"][:scenes], jnp.float32) / 255,
        jnp.asarray(data["counts"][:scenes], jnp.int32),
        estimator=arguments.estimator,
        config=replace(core.DEFAULT_CONFIG, window_size=arguments.window),
        num_epochs=EPOCHS,
        batch_size=arguments.batch,
        learning_rate=1e-3,
        evaluate_accuracy_every=0,
    )
    ends = np.asarray(result.epoch_times, float)
    steps = 1e3 * np.diff(ends) / per_epoch
    compile_s = float(ends[0] - np.median(steps) * per_epoch / 1e3)
    print(json.dumps({"step_ms": steps.tolist(), "compile_s": compile_s, "versions": {"jax": jax.__version__}}))


if __name__ == "__main__":
    main()
