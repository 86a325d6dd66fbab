from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.config import TrainConfig
from airjax.inference import infer
from airjax.learning import annealing, loop, losses, trainer
from airjax.learning.cuts import ENOUGH
from airjax.learning.pasting import Pasted, Pasting
from airjax.models import count
from airjax.models.build import count_prior
from airjax.models.layers import Normal
from airjax.models.patches.base import gaussian_code


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def assert_same(one, other):
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def nvil_config(tiny_train_config):
    return replace(tiny_train_config, objective="nvil")


@pytest.fixture(scope="module")
def nvil_state(tiny_config, nvil_config, tiny_images):
    return trainer.init(tiny_config, nvil_config, tiny_images.shape[1:])


def test_the_seed_fixes_everything(train_tiny, trained):
    assert_same(train_tiny((4, 4)), trained)


def test_another_seed_makes_another_model(tiny_config, tiny_train_config, tiny_images):
    states = [trainer.init(tiny_config, replace(tiny_train_config, seed=s), tiny_images.shape[1:]) for s in (0, 1)]
    weights = [state.model.patches.encoder.layers[0].weight for state in states]
    assert (np.asarray(weights[0]) != np.asarray(weights[1])).all()


class Ramp(eqx.Module):
    """A patch model from outside: one number says how bright a ramp is. `trained` may be something that can't be."""

    direction: jax.Array
    trained: Any = None
    code_size: int = eqx.field(static=True, default=1)

    def prior_sample(self, *, key):
        return jax.random.normal(key, (1,))

    def encode(self, glimpse, noise, *, pathwise=True):
        return gaussian_code(Normal(jnp.mean(glimpse)[None], jnp.zeros(1)), noise, pathwise=pathwise)

    def decode(self, what):
        return jax.nn.sigmoid(what[0] * self.direction)[None] * jnp.ones((1, 5, 5))


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["marginal", "rws"])
def test_a_patch_model_from_outside_is_trained_and_left_as_it_was(train_tiny, tiny_train_config, objective):
    own = Ramp(jnp.linspace(-1.0, 1.0, 5))
    state, info = train_tiny((4,), config=replace(tiny_train_config, objective=objective), patches=own)
    assert np.isfinite(info.elbo).all()
    assert isinstance(state.model.patches, Ramp)
    assert (state.model.patches.direction != own.direction).any()
    np.testing.assert_array_equal(own.direction, jnp.linspace(-1.0, 1.0, 5))


@pytest.mark.parametrize("leaf", [jax.nn.relu, 3, np.arange(2)])
def test_a_patch_model_with_a_leaf_that_cannot_be_trained_is_refused(tiny_config, tiny_train_config, leaf):
    with pytest.raises(ValueError, match=r"leaf of Ramp must be an array of floats, got .* at \.trained"):
        trainer.init(tiny_config, tiny_train_config, (1, 12, 12), Ramp(jnp.ones(5), leaf))


@pytest.mark.slow
def test_how_steps_are_cut_into_chunks_changes_nothing(train_tiny, trained):
    assert_same(train_tiny((2, 2, 4)), trained)


@pytest.fixture(scope="module")
def untouched_prior(train_tiny, tiny_config):
    """A run whose p(n) is neither annealed nor learned, and the number of traces after each of its chunks."""
    traces, step = [], trainer.step

    def counted(*arguments):
        traces.append(1)
        return step(*arguments)

    config = replace(tiny_config, learn_count=False, count_ratio_start=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "step", counted)
        train_tiny((4,), model_config=config)
        after_one = len(traces)
        state, _ = train_tiny((4, 4, 4), model_config=config)
    return state, after_one, len(traces)


@pytest.mark.slow
def test_a_step_is_traced_once_however_often_it_runs(untouched_prior):
    _, after_one, after_four = untouched_prior
    assert after_four == after_one > 0


