import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.inference import sampling
from airjax.learning import bounds
from airjax.models import windows
from airjax.models.air import AIR, WherePrior
from airjax.models.backgrounds.base import Layers
from airjax.models.backgrounds.fixed import FixedBackground
from airjax.models.backgrounds.linear import LinearBackground
from airjax.models.compositor import Add, Compositor, Over
from airjax.models.layers import Normal
from airjax.models.likelihood import BernoulliLikelihood, NormalLikelihood
from airjax.models.patches.base import gaussian_code

KEY = jax.random.PRNGKey(3)
infer = eqx.filter_jit(lambda model, image, key: model.infer(image, key=key))


def random_image(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


@pytest.fixture(scope="module")
def model(tiny_model) -> AIR:
    return tiny_model()


@pytest.fixture(scope="module")
def image():
    return random_image(1, 12, 12)


@pytest.fixture(scope="module")
def trajectory(model, image):
    return infer(model, image, KEY)


@pytest.fixture(scope="module")
def many(model, image):
    """Four thousand trajectories of one image."""
    infer_all = jax.jit(jax.vmap(lambda key: model.infer(image, key=key)))
    return infer_all(jax.random.split(KEY, 4_000))


def test_each_step_adds_its_object_to_the_canvas(model, trajectory):
    steps = trajectory.steps
    objects = jax.vmap(model.place)(steps.where, steps.what)
    assert (jnp.abs(objects).max((1, 2, 3)) > 0.01).all()
    np.testing.assert_allclose(steps.canvas, jnp.cumsum(objects, axis=0), atol=1e-5)


def test_an_object_is_its_decoded_patch_in_its_window(model):
    where, what = jnp.asarray([-1.0, 0.2, -0.3]), jnp.asarray([1.0, -0.5, 0.2])
    expected = windows.write(model.patches.decode(what), jnp.exp(where[0]), where[1:], (12, 12))
    np.testing.assert_allclose(model.place(where, what), expected, atol=1e-6)


def test_likelihoods_are_those_of_the_canvases_from_the_empty_one_on(model, image, trajectory):
    canvases = jnp.concatenate([jnp.zeros((1, 1, 12, 12)), trajectory.steps.canvas])
    expected = jax.vmap(lambda canvas: model.likelihood.log_prob(image, canvas))(canvases)
    np.testing.assert_allclose(trajectory.log_likelihoods, expected, rtol=1e-5)


def test_counts_of_a_trajectory_are_normalised(trajectory):
    assert float(jnp.exp(trajectory.count_log_probs).sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_batch_is_what_its_images_are_one_by_one(model):
    images, keys = random_image(3, 1, 12, 12), jax.random.split(KEY, 3)
    batch = eqx.filter_vmap(infer, in_axes=(None, 0, 0))(model, images, keys)
    for index in range(3):
        alone = infer(model, images[index], keys[index])
        jax.tree.map(lambda x, y, i=index: np.testing.assert_allclose(x[i], y, rtol=1e-4, atol=1e-4), batch, alone)


@pytest.mark.slow
def test_steps_without_a_loop_are_those_of_a_loop(model, image, request):
    def bound(model):
        found = model.infer(image, key=KEY)
        return bounds.marginal(found, model.count_log_prior), found

    by_loop = jax.jit(jax.value_and_grad(bound, has_aux=True))(model)
    request.getfixturevalue("unrolled")
    assert model._unroll == 3
    without = jax.jit(jax.value_and_grad(lambda model: bound(model), has_aux=True))(model)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3), without, by_loop)


def test_a_key_fixes_the_noise_and_another_one_changes_it(model, image, trajectory):
    np.testing.assert_array_equal(infer(model, image, KEY).steps.where, trajectory.steps.where)
    assert (infer(model, image, jax.random.PRNGKey(4)).steps.where != trajectory.steps.where).all()


def test_without_a_key_windows_are_their_means_and_codes_the_central_ones(model, image, many):
    found = infer(model, image, None).steps
    first = np.asarray(many.steps.where[:, 0])
    assert (abs(first.mean(0) - found.where[0]) < 5 * first.std(0) / np.sqrt(len(first))).all()
    glimpse = windows.read(image, jnp.exp(found.where[0, 0]), found.where[0, 1:], model.window)
    np.testing.assert_allclose(found.what[0], model.patches.encode(glimpse, None).value, atol=1e-5)


def test_every_steps_kl_is_minus_its_mean_log_ratio(many):
    difference = np.asarray(many.steps.kl + many.steps.log_ratio)
    assert (difference.std(0) > 0.1).all()
    assert (abs(difference.mean(0)) < 5 * difference.std(0) / np.sqrt(len(difference))).all()


