import json
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.data.batches import channels_first
from airjax.inference import boxes, infer
from airjax.learning.bounds import importance_weighted, marginal
from airjax.models.air import AIR
from airjax.models.backgrounds.linear import LinearBackground
from airjax.models.patches.mlp import MLPPatches

KEY = jax.random.PRNGKey(0)


@pytest.fixture(scope="module")
def bounds(model, tiny_images):
    return infer.bound(model, tiny_images, samples=3, key=KEY, batch=4)


def test_a_tight_box_holds_what_has_half_the_strength_however_faint():
    drawn = np.zeros((2, 8, 10), np.float32)
    drawn[0, 2:5, 3:4], drawn[1, 4, 1:4], drawn[1, 7, 9] = 0.6, 1.0, 0.4
    for contrast in (1.0, 0.1):
        np.testing.assert_array_equal(boxes.tight_box(jnp.asarray(contrast * drawn), 0.5), [1, 2, 4, 5])
        np.testing.assert_array_equal(boxes.tight_box(jnp.asarray(contrast * drawn), 0.3), [1, 2, 10, 8])


def test_what_darkens_has_a_box_too():
    change = jnp.zeros((1, 8, 10)).at[0, 2:5, 3:4].set(-0.2)
    np.testing.assert_array_equal(boxes.tight_box(change, 0.5), [3, 2, 4, 5])


@pytest.mark.slow
def test_boxes_and_canvases_are_those_of_objects_not_of_the_ground(tiny_model, tiny_images):
    background = LinearBackground((1, 12, 12), components=2)
    model = tiny_model(background=background, over=True, rough=0.5, seed=2)
    found = infer.find(model, tiny_images, batch=10)
    steps = jax.jit(jax.vmap(lambda image: model.infer(image / 255.0, key=None)))(jnp.asarray(tiny_images))
    np.testing.assert_allclose(found.canvases[:, 0], steps.empty_canvas, rtol=1e-3, atol=1e-4)
    changes = abs(np.diff(found.canvases, axis=1)).max(2).reshape(-1, 12, 12)
    windows = np.clip(found.windows, 0, 12).reshape(-1, 4)
    faint = 0
    for box, change, window in zip(found.boxes.reshape(-1, 4), changes, windows):
        if change.max() <= boxes.FAINT:  # nothing shows: the window stands in for it
            faint += 1
            np.testing.assert_allclose(box, window, atol=1e-4)
            continue
        y, x = np.nonzero(change > model.edge * change.max())
        np.testing.assert_array_equal(box, [x.min(), y.min(), x.max() + 1, y.max() + 1])
    assert faint < len(changes) / 2


def test_a_tight_box_reaches_the_borders():
    np.testing.assert_array_equal(boxes.tight_box(jnp.ones((1, 3, 7)), 0.5), [0, 0, 7, 3])


def test_nothing_drawn_has_no_box():
    assert np.isnan(boxes.tight_box(jnp.full((1, 4, 4), boxes.FAINT / 2), 0.5)).all()


@pytest.mark.parametrize(
    ("where", "box"),
    [
        ([0.0, 0.0, 0.0], [0, -10, 40, 30]),
        ([np.log(0.5), 0.0, 0.0], [10, 0, 30, 20]),
        ([np.log(0.5), 0.5, -1.0], [20, -10, 40, 10]),
    ],
)
def test_a_window_box_has_the_windows_corners_in_pixels(where, box):
    result = boxes.window_box(jnp.asarray(where, jnp.float32), (20, 40))
    np.testing.assert_allclose(result, box, atol=1e-4)


def test_how_images_are_batched_changes_nothing(model, tiny_images, found):
    other = infer.find(model, tiny_images, batch=10)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


def test_padding_the_last_batch_changes_nothing(model, tiny_images, bounds):
    padded = np.concatenate([tiny_images, np.full((2, 1, 12, 12), 99, np.uint8)])
    longer = infer.bound(model, padded, samples=3, key=KEY, batch=4)
    for one, two in zip(jax.tree.leaves(bounds), jax.tree.leaves(longer), strict=True):
        assert len(one) == 10
        np.testing.assert_array_equal(one, two[:10])