@pytest.mark.slow
def test_a_count_prior_that_is_not_learned_stays(untouched_prior):
    np.testing.assert_array_equal(untouched_prior[0].model.count_log_prior, count.uniform(3))


@pytest.fixture(scope="module")
def pasting(tiny_train_config):
    return replace(tiny_train_config, paste=10.0, paste_alone=3, pasted_scenes=5)


@pytest.fixture(scope="module")
def pasted_data(tiny_images):
    """The tiny images, and fewer scenes of known objects: squares of 4 pixels in windows of 5."""
    where = np.zeros((6, 3, 3), np.float32)
    images = np.zeros((6, 1, 12, 12), np.uint8)
    for index, (y, x) in enumerate(np.random.default_rng(1).integers(0, 9, (6, 2))):
        images[index, :, y : y + 4, x : x + 4] = 230
        where[index, 0] = np.log(5 / 12), (x + 2) / 6 - 1, (y + 2) / 6 - 1
    return trainer.Data(tiny_images, Pasted(images, where, np.ones(6, np.int32)))


@pytest.fixture(scope="module")
def train_pasted(tiny_config, pasting, pasted_data):
    def run(*chunks, data=pasted_data):
        state = trainer.init(tiny_config, pasting, (1, 12, 12))
        for first, steps in zip(np.cumsum([0, *chunks]), chunks):
            rows = jnp.asarray(trainer.batch_indices(pasting, 10, int(first), steps))
            fixed = jax.tree.map(jnp.asarray, data), pasting, trainer.step_with(tiny_config)
            state, _ = trainer.run_chunk(fixed, state, rows)
        return state

    return run


@pytest.mark.slow
def test_where_training_with_pasted_scenes_is_resumed_changes_nothing(train_pasted):
    one, other = train_pasted(8), train_pasted(4, 4)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_at_first_pasted_scenes_alone_are_learned_from(train_pasted, pasted_data):
    other = pasted_data._replace(images=255 - pasted_data.images)
    alone, all_of_them = ([train_pasted(steps, data=data).model for data in (pasted_data, other)] for steps in (3, 4))
    without_prior = lambda model: eqx.tree_at(lambda m: m.count_log_prior, model, 0)  # it follows the images' counts
    same = lambda models: jax.tree.all(jax.tree.map(np.array_equal, *map(without_prior, models)))
    assert same(alone)
    assert not same(all_of_them)


@pytest.mark.slow
def test_no_example_is_passed_over_if_there_are_more_pasted_scenes_than_images(tiny_config, pasting, pasted_data):
    def trained(pasted):
        state = trainer.init(tiny_config, pasting, (1, 12, 12))
        data = trainer.Data(pasted_data.images[:4], pasted)
        for chunk in loop.chunks(data, pasting, trainer.step_with(tiny_config), state):
            state = chunk.state
        return state

    images = pasted_data.pasted.images.copy()
    images[5] = 255 - images[5]
    states = map(trained, (pasted_data.pasted, pasted_data.pasted._replace(images=images)))
    assert not jax.tree.all(jax.tree.map(np.array_equal, *states))


def test_the_bound_may_be_learned_from_images_whose_objects_lie_apart(
    monkeypatch, tiny_config, pasting, tiny_images, pasted_data
):
    apart = replace(pasting, apart=True)
    of_all, of_few = np.arange(0, 100, 2), np.arange(ENOUGH - 1)
    images = np.concatenate([tiny_images] * 10)
    for found, expected in ((of_all, images[of_all]), (of_few, images)):
        monkeypatch.setattr(trainer, "paste", lambda *_, apart=found, **__: Pasting(pasted_data.pasted, apart))
        np.testing.assert_array_equal(trainer.learn_from(tiny_config, apart, images).images, expected)
        np.testing.assert_array_equal(trainer.learn_from(tiny_config, pasting, images).images, images)


