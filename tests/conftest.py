"""What all tests share: one small model, and one short training run."""

import gc
import math
import os
import tempfile
from collections import Counter
from importlib import metadata
from pathlib import Path

# The models here are tiny: compiling them takes most of the time, running them none. So nothing is optimised, and all
# processes of a test run share what one of them has compiled; nothing is left in the user's cache.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
# Where in the source each operation comes from, which only profiles tell, took a twentieth of the processor time.
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
# Its threads wait by spinning, which took a sixth of the processor time of trainings with linear backgrounds.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
if metadata.version("jax").startswith("0.10."):
    # Its older code generator compiles in less than half the time; later versions have only the new one. A program that
    # is not split into parts, each for a thread of its own, takes two thirds of the processor time to compile. Some
    # passes that only make programs faster are left out: a tenth of it went into their looking for something to do.
    _passes = "while-loop-constant-sinking", "while-loop-invariant-code-motion", "simplify-while-loops", "reshape-mover"
    os.environ["XLA_FLAGS"] = " ".join(
        (
            "--xla_cpu_use_fusion_emitters=false",
            "--xla_cpu_parallel_codegen_split_count=1",
            f"--xla_disable_hlo_passes={','.join(_passes)}",
        )
    )
if "PYTEST_XDIST_WORKER" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="airjax-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name

import equinox as eqx
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact import enumerated, value_and_flat_gradient

from airjax.config import ModelConfig, TrainConfig
from airjax.learning import trainer
from airjax.models import air, count
from airjax.models.air import AIR, WherePrior
from airjax.models.backgrounds.linear import LinearBackground
from airjax.models.compositor import Add, Over
from airjax.models.likelihood import NormalLikelihood
from airjax.models.patches import draw
from airjax.models.patches.mlp import MLPPatches

# Tracing makes many objects that live long: by default, an eighth of the time went into looking through them.
gc.freeze()
gc.set_threshold(50_000, 20, 20)

UNROLLED = air.UNROLL
air.UNROLL = draw.UNROLL = 1  # a step's program, not one for all steps, is traced and compiled
hypothesis.settings.register_profile("airjax", deadline=None, derandomize=True)
hypothesis.settings.load_profile("airjax")

TINY = ModelConfig(
    max_objects=3,
    window=5,
    hidden=8,
    embed_channels=2,
    embed_hidden=8,
    head_hidden=8,
    code_size=3,
    patch_hidden=8,
    scale=0.42,
    scale_sd=0.1,
    position_sd=0.5,
    sd=0.3,
    count_prior="uniform",
    count_ratio_start=0.5,
    anneal_steps=2,
    learn_count=True,
    learn_count_after=2,
)
TINY_TRAIN = TrainConfig(steps=200, batch=4, learning_rate=1e-2, warmup=2, schedule="constant", chunk=4)


MAPS = Path("/proc/self/maps")
MANY_MAPS = 3_000
"""Memory maps of a process with a few hundred programs; each has several."""


def pytest_collection_modifyitems(items):
    """Begin with experiments and the files that have most of the slow tests, so that none is left alone at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (item.path.name != "test_experiments.py", -slow[item.path]))


@pytest.fixture(autouse=True)
def _programs_are_forgotten():
    """Unload programs when there are many: each makes the next one slower to compile, and takes memory."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY_MAPS:
        forget()


def forget():
    """Unload all compiled programs."""
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def users_unroll():
    """The number of steps that users' programs have in place of a loop."""
    return UNROLLED


@pytest.fixture
def unrolled(monkeypatch):
    """Compile steps without a loop, as users do."""
    monkeypatch.setattr(air, "UNROLL", UNROLLED)


@pytest.fixture(scope="session")
def tiny_config():
    return TINY


@pytest.fixture(scope="session")
def tiny_train_config():
    return TINY_TRAIN


@pytest.fixture(scope="session")
def tiny_images():
    """Ten scenes of 12 x 12 pixels with none, one or two bright squares of 4 pixels."""
    rng = np.random.default_rng(0)
    images = np.zeros((10, 1, 12, 12), np.uint8)
    for index, image in enumerate(images):
        for _ in range(index % 3):
            y, x = rng.integers(0, 9, 2)
            image[:, y : y + 4, x : x + 4] = 230
    return images


@pytest.fixture(scope="session")
def tiny_model():
    """Make models whose every parameter is away from its special initial value."""

    def make(
        shape=(1, 12, 12),
        *,
        counts=(0.4, 0.3, 0.2, 0.1),
        likelihood=None,
        learn_where=True,
        rough=0.3,
        seed=0,
        dtype=jnp.float32,
        embed_channels=0,
        embed_hidden=0,
        over=False,
        **options,
    ):
        patch_key, model_key = jax.random.split(jax.random.PRNGKey(seed))
        with jax.enable_x64(False):
            model = AIR(
                shape,
                MLPPatches((shape[0] + over, 5, 5), code_size=3, hidden=8, output_bias=-1.0, key=patch_key),
                likelihood or NormalLikelihood(0.3, learn=True),
                WherePrior(0.42, 0.3, 0.5, learn=learn_where),
                jnp.asarray(count.table(counts, len(counts) - 1)),
                window=5,
                hidden=8,
                embed_channels=embed_channels,
                embed_hidden=embed_hidden,
                head_hidden=8,
                compositor=Over() if over else Add(),
                key=model_key,
                **options,
            )
        rng, log_prior = np.random.default_rng(seed), np.log(counts)
        shaken = lambda x: np.asarray(x) + rough * rng.standard_normal(x.shape)  # by numpy, which compiles nothing
        noisy = jax.tree.map(lambda x: jnp.array(shaken(x), dtype), model)
        return eqx.tree_at(lambda m: m.count_log_prior, noisy, jnp.asarray(log_prior, dtype))

    return make


@pytest.fixture(scope="session")
def rich_model(tiny_model):
    """A model with all there can be, in double precision: objects that cover a background, integrated out exactly."""
    with jax.enable_x64(True):
        background = LinearBackground((1, 12, 12), components=2, outlier=math.inf)
        return tiny_model(dtype=jnp.float64, background=background, over=True)


@pytest.fixture(scope="session")
def exact(rich_model):
    """The rich model's bound and its gradient by all parameters, for fixed noise, from the definition."""
    with jax.enable_x64(True):
        return value_and_flat_gradient(enumerated, rich_model)


@pytest.fixture(scope="session")
def train_tiny(tiny_images):
    """Train from scratch in chunks of the given numbers of steps: the last state, and every step's information."""

    def run(chunks, *, model_config=TINY, config=TINY_TRAIN, patches=None):
        state = trainer.init(model_config, config, tiny_images.shape[1:], patches)
        fixed = jnp.asarray(tiny_images), config, trainer.step_with(model_config)
        infos, first = [], 0
        for steps in chunks:
            rows = jnp.asarray(trainer.batch_indices(config, len(tiny_images), first, steps))
            state, info = trainer.run_chunk(fixed, state, rows)
            infos.append(jax.tree.map(np.asarray, info))
            first += steps
        return state, jax.tree.map(lambda *x: np.concatenate(x), *infos)

    return run


@pytest.fixture(scope="session")
def trained(train_tiny):
    """The state after eight steps, in two chunks of four, and what they told of themselves."""
    return train_tiny((4, 4))
