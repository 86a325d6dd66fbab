"""Guard the cost of training by figures that don't depend on the machine: `python tests/test_cost.py` stores them anew.

Operations and bytes are XLA's own count for one training step of each preset, after its optimisations; they differ a
little between versions of jax, hence the margins. Times are measured by benchmarks/.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from airjax.learning import trainer
from airjax.runs import presets

STORED = Path(__file__).with_name("cost.json")
PRESETS = ["default", "fast", "paper"]
OF_TESTS = "JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_COMPILATION_CACHE_DIR"
"""What conftest.py sets, and users do not."""
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""Flags of XLA for quicker machine code, which comes after everything that is counted."""
MARGINS = {"operations": 0.05, "bytes": 0.15, "temporary_bytes": 0.25, "instructions": 0.15}


def cost_of(name: str) -> dict[str, float]:
    """Compile one training step as users run it, and ask XLA what it costs."""
    config = presets.load(name)
    state = jax.eval_shape(lambda: trainer.init(config.model, config.train, (1, 50, 50)))
    batch = jax.ShapeDtypeStruct((config.train.batch, 1, 50, 50), jnp.uint8)
    compiled = jax.jit(lambda s, b: trainer.step(config.model, config.train, s, b)).lower(state, batch).compile()
    analysis = compiled.cost_analysis()
    return {
        "operations": analysis["flops"],
        "bytes": analysis["bytes accessed"],
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "instructions": sum(" = " in line for line in compiled.as_text().split("ENTRY")[-1].splitlines()),
    }


@pytest.fixture(scope="module")
def costs():
    """What a step of each preset costs now."""
    # In a process of its own: the other tests compile without optimisations, by another code generator.
    kept = {variable: value for variable, value in os.environ.items() if variable not in OF_TESTS}
    command = [sys.executable, __file__, *PRESETS]
    run = subprocess.run(command, stdout=subprocess.PIPE, env=kept | {"XLA_FLAGS": QUICK}, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_a_step_costs_no_more_than_it_did(costs, name):
    now, stored = costs[name], json.loads(STORED.read_text())[name]
    for figure, margin in MARGINS.items():
        assert now[figure] <= stored[figure] * (1 + margin), (
            f"{figure} of {name}: {now[figure]:.4g}, was {stored[figure]:.4g}"
        )


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps({name: cost_of(name) for name in sys.argv[1:]}))
    else:
        STORED.write_text(json.dumps({name: cost_of(name) for name in PRESETS}, indent=1) + "\n")