@pytest.mark.slow
def test_pasted_scenes_teach_where_objects_are_and_how_many(train_pasted, pasted_data):
    log_q = lambda model: np.mean(
        [
            model.infer_given(image / 255.0, where, count, key=jax.random.PRNGKey(0)).log_q
            for image, where, count in zip(*map(jnp.asarray, pasted_data.pasted))
        ]
    )
    before, after = log_q(train_pasted().model), log_q(train_pasted(60).model)
    assert after > before + 2


def test_images_alone_are_learned_from_without_pieces_or_where_none_are_asked_for(
    tiny_config, tiny_train_config, pasting, tiny_images
):
    assert trainer.learn_from(tiny_config, tiny_train_config, tiny_images) is tiny_images
    assert trainer.learn_from(tiny_config, pasting, tiny_images) is tiny_images


def test_first_bounds_are_as_they_were(trained):
    """Golden values: a change of these is a change of what training does, and must be meant."""
    golden = [-24.835934, 2.790757, -10.539336, 4.467660, -39.506531]
    np.testing.assert_allclose(trained[1].elbo[:5], golden, rtol=1e-4, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("attention", [0, 4])
def test_training_raises_the_bound(train_tiny, tiny_config, attention):
    _, info = train_tiny((4,) * 40, model_config=replace(tiny_config, attention=attention))
    assert info.elbo[-20:].mean() > info.elbo[:20].mean() + 15


def test_annealing_starts_from_its_start(tiny_config, tiny_train_config, tiny_images):
    state = trainer.init(tiny_config, tiny_train_config, tiny_images.shape[1:])
    expected = count.truncated_geometric(tiny_config.max_objects, tiny_config.count_ratio_start)
    np.testing.assert_allclose(state.model.count_log_prior, expected, atol=1e-6)


@pytest.mark.slow
def test_the_sd_is_annealed_by_constant_factors(train_tiny, tiny_config):
    config = replace(tiny_config, sd_start=0.8, sd=0.2, sd_anneal_steps=4)
    sd_after = lambda steps: jnp.exp(train_tiny((1,) * steps, model_config=config)[0].model.likelihood.log_sd)
    # p(n) is annealed before, for two steps.
    np.testing.assert_allclose([sd_after(steps) for steps in (1, 2, 4, 6, 7)], [0.8, 0.8, 0.4, 0.2, 0.2], rtol=1e-5)


@pytest.mark.slow
def test_the_count_prior_is_annealed_then_follows_the_counts_found(train_tiny, trained, tiny_config):
    state, info = train_tiny((2,))
    annealed = np.asarray(state.model.count_log_prior)
    np.testing.assert_allclose(annealed, count_prior(tiny_config), atol=1e-6)
    # Then a step keeps most of p(n) and adds a little of the batch's mean q(n | x).
    state, info = trained
    expected = np.exp(annealed)
    for count_probs in info.count_probs[2:]:
        expected = annealing.COUNT_MEMORY * expected + (1 - annealing.COUNT_MEMORY) * count_probs
    learned = np.exp(state.model.count_log_prior)
    assert learned.sum() == pytest.approx(1.0, abs=1e-5)
    assert abs(learned - np.exp(annealed)).max() > 1e-3
    np.testing.assert_allclose(learned, expected, atol=1e-5)


def test_the_baseline_learns_at_its_own_rate(tiny_train_config):
    optimiser = trainer.make_optimiser(
        replace(tiny_train_config, learning_rate=1e-3, baseline_learning_rate=0.5, warmup=1)
    )
    weights = (jnp.ones(2), jnp.ones(2))
    state = optimiser.init(weights)
    for rate in (0.0, 1e-3):  # one step of warm-up, for the model only
        updates, state = optimiser.update(weights, state, weights)
        np.testing.assert_allclose(updates[0], -rate, rtol=1e-4)
        np.testing.assert_allclose(updates[1], -0.5, rtol=1e-4)


def test_cosine_schedule_ends_at_rest(tiny_train_config):
    optimiser = trainer.make_optimiser(replace(tiny_train_config, schedule="cosine", steps=4, warmup=1))
    state = optimiser.init((jnp.ones(2), None))
    sizes = []
    for _ in range(5):
        updates, state = optimiser.update((jnp.ones(2), None), state)
        sizes.append(float(abs(updates[0]).max()))
    assert sizes[0] == 0.0
    assert sizes[1] == pytest.approx(tiny_train_config.learning_rate, rel=1e-3)
    assert sizes[1] > sizes[2] > sizes[3] > sizes[4] == pytest.approx(0.0, abs=1e-9)


@pytest.fixture(scope="module")
def image(tiny_images):
    return jnp.asarray(tiny_images[2], jnp.float32) / 255


def test_the_baselines_gradient_does_not_reach_the_model(nvil_state, image):
    def predicted(networks):
        model, baseline = networks
        return jnp.sum(baseline(image, model.infer(image, key=jax.random.PRNGKey(0))) ** 2)

    of_model, of_baseline = jax.jit(jax.grad(predicted))((nvil_state.model, nvil_state.baseline))
    assert not any(leaf.any() for leaf in leaves(of_model))
    assert all(leaf.any() for leaf in leaves(of_baseline))


def test_a_baseline_does_not_see_what_its_own_step_finds(nvil_state, image):
    trajectory = jax.jit(lambda: nvil_state.model.infer(image, key=jax.random.PRNGKey(0)))()

    @jax.jit
    def predicted(where, what):
        steps = trajectory.steps._replace(where=where, what=what)
        return nvil_state.baseline(image, trajectory._replace(steps=steps))

    where, what = np.asarray(trajectory.steps.where), np.asarray(trajectory.steps.what)
    before = predicted(where, what)
    for t in range(3):
        shift = np.float32(np.arange(3) == t)[:, None]
        after = predicted(where + shift, what + shift)
        np.testing.assert_array_equal(before[: t + 1], after[: t + 1])
        assert (before[t + 1 :] != after[t + 1 :]).all()


def test_training_pulls_baselines_towards_the_signals(nvil_config, nvil_state, image):
    place = lambda networks: networks[1].head.layers[-1].bias
    networks = (nvil_state.model, nvil_state.baseline)

    @jax.jit
    @jax.grad
    def slope(bias):
        changed = eqx.tree_at(place, networks, bias)
        return losses.batch_loss(nvil_config, changed, image[None], jax.random.PRNGKey(0)[None])[0]

    assert slope(jnp.full(1, 1e3)) > 0 > slope(jnp.full(1, -1e3))


@pytest.mark.slow
def test_both_objectives_estimate_one_bound_and_one_gradient(tiny_train_config, nvil_config, nvil_state, image):
    """The gradient by the recogniser's output bias: presence and windows."""
    keys = jax.random.split(jax.random.PRNGKey(0), 2_000)
    place = lambda networks: networks[0].recogniser.head.layers[-1].bias
    networks = (nvil_state.model, nvil_state.baseline)

    @partial(jax.jit, static_argnums=0)
    def estimates(config):
        def of_bias(bias, key):
            return losses.batch_loss(config, eqx.tree_at(place, networks, bias), image[None], key[None])

        def one(key):
            gradient, (bound, _) = jax.grad(of_bias, has_aux=True)(place(networks), key)
            return jnp.append(gradient, bound)

        return jax.vmap(one)(keys)

    samples = [np.asarray(estimates(config)) for config in (tiny_train_config, nvil_config)]
    means = [x.mean(0) for x in samples]
    errors = [x.std(0) / np.sqrt(len(keys)) for x in samples]
    assert (abs(means[0] - means[1]) < 5 * np.hypot(*errors)).all()
    assert abs(means[0][0]) > 5 * errors[1][0]
    assert errors[0][0] < 0.5 * errors[1][0]


@pytest.fixture(scope="module", params=["importance", "rws", "vimco", "concrete"])
def estimated(request, train_tiny, tiny_train_config):
    """A run with another estimator in chunks of two steps, its configuration, and how often a step was traced."""
    config = replace(tiny_train_config, objective=request.param, samples=3)
    traces, step = [], trainer.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "step", lambda *arguments: (traces.append(1), step(*arguments))[1])
        train_tiny((2,), config=config)
        after_one = len(traces)
        run = train_tiny((2,) * 80, config=config)
    return run, config, (after_one, len(traces))