@pytest.mark.parametrize("learn", [True, False])
def test_the_prior_over_windows_gets_a_gradient_only_if_it_is_learned(tiny_model, image, learn):
    model = tiny_model(learn_where=learn)

    def bound(normal):
        own = eqx.tree_at(lambda m: m.where_prior.normal, model, normal)
        return bounds.marginal(own.infer(image, key=KEY), model.count_log_prior)

    gradient = jax.jit(jax.grad(bound))(model.where_prior.normal)
    assert all((np.asarray(part) != 0).all() == learn for part in (gradient.mean, gradient.log_sd))
    assert all((np.asarray(part) != 0).any() == learn for part in (gradient.mean, gradient.log_sd))


def test_an_untrained_recogniser_attends_where_the_prior_does(tiny_model, image):
    model = tiny_model(rough=0.0)
    model = eqx.tree_at(lambda m: m.recogniser.head.layers[-1].weight, model, replace_fn=jnp.zeros_like)
    where = infer(model, image, None).steps.where
    np.testing.assert_allclose(where, jnp.tile(model.where_prior.normal.mean, (3, 1)), atol=1e-6)


@pytest.fixture(scope="module")
def scenes(model):
    return jax.jit(jax.vmap(lambda key: model.sample(key=key)))(jax.random.split(KEY, 2_000))


def test_a_sampled_scene_shows_its_first_objects_and_no_others(model, scenes):
    objects = np.asarray(jax.jit(jax.vmap(jax.vmap(model.place)))(scenes.where[:50], scenes.what[:50]))
    for n, drawn, canvas in zip(scenes.count[:50], objects, scenes.canvas[:50]):
        np.testing.assert_allclose(canvas, drawn[:n].sum(0), atol=1e-5)
    assert set(np.asarray(scenes.count[:50])) == {0, 1, 2, 3}


def test_sampled_scenes_follow_the_priors(model, scenes):
    p = np.exp(model.count_log_prior)
    shares = np.bincount(scenes.count, minlength=4) / 2_000
    assert (abs(shares - p) < 5 * np.sqrt(p * (1 - p) / 2_000)).all()
    where, normal = np.asarray(scenes.where).reshape(-1, 3), model.where_prior.normal
    np.testing.assert_allclose(where.mean(0), normal.mean, atol=0.1)
    np.testing.assert_allclose(where.std(0), np.exp(normal.log_sd), rtol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "counts", "likelihood"),
    [
        ((3, 12, 12), (0.5, 0.3, 0.2), NormalLikelihood(0.3)),
        ((1, 9, 14), (0.5, 0.5), BernoulliLikelihood()),
    ],
    ids=["colour", "one object on a wide image of probabilities"],
)
def test_other_kinds_of_scenes(tiny_model, shape, counts, likelihood):
    model = tiny_model(shape, counts=counts, likelihood=likelihood, rough=0.1, embed_channels=2, embed_hidden=6)

    def bound(model):
        trajectory = model.infer(random_image(*shape), key=KEY)
        return bounds.marginal(trajectory, model.count_log_prior), trajectory

    gradient, trajectory = jax.jit(jax.grad(bound, has_aux=True))(model)
    assert trajectory.steps.canvas.shape == (len(counts) - 1, *shape)
    assert trajectory.log_likelihoods.shape == (len(counts),)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient.patches))
    assert jax.eval_shape(lambda: model.sample(key=KEY)).canvas.shape == shape


@pytest.fixture(scope="module", params=[False, True], ids=["add", "over"])
def grounded(request, tiny_model) -> AIR:
    """A model with a background of two components, to which objects add or which they cover."""
    shape = (2, 12, 12)
    background = LinearBackground(shape, components=2)
    return tiny_model(shape, background=background, over=request.param)


def covers(model):
    return isinstance(model.compositor, Over)