def test_what_is_found_agrees_with_itself(model, tiny_images, found):
    np.testing.assert_allclose(found.count_probs.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(found.count, found.count_probs.argmax(1))
    tail = np.cumsum(found.count_probs[:, ::-1], axis=1)[:, ::-1]
    np.testing.assert_allclose(found.presence, tail[:, 1:], atol=1e-5)
    assert not found.canvases[:, 0].any()
    assert found.canvases.shape == (10, 4, 1, 12, 12)


def test_what_is_found_is_what_the_model_infers_without_noise(model, tiny_images, found):
    image = jnp.asarray(tiny_images[5], jnp.float32) / 255
    trajectory = jax.jit(lambda: model.infer(image, key=None))()
    np.testing.assert_allclose(found.canvases[5, 1:], trajectory.steps.canvas, atol=1e-5)
    np.testing.assert_allclose(found.count_probs[5], np.exp(trajectory.count_log_probs), atol=1e-5)
    np.testing.assert_allclose(found.what[5], trajectory.steps.what, atol=1e-5)


@pytest.mark.slow
def test_bounds_are_those_of_the_objective(model, tiny_images):
    """One image many times: sample means of both bounds agree with those of independent trajectories."""
    copies = np.repeat(tiny_images[5:6], 200, axis=0)
    result = infer.bound(model, copies, samples=3, key=KEY, batch=4)
    image = jnp.asarray(tiny_images[5], jnp.float32) / 255

    def evaluate(keys):
        trajectories = jax.vmap(lambda key: model.infer(image, key=key))(keys)
        first = jax.tree.map(lambda x: x[0], trajectories)
        prior = model.count_log_prior
        both = marginal(first, prior), importance_weighted(trajectories, prior)
        return *both, jnp.exp(first.count_log_probs)

    *expected, count_probs = jax.jit(jax.vmap(evaluate))(jax.random.split(jax.random.PRNGKey(1), (200, 3)))
    for got, wanted in zip((result.elbo, result.iw_bound), expected):
        error = np.hypot(got.std(), np.std(wanted)) / np.sqrt(200)
        assert error > 0
        assert abs(got.mean() - np.mean(wanted)) < 5 * error
    shares = np.bincount(result.sampled_count, minlength=4) / 200
    np.testing.assert_allclose(shares, count_probs.mean(0), atol=0.15)


def test_of_several_trajectories_the_best_is_chosen(tiny_model, tiny_images):
    one, several = (tiny_model(attention=4, rough=0.5, trajectories=k) for k in (1, 5))
    found, central = infer.find(several, tiny_images, batch=4), infer.find(one, tiny_images, batch=4)
    keys = jax.random.split(jax.random.PRNGKey(0), 5)
    again = jax.vmap(lambda image: jax.vmap(lambda key: one.infer_again(image / 255.0, key=key))(keys))
    steps, _, _, empty, _ = tried = jax.jit(again)(jnp.asarray(tiny_images))

    likelihoods = np.concatenate([empty[..., None], steps.log_likelihood], axis=2)
    divergences = np.concatenate([np.zeros((10, 5, 1)), np.cumsum(steps.kl, axis=2)], axis=2)
    log_q = jax.vmap(jax.vmap(lambda t: t.count_log_probs))(tried)
    scores = infer.CONFIDENCE * np.asarray(log_q) + likelihoods + np.asarray(one.count_log_prior) - divergences
    best = scores.max(axis=2).argmax(axis=1)
    assert len(set(best)) > 1
    np.testing.assert_array_equal(found.count, scores.max(axis=1).argmax(axis=1))
    expected = np.exp((scores[np.arange(10), best] - scores.max(axis=(1, 2))[:, None]) / infer.CONFIDENCE)
    np.testing.assert_allclose(found.count_probs, expected / expected.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.where, np.asarray(steps.where)[np.arange(10), best], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.canvases[:, 1:], np.asarray(steps.canvas)[np.arange(10), best], atol=1e-4)
    assert np.abs(found.where - central.where).max() > 0.01


def test_other_trajectories_look_at_other_places_alone(tiny_model, tiny_images, monkeypatch):
    model, asked, original = tiny_model(attention=4), [], AIR._infer
    monkeypatch.setattr(
        AIR, "_infer", lambda self, image, noise, _: asked.append(noise) or original(self, image, noise, _)
    )
    model.infer_again(jnp.asarray(tiny_images[0] / np.float32(255)), key=KEY)
    ((for_where, for_what, for_attention),) = asked
    assert not for_where.any()
    assert for_what is None
    np.testing.assert_array_equal(for_attention, model._noise(KEY)[2])


@pytest.mark.slow
def test_bounds_do_not_depend_on_how_many_trajectories_are_taken_together(model, tiny_images):
    keys = np.asarray(jax.random.split(KEY, 10))
    by = lambda batch: infer.bound_each(model, tiny_images, samples=5, keys=keys, batch=batch)
    at_once, one_by_one = by(4), by(infer.TOGETHER)
    twice_two_and_one = by(infer.TOGETHER // 2)
    for found in (one_by_one, twice_two_and_one):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, at_once)


def test_bounds_by_a_key_for_each_image_follow_the_image_and_not_its_place(model, tiny_images):
    keys = np.asarray(jax.random.split(KEY, 10))
    in_order = infer.bound_each(model, tiny_images, samples=3, keys=keys, batch=4)
    order = np.random.default_rng(0).permutation(10)
    shuffled = infer.bound_each(model, tiny_images[order], samples=3, keys=keys[order], batch=4)
    assert len(np.unique(in_order.elbo)) == 10
    np.testing.assert_array_equal(shuffled.elbo, in_order.elbo[order])
    np.testing.assert_array_equal(shuffled.count_posterior, in_order.count_posterior[order])
    batch_key = jax.random.fold_in(KEY, 0)
    by_batch = infer.bound(model, tiny_images[:4], samples=3, key=KEY, batch=4)
    each = infer.bound_each(model, tiny_images[:4], samples=3, keys=np.asarray(jax.random.split(batch_key, 4)), batch=4)
    np.testing.assert_array_equal(each.iw_bound, by_batch.iw_bound)


def test_more_samples_tighten_the_bound_and_the_count_posterior_is_normalised(bounds):
    assert (bounds.iw_bound > bounds.elbo).mean() > 0.5
    np.testing.assert_allclose(bounds.count_posterior.sum(1), 1.0, rtol=1e-5)


def test_a_description_is_plain_data_about_the_counted_objects(model, tiny_images):
    described = infer.describe(model, tiny_images[:4], samples=3, key=KEY)
    assert json.loads(json.dumps(described)) == described
    found = infer.find(model, tiny_images[:4], batch=4)
    for entry, n in zip(described, found.count, strict=True):
        assert entry["count"] == n == len(entry["objects"])
        assert sum(entry["count_posterior"]) == pytest.approx(1.0, abs=1e-4)


def test_images_get_their_channel_first():
    grey, colour = np.zeros((2, 5, 7), np.uint8), np.zeros((2, 5, 7, 3), np.uint8)
    colour[..., 1] = 9
    assert channels_first(grey).shape == (2, 1, 5, 7)
    assert channels_first(colour).shape == (2, 3, 5, 7)
    assert (channels_first(colour)[:, 1] == 9).all()


# What was looked at, and what was drawn


@pytest.mark.slow
@pytest.mark.parametrize("residual_glimpses", [True, False])
@pytest.mark.parametrize("over", [True, False])
def test_the_glimpses_are_those_that_the_codes_were_inferred_from(tiny_model, tiny_images, residual_glimpses, over):
    model = tiny_model(over=over, residual_glimpses=residual_glimpses)
    found = infer.find(model, tiny_images, batch=10)
    seen = []
    patches = Watched(model.patches, seen.append)
    eqx.tree_at(lambda m: m.patches, model, patches).infer(jnp.asarray(tiny_images[5]) / 255.0, key=None)
    jax.effects_barrier()
    glimpses = infer.view(model, tiny_images, found).glimpses
    assert len(seen) == 3
    np.testing.assert_allclose(glimpses[5], np.stack(seen)[:, :1], atol=1e-4)


class Watched(eqx.Module):
    """A patch model that tells which glimpses it is shown."""

    patches: MLPPatches
    tell: Callable = eqx.field(static=True)

    @property
    def code_size(self):
        return self.patches.code_size

    @property
    def output_bias(self):
        return self.patches.output_bias

    def prior_sample(self, *, key):
        return self.patches.prior_sample(key=key)

    def encode(self, glimpse, noise, *, pathwise=True):
        jax.debug.callback(self.tell, glimpse, ordered=True)
        return self.patches.encode(glimpse, noise, pathwise=pathwise)

    def decode(self, what):
        return self.patches.decode(what)


@pytest.mark.slow
def test_an_object_is_its_patch_magnified_to_the_image(tiny_model, tiny_images):
    model = tiny_model()
    found = infer.find(model, tiny_images[:2], batch=2)
    objects = infer.view(model, tiny_images[:2], found).objects
    assert objects.shape == (2, 3, 1, 12, 12)
    patch = np.pad(np.asarray(model.patches.decode(jnp.asarray(found.what[1, 0])))[0], 1)  # black beyond its border
    at, pixels = (np.arange(12) + 0.5) * 5 / 12 + 0.5, np.arange(7)
    rows = np.stack([np.interp(at, pixels, column) for column in patch.T], axis=1)
    expected = np.stack([np.interp(at, pixels, row) for row in rows])
    np.testing.assert_allclose(objects[1, 0, 0], expected, atol=1e-4)


@pytest.mark.slow
def test_objects_that_cover_are_shown_as_they_lie_on_black(tiny_model, tiny_images):
    model = tiny_model(over=True)
    found = infer.find(model, tiny_images[:1], batch=1)
    patch = model.patches.decode(jnp.asarray(found.what[0, 0]))
    masked = model.compositor.prepare(patch, model.mean_background, model.patches.output_bias)[:1]
    objects = infer.view(model, tiny_images[:1], found).objects
    # The mean over a picture is that over the patch, but for the border, where it fades.
    assert objects[0, 0].mean() == pytest.approx(float(masked.mean()), rel=0.2)