@pytest.mark.slow
def test_every_estimator_raises_the_bound_and_moves_the_whole_model(estimated, tiny_config, tiny_images):
    (state, info), config, _ = estimated
    assert np.isfinite(info.elbo).all()
    before = trainer.init(tiny_config, config, tiny_images.shape[1:])
    bound = lambda model: infer.bound(model, tiny_images, samples=20, key=jax.random.PRNGKey(0)).iw_bound.mean()
    assert bound(state.model) > bound(before.model) + 10
    assert state.baseline is before.baseline is None
    trained = lambda state: leaves(eqx.tree_at(lambda m: m.likelihood, state.model, None))
    assert all((a != b).any() for a, b in zip(trained(before), trained(state), strict=True))


def test_vimco_needs_two_samples():
    with pytest.raises(ValueError, match="samples must be at least 2, got 1"):
        TrainConfig(objective="vimco", samples=1)


@pytest.mark.slow
def test_every_estimator_is_traced_once(estimated):
    after_one, after_all = estimated[2]
    assert after_all == after_one > 0


@pytest.mark.slow
def test_with_every_estimator_chunks_change_nothing(train_tiny, estimated):
    (state, _), config, _ = estimated
    assert_same(train_tiny((80, 80), config=config)[0], state)


@pytest.mark.slow
def test_score_function_training_moves_model_and_baseline(train_tiny, nvil_config, nvil_state):
    state, info = train_tiny((4,), config=nvil_config)
    assert np.isfinite(info.elbo).all()
    for before, after in ((nvil_state.model, state.model), (nvil_state.baseline, state.baseline)):
        moved = [(a != b).any() for a, b in zip(leaves(before), leaves(after))]
        assert np.mean(moved) > 0.8