@pytest.mark.slow
def test_objects_are_composed_before_the_ground(grounded):
    image = random_image(2, 12, 12)
    trajectory = infer(grounded, image, KEY)
    colours, through = np.zeros((2, 12, 12)), np.ones((1, 12, 12))
    level = np.clip(grounded.mean_background.mean((1, 2), keepdims=True), 0.1, 0.9)
    behind = np.asarray(trajectory.empty_canvas)
    explain = lambda: grounded.background.explain(
        image, Layers(jnp.asarray(colours), jnp.asarray(through) if covers(grounded) else None), grounded.likelihood
    )
    explained = [explain()]
    for where, what, found in zip(trajectory.steps.where, trajectory.steps.what, trajectory.steps.canvas):
        patch = grounded.patches.decode(what)
        write = lambda x, where=where: np.asarray(windows.write(x, jnp.exp(where[0]), where[1:], (12, 12)))
        if covers(grounded):
            odds = level / (1 - level) / np.exp(grounded.patches.output_bias)
            tinted = patch[:2] * odds / (1 - patch[:2] + patch[:2] * odds)
            past = 1 - write(patch[2:])
            colours, through = past * colours + write(patch[2:] * tinted), past * through
        else:
            colours = colours + write(patch)
        np.testing.assert_allclose(found, colours + through * behind, atol=1e-5)
        explained.append(explain())
    np.testing.assert_allclose(trajectory.log_likelihoods, [e.log_likelihood for e in explained], rtol=1e-5)
    likeliest = explained[int(np.argmax(trajectory.count_log_probs))]
    np.testing.assert_allclose(trajectory.scene.value, likeliest.code, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(trajectory.scene.kl, 0.0)


class BlankPatches(eqx.Module):
    """A user's own patch model as it is before training: all pixels have the same logit."""

    side: int = eqx.field(static=True)
    logit: float = eqx.field(static=True)
    code_size: int = eqx.field(static=True, default=3)

    def prior_sample(self, *, key):
        return jax.random.normal(key, (self.code_size,))

    def encode(self, glimpse, noise, *, pathwise=True):
        zeros = jnp.zeros(self.code_size)
        return gaussian_code(Normal(zeros, zeros), noise, pathwise=pathwise)

    def decode(self, what):
        return jax.nn.sigmoid(jnp.full((2, self.side, self.side), self.logit) + 0.0 * what[0])


class ToldPatches(BlankPatches):
    """One that tells its logit."""

    @property
    def output_bias(self):
        return self.logit


@pytest.mark.parametrize("patches", [BlankPatches(5, -2.0), ToldPatches(5, 0.7)], ids=["default", "own bias"])
@pytest.mark.parametrize("steered", [False, True])
def test_objects_that_cover_start_with_the_colour_of_their_ground(tiny_model, patches, steered):
    """So that neither lighter nor darker objects make masks vanish before their colours are learned."""
    background = eqx.tree_at(lambda g: g.mean, LinearBackground((1, 12, 12), components=2), jnp.full((1, 12, 12), 0.6))
    model = eqx.tree_at(lambda m: m.patches, tiny_model(background=background, over=True, rough=0.0), patches)
    model = sampling.steer(model, temperature=0.5) if steered else model
    placed = model.place(jnp.zeros(3), jnp.zeros(3))
    np.testing.assert_allclose(placed[0, 3:9, 3:9] / placed[1, 3:9, 3:9], 0.6, atol=1e-3)


@pytest.mark.parametrize("compositor", [Add(), Over()])
def test_a_compositor_follows_the_protocol_and_holds_no_array(compositor):
    assert isinstance(compositor, Compositor)
    assert not jax.tree.leaves(compositor)


def test_a_mask_of_one_replaces_and_one_of_zero_keeps(tiny_model):
    model = tiny_model((2, 12, 12), over=True)
    canvas, colours = random_image(2, 12, 12, seed=1), random_image(2, 12, 12, seed=2)
    mask = jnp.zeros((1, 12, 12)).at[:, 3:7, 2:9].set(1.0)
    nothing = Layers(jnp.zeros((2, 12, 12)), jnp.ones((1, 12, 12)))
    composed = model.compositor.compose(nothing, jnp.concatenate([colours * mask, mask])).over(canvas)
    np.testing.assert_allclose(composed[:, 3:7, 2:9], colours[:, 3:7, 2:9], atol=1e-6)
    np.testing.assert_array_equal(jnp.where(mask == 1, 0, composed), jnp.where(mask == 1, 0, canvas))


def test_a_sampled_scene_has_its_objects_on_a_ground(grounded):
    scenes = jax.jit(jax.vmap(lambda key: grounded.sample(key=key)))(jax.random.split(KEY, 2_000))
    empty = np.asarray(scenes.canvas)[scenes.count == 0].reshape(-1, 288)
    assert len(empty) > 600
    spread = np.asarray(grounded.background.components)
    covariance = np.kron(np.eye(2), spread.T @ spread)  # channels are independent
    np.testing.assert_allclose(np.cov(empty.T), covariance, atol=0.12)
    last = scenes.count == 3
    if covers(grounded):  # colours under masks lie within 0 and 1, so that each object draws the canvas towards them
        assert np.asarray(scenes.canvas)[last].var() < empty.var()
    else:
        assert np.asarray(scenes.canvas)[last].mean() > empty.mean()


@pytest.mark.slow
def test_all_of_a_model_with_a_ground_learns(grounded, tiny_model):
    options = {"residual_glimpses": False, "difference": True} if covers(grounded) else {}
    background = LinearBackground((2, 12, 12), components=2)
    model = tiny_model((2, 12, 12), background=background, over=covers(grounded), rough=0.1, **options)
    bound = lambda m: bounds.marginal(m.infer(random_image(2, 12, 12), key=KEY), m.count_log_prior)
    gradient = jax.jit(jax.grad(bound))(model)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient.patches))
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient.background))


