"""Steps that change a block of the canvas alone find what steps on the whole canvas find, wherever windows lie."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from airjax.learning import bounds
from airjax.models import attention
from airjax.models.air import AIR
from airjax.models.attention import Attention, error_map, unexplained, update_error_map
from airjax.models.backgrounds.fixed import FixedBackground
from airjax.models.backgrounds.linear import LinearBackground
from airjax.models.backgrounds.smooth import SmoothBackground
from airjax.models.likelihood import NormalLikelihood
from airjax.models.windows import block_around

SHAPE, BLOCK = (2, 26, 34), 18
KEY = jax.random.PRNGKey(7)
SMALL, SOMEWHERE = (jnp.log(0.28), 0.0, 0.0), (0.1, 0.8, 0.8)
"""Mean and standard deviation of windows (log scale, x, y): some of them lie partly or wholly beyond the border."""
BACKGROUNDS = {
    "black": lambda: None,
    "picture": lambda: FixedBackground(SHAPE, uniform=False),
    "smooth": lambda: SmoothBackground(SHAPE),
    "linear": lambda: LinearBackground(SHAPE, components=3),
}


def image_of(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random(shape))


@pytest.fixture
def same_noise(monkeypatch):
    """Let all steps fixate the likeliest cell: noise of another form chooses from blocks than from whole canvases."""
    rng = np.random.default_rng(0)
    where, what = (jnp.asarray(rng.standard_normal((3, 3))) for _ in range(2))
    monkeypatch.setattr(AIR, "_noise", lambda self, key: (where, what, None))


@pytest.fixture(scope="module")
def make(tiny_model):
    """Make a model whose windows are about half of `BLOCK` wide."""

    def make(block, **options):
        model = tiny_model(
            SHAPE,
            likelihood=NormalLikelihood(0.3, gain=0.2),
            block=block,
            attention=4,
            inhibition=0.5,
            rough=0.1,
            **options,
        )
        prior, network = lambda m: m.where_prior.normal, lambda m: m.recogniser
        at = lambda m: (prior(m).mean, prior(m).log_sd, network(m).attention.log_scale, network(m).head.layers[-1].bias)
        bias = at(model)[-1]
        of_windows = jnp.asarray([*SMALL, *np.log(SOMEWHERE)], bias.dtype)
        new = of_windows[:3], of_windows[3:], of_windows[0], bias.at[1:].set(of_windows)
        return eqx.tree_at(at, model, new)

    return make


def objective(model, image):
    """Add the bound of an image and that of one whose objects are known, one of them partly beyond the border."""
    bound = bounds.marginal(model.infer(image, key=KEY), model.count_log_prior)
    where = jnp.asarray([[*SMALL], [SMALL[0], 0.95, -0.9], [SMALL[0], -1.4, 0.0]])
    given = model.infer_given(image, where, jnp.asarray(2), key=KEY)
    return bound + given.log_joint + given.log_q


@pytest.mark.slow
@pytest.mark.usefixtures("same_noise")
@pytest.mark.parametrize(
    ("background", "over"), [("black", False), ("picture", True), ("smooth", False), ("smooth", True)]
)
def test_bound_and_gradient_are_those_of_the_whole_canvas(make, background, over):
    with jax.enable_x64(True):
        options = {"background": BACKGROUNDS[background](), "over": over, "dtype": jnp.float64}
        found = []
        for block in (None, BLOCK):
            model = make(block, **options)
            value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(objective))(model, image_of(*SHAPE))
            found.append((value, ravel_pytree(gradient)[0]))
        (whole, of_whole), (local, of_local) = found
        np.testing.assert_allclose(local, whole, rtol=1e-6)
        np.testing.assert_allclose(of_local, of_whole, rtol=1e-4, atol=1e-5 * np.abs(of_whole).max())


def test_the_windows_of_these_tests_leave_most_of_the_canvas_and_some_lie_beyond_it(make):
    model = make(BLOCK)
    keys = jax.random.split(KEY, 30)
    infer = jax.jit(jax.vmap(lambda key: model.infer(image_of(*SHAPE), key=key).steps.where))
    where = infer(keys).reshape(-1, 3)
    sides = jnp.exp(where[:, 0]) * SHAPE[2]
    assert float(sides.max()) < BLOCK - 1
    beyond = jnp.abs(where[:, 1:]).max(axis=1)
    assert 3 < int((beyond > 1).sum()) < 60


@pytest.mark.parametrize("over", [False, True])
def test_likelihoods_are_those_of_the_canvases_given_the_empty_scenes_background(make, over):
    """With a linear background this differs from steps on the whole canvas, which infer its code again."""
    model, image = make(BLOCK, background=BACKGROUNDS["linear"](), over=over), image_of(*SHAPE)
    trajectory, layers = eqx.filter_jit(lambda model: model.infer_layers(image, key=KEY))(model)
    empty = trajectory.empty_canvas
    lay = lambda objects: model.background.lay(trajectory.scene.value, objects)
    np.testing.assert_allclose(jax.vmap(lay)(layers), trajectory.steps.canvas, atol=1e-5)
    log_prob = lambda canvas: model.likelihood.log_prob(image, canvas, canvas - empty)
    expected = jax.vmap(log_prob)(trajectory.steps.canvas)
    price = log_prob(empty) - trajectory.empty_log_likelihood
    assert float(price) > 0
    np.testing.assert_allclose(trajectory.steps.log_likelihood, expected - price, rtol=1e-4)


def test_an_object_changes_nothing_outside_of_its_block(make):
    model = make(6)
    where, what = jnp.asarray([0.0, 0.3, 0.2]), jnp.ones(model.code_size)
    changed = np.argwhere(np.abs(np.asarray(model.place(where, what))).max(axis=0) > 0)
    assert np.ptp(changed, axis=0).tolist() == [5, 5]
    whole = make(None).place(where, what)
    rows, columns = (slice(low, low + 6) for low in changed.min(axis=0))
    np.testing.assert_allclose(model.place(where, what)[:, rows, columns], whole[:, rows, columns], atol=1e-5)


@pytest.mark.parametrize("centre", [(0.0, 0.0), (-1.0, 0.97), (3.0, -3.0), (0.41, -0.86)])
def test_an_error_map_follows_what_changes_in_a_block(centre):
    before = image_of(2, 90, 118)
    block = block_around(jnp.asarray(centre), 22, (90, 118))
    part = image_of(2, 22, 22, seed=1)
    updated = update_error_map(error_map(before), block.cut(before), part, block)
    np.testing.assert_allclose(updated, error_map(block.put(before, part)), rtol=1e-4)
    assert float(jnp.abs(updated - error_map(before)).max()) > 0.01


def test_attention_finds_the_same_place_within_blocks():
    shape = (2, 90, 118)
    network = Attention(shape, 6, jnp.log(jnp.asarray(0.15)), key=KEY)
    for seed, at in enumerate([(10, 80), (0, 0), (84, 112), (45, 60)]):
        residual = 0.1 * image_of(*shape, seed=seed)
        residual = residual.at[:, at[0] : at[0] + 7, at[1] : at[1] + 7].set(1.0)
        error = error_map(residual)
        np.testing.assert_allclose(error.reshape(-1), unexplained(residual).error, rtol=1e-5)
        within = network.within(lambda block, x=residual: block.cut(x), error, 40, None)
        whole = network(residual, jnp.zeros(network.cells))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-3), within, whole)


def test_cells_are_chosen_in_proportion_to_a_power_of_their_error():
    error = jnp.asarray(np.random.default_rng(0).random((3, 4)))
    noise = jax.random.normal(KEY, (20_000, 2))
    rows, columns = jax.vmap(lambda noise: attention._chosen(error, noise))(noise)
    counted = np.bincount(np.asarray(4 * rows + columns), minlength=12) / len(noise)
    expected = np.ravel(error + attention.FAINT) ** attention.CONTRAST
    np.testing.assert_allclose(counted, expected / expected.sum(), atol=0.015)
    largest = jnp.unravel_index(jnp.argmax(error), error.shape)
    assert tuple(map(int, attention._chosen(error, None))) == tuple(map(int, largest))


@pytest.mark.usefixtures("same_noise")
def test_a_block_may_be_larger_than_the_canvas(make):
    image = image_of(*SHAPE)
    whole, local = (make(block).infer(image, key=KEY) for block in (None, 100))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3), whole, local)