@pytest.mark.parametrize(("scenes", "batch"), [(10, 4), (12, 4), (4, 4), (5, 1)])
def test_an_epoch_shows_no_scene_twice_and_each_epoch_another_order(tiny_train_config, scenes, batch):
    config = replace(tiny_train_config, batch=batch)
    per_epoch = scenes // batch
    rows = trainer.batch_indices(config, scenes, 0, 3 * per_epoch)
    assert rows.shape == (3 * per_epoch, batch)
    epochs = rows.reshape(3, -1)
    for epoch in epochs:
        assert len(set(epoch)) == per_epoch * batch
        assert set(epoch) <= set(range(scenes))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_where_a_run_is_resumed_changes_no_batch(tiny_train_config):
    whole = trainer.batch_indices(tiny_train_config, 10, 0, 12)
    for first in range(11):
        for steps in (1, 2, 12 - first):
            part = trainer.batch_indices(tiny_train_config, 10, first, steps)
            np.testing.assert_array_equal(part, whole[first : first + steps][: len(part)])
            assert len(part) == steps or first + steps > 12


def test_another_seed_shows_another_order(tiny_train_config):
    orders = [trainer.batch_indices(replace(tiny_train_config, seed=seed), 100, 0, 25) for seed in (0, 1)]
    assert (orders[0] != orders[1]).any()


def test_fewer_scenes_than_a_batch_are_refused(tiny_train_config):
    with pytest.raises(ValueError, match="batch must be at most the number of training scenes, 3, got 4"):
        trainer.batch_indices(tiny_train_config, 3, 0, 1)
