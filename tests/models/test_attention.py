import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.models import attention
from airjax.models.attention import Attention, unexplained

KEY = jax.random.PRNGKey(5)
SHAPE = (2, 22, 40)
SPOT = (slice(None), slice(4, 7), slice(29, 32))
"""Pixels whose centre is that of pixel (5, 30)."""
CENTRE = ((2 * 30 + 1) / 40 - 1, (2 * 5 + 1) / 22 - 1)


@pytest.fixture(scope="module")
def spotted():
    return jnp.zeros(SHAPE).at[SPOT].set(0.8)


@pytest.fixture(scope="module")
def network():
    return Attention(SHAPE, 6, jnp.log(jnp.asarray(0.3)), key=KEY)


@pytest.fixture(scope="module")
def still(network):
    """The same, but looks don't move it."""
    return eqx.tree_at(lambda a: (a.shift.weight, a.shift.bias), network, replace_fn=jnp.zeros_like)


def test_a_uniform_error_is_the_same_from_every_cell():
    there = unexplained(jnp.full(SHAPE, 0.5))
    np.testing.assert_allclose(there.error, np.full(6 * 10, 2 * 0.25), rtol=1e-5)


def test_where_nothing_is_left_cells_look_at_their_own_centres():
    there = unexplained(jnp.zeros(SHAPE))
    expected = [((2 * column + 1) / 10 - 1, (2 * row + 1) / 6 - 1) for row in range(6) for column in range(10)]
    np.testing.assert_allclose(there.centre, expected, atol=1e-6)


def test_from_every_cell_that_sees_it_a_spots_centre_is_the_same(spotted):
    there = unexplained(spotted)
    near = np.asarray(there.error) > 0.05
    assert 4 < near.sum() < 20
    np.testing.assert_allclose(there.centre[near], np.broadcast_to(CENTRE, (near.sum(), 2)), atol=0.04)


def test_the_error_is_the_squared_one_seen_through_a_gaussian(spotted):
    y, x = np.mgrid[:22, :40]
    cell = (1 * 10 + 7, (4 * 7 + 1.5, 22 / 6 * 1.5 - 0.5))
    weights = np.exp(-0.5 * ((x - cell[1][0]) ** 2 + (y - cell[1][1]) ** 2) / attention.REACH**2)
    expected = np.sum(weights / weights.sum() * np.sum(np.square(spotted), axis=0))
    assert float(unexplained(spotted).error[cell[0]]) == pytest.approx(expected, rel=1e-4)


def test_without_noise_attention_rests_on_what_is_left(still, spotted):
    fainter = spotted.at[:, 15:18, 5:8].set(0.5)
    np.testing.assert_allclose(still(fainter, jnp.zeros(still.cells)).centre, CENTRE, atol=0.03)


def test_fixations_are_sampled_in_proportion_to_a_power_of_the_error(still):
    left = jax.random.uniform(KEY, SHAPE)
    noise = jax.random.normal(KEY, (20_000, still.cells))
    found = jax.jit(jax.vmap(lambda n: still(left, n).centre))(noise)
    there = unexplained(left)
    chosen = np.argmin(np.linalg.norm(found[:, None] - there.centre[None], axis=-1), axis=1)
    weights = (there.error + attention.FAINT) ** attention.CONTRAST
    np.testing.assert_allclose(np.bincount(chosen, minlength=60) / 20_000, weights / weights.sum(), atol=0.006)


def test_what_is_seen_is_the_same_wherever_it_is(network, spotted):
    moved = jnp.roll(spotted, (8, -16), axis=(1, 2))
    here, there = (network(image, jnp.zeros(network.cells)) for image in (spotted, moved))
    np.testing.assert_allclose(there.centre - here.centre, [-16 / 20, 8 / 11], atol=0.01)
    np.testing.assert_allclose(there.features, here.features, atol=0.04)
    assert jnp.abs(here.features[:-1]).max() > 0.1


@pytest.mark.slow
def test_looks_move_attention_and_learn_to(network, still, spotted):
    given = lambda shift: eqx.tree_at(lambda a: a.shift, network, shift)(spotted, jnp.zeros(network.cells)).centre
    centre = jax.jit(given)
    assert jnp.abs(centre(network.shift) - centre(still.shift)).max() > 1e-3
    gradients = jax.jit(jax.grad(lambda shift: given(shift).sum()))(network.shift)
    assert all((g != 0).any() for g in jax.tree.leaves(gradients))


def test_the_last_feature_tells_how_much_is_left(network, spotted):
    total = lambda factor: float(network(factor * spotted, jnp.zeros(network.cells)).features[-1])
    assert total(0.0) < total(0.3) < total(1.0)


@pytest.mark.slow
def test_nothing_left_is_finite_and_has_finite_gradients(network):
    value_and_gradient = jax.value_and_grad(lambda a: jnp.sum(a(jnp.zeros(SHAPE), jnp.zeros(a.cells)).features))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.jit(value_and_gradient)(network)))


def test_placed_objects_inhibit_the_return_of_attention(spotted):
    network = Attention(SHAPE, 6, jnp.log(jnp.asarray(0.3)), 0.75, key=KEY)
    where = jnp.asarray([np.log(0.3), *CENTRE])
    once = network.inhibit(network.uninhibited, where)
    assert once.shape == attention.cells(*SHAPE[1:])
    # The window is 12 pixels wide, so the deviation is 3 pixels, blurred by as many.
    rows, columns = (22 / 6 * (np.arange(6) + 0.5) - 0.5, 4 * np.arange(10) + 1.5)
    distances = np.square(rows[:, None] - 5) + np.square(columns - 30)
    np.testing.assert_allclose(once, 1 - 0.75 * np.exp(-0.5 * distances / (3**2 + 3**2)), rtol=1e-5)
    np.testing.assert_allclose(network.inhibit(once, where), once**2, rtol=1e-5)

    fainter = spotted.at[:, 15:18, 5:8].set(0.5)  # 2.6 times less squared error
    rest = lambda weights: network(fainter, jnp.zeros(network.cells), weights).centre
    assert rest(network.uninhibited)[0] > 0.2
    assert rest(once)[0] < -0.2
    within = network.within(lambda block: block.cut(fainter), attention.error_map(fainter), 20, None, once)
    assert within.centre[0] < -0.2


def test_without_inhibition_there_are_no_weights(network):
    assert network.uninhibited is None