def test_what_is_behind_the_objects_is_not_seen(tiny_model):
    """Adding a picture to the image and to the background changes nothing that is found."""
    picture = random_image(1, 12, 12, seed=5)
    model = tiny_model(background=FixedBackground((1, 12, 12), uniform=False))
    other = eqx.tree_at(lambda m: m.background.image, model, replace_fn=lambda x: x + picture)
    image = random_image(1, 12, 12)
    one, two = infer(model, image, KEY), infer(other, image + picture, KEY)
    for name in ("presence_logit", "where", "what", "log_likelihood"):
        np.testing.assert_allclose(getattr(one.steps, name), getattr(two.steps, name), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("arguments", [(0.0, 0.1, 0.5), (0.4, -0.1, 0.5), (0.4, 0.1, 0.0)])
def test_a_window_prior_out_of_range_is_refused(arguments):
    with pytest.raises(ValueError, match="must be positive, got"):
        WherePrior(*arguments)


@pytest.mark.parametrize(("prior", "window"), [(jnp.zeros(1), 5), (jnp.zeros(3), 0)])
def test_a_model_of_no_objects_or_no_window_is_refused(model, prior, window):
    with pytest.raises(ValueError, match="must"):
        AIR((1, 12, 12), model.patches, model.likelihood, model.where_prior, prior, window=window, key=KEY)


@pytest.fixture(scope="module")
def known(model, image):
    """A trajectory, its key, and what the recogniser says at its first step: presence logit and q(where)."""
    key = jax.random.PRNGKey(3)
    trajectory = model.infer(image, key=key)
    residual, recogniser = image - trajectory.empty_canvas, model.recogniser
    latents = jnp.zeros(3 + model.code_size)
    attended = recogniser.attention and recogniser.attention(residual, model._noise(key)[2][0])
    first = recogniser(recogniser.look(residual), latents, recogniser.lstm.initial_state, attended)
    return trajectory, key, first[:2]


def test_of_an_image_known_to_be_empty_q_is_that_of_stopping_at_once(model, image, known):
    trajectory, key, _ = known
    given = model.infer_given(image, jnp.zeros((model.max_objects, 3)), jnp.asarray(0), key=key)
    np.testing.assert_allclose(given.log_q, trajectory.count_log_probs[0], rtol=1e-5)
    np.testing.assert_allclose(given.log_joint, trajectory.empty_log_likelihood, rtol=1e-5)


def test_an_object_known_where_it_was_found_is_inferred_as_it_was(model, image, known):
    trajectory, key, (logit, posterior) = known
    steps = trajectory.steps
    given = model.infer_given(image, steps.where, jnp.asarray(1), key=key)
    present, absent = jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-steps.presence_logit[1])
    np.testing.assert_allclose(given.log_q, present + posterior.log_prob(steps.where[0]) + absent, rtol=1e-4)
    what_kl = steps.kl[0] - posterior.kl(model.where_prior())
    np.testing.assert_allclose(given.log_joint, steps.log_likelihood[0] - what_kl, rtol=1e-4)


def test_known_objects_are_taken_in_the_recognisers_order(model, image, known):
    trajectory, key, _ = known
    where, count = trajectory.steps.where, jnp.asarray(model.max_objects)
    given, reversed_ = (model.infer_given(image, x, count, key=key) for x in (where, where[::-1]))
    np.testing.assert_allclose(reversed_.log_q, given.log_q, rtol=1e-5)
    np.testing.assert_allclose(reversed_.log_joint, given.log_joint, rtol=1e-5)


@pytest.mark.parametrize("options", [{"trajectories": 0}, {"trajectories": 2}])
def test_several_trajectories_need_attention(tiny_model, options):
    with pytest.raises(
        ValueError, match=f"trajectories must be 1, or more with attention, got {options['trajectories']}"
    ):
        tiny_model(**options)
