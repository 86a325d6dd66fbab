"""AIR of solids: its bound is what the definition says, whatever is inferred stays finite, and it learns kinds."""

from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small3d import SIDE, make

from airjax.data.tables import tables
from airjax.inference import infer, sampling
from airjax.inference.poses import rotation_error
from airjax.learning import bounds
from airjax.models import count
from airjax.models.air3d.model import AIR3D, TEACHING
from airjax.models.likelihood import NormalLikelihood
from airjax.render3d import LAID_TABLE, ONE_SOLID, ROUND_TABLE, daylight, render
from airjax.render3d.smooth import TURN
from airjax.render3d.stage import PART

PLAIN_TABLE = replace(LAID_TABLE, kinds=LAID_TABLE.kinds[1:])
"""Without cups, which have most of the hypotheses: for what takes many samples."""
LOGITS = 12
"""Where log q(hypothesis) begins in what the head says of three kinds."""


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(tables(LAID_TABLE, 2, seed=3, counts=(2,), canvas=SIDE).images[0].transpose(2, 0, 1) / 255.0)


@pytest.fixture(scope="module", params=[LAID_TABLE, ROUND_TABLE], ids=["known camera", "unknown camera"])
def model(request):
    return make(request.param)


@pytest.fixture(scope="module")
def network_alone():
    """A model of one object whose hypotheses are what the network says: the first of the first kind."""
    model = make(objects=1, enumerated=False)
    return eqx.tree_at(lambda m: m.recogniser.head.bias, model, model.recogniser.head.bias.at[LOGITS].add(30.0))


def certain(model, position):
    """Let a network put all objects at a position, knowing nothing else."""
    recogniser = jax.tree.map(jnp.zeros_like, model.recogniser)
    place = lambda r: r.attend.dense.layers[-1].bias
    bias = jnp.zeros_like(recogniser.head.bias).at[6:12].set(-6.0).at[-len(model.stage.hypotheses) :].set(-6.0)
    aimed = jnp.concatenate([jnp.zeros(1), jnp.asarray(position) / model.stage.reach])
    recogniser = eqx.tree_at(lambda r: (place(r), r.head.bias), recogniser, (aimed, bias))
    return eqx.tree_at(lambda m: m.recogniser, model, recogniser)


@pytest.fixture(scope="module")
def trajectory(model, image):
    return jax.jit(lambda m, x: m.infer(x, key=jax.random.PRNGKey(1)))(model, image)


@pytest.mark.slow
def test_canvases_are_what_the_renderer_draws_of_the_latents(model, trajectory):
    """Windows leave out no more than the faint ends of soft edges."""
    azimuth = trajectory.scene.value[0] if model.viewer else model.stage.azimuth
    x, y, rotation, identity = trajectory.steps.what.T
    stage = model.stage
    poses = jax.vmap(stage.pose)(jnp.stack([x, y], axis=-1), rotation)
    drawn = render(
        stage.camera(azimuth), identity.astype(int), poses, daylight(), model.image_shape[1:], kinds=stage.kinds
    )
    np.testing.assert_allclose(trajectory.empty_canvas, drawn[0], atol=1e-5)
    np.testing.assert_allclose(trajectory.steps.canvas, drawn[1:], atol=0.02)


def test_likelihoods_are_those_of_the_canvases(model, image, trajectory):
    expected = [model.likelihood.log_prob(image, canvas) for canvas in trajectory.steps.canvas]
    np.testing.assert_allclose(trajectory.steps.log_likelihood, jnp.stack(expected), rtol=1e-5)


def test_priors_are_uniform_where_they_should_be(model, trajectory):
    x, y, *_ = trajectory.steps.what.T
    normal = jax.vmap(model.position_prior.log_prob)(jnp.stack([x, y], axis=-1))
    np.testing.assert_allclose(trajectory.steps.log_p, normal - np.log(3 * TURN), rtol=1e-5)


@pytest.mark.slow
def test_q_of_identity_and_rotation_is_normalised(image):
    """Averaged over samples, p / q is the share of p that q covers: all, but of plates the rotations of one petal."""
    model = make(rough=0.0, enumerated=False)
    infer = jax.jit(jax.vmap(lambda k: model.infer(image, key=k).steps.log_ratio[0]))
    assert float(jnp.mean(jnp.exp(infer(jax.random.split(jax.random.PRNGKey(0), 2_000))))) == pytest.approx(
        7 / 9, abs=0.1
    )


@pytest.mark.slow
def test_weights_average_to_the_same_evidence_whoever_says_hypotheses(image):
    """p / q averages to p(x | one object), as far as q covers it, whatever q(hypothesis) depends on."""
    keys = jax.random.split(jax.random.PRNGKey(0), 4_000)

    def evidence(enumerated):
        model = make(PLAIN_TABLE, objects=1, rough=0.0, enumerated=enumerated, sd=3.0)
        ignorant = jax.tree.map(jnp.zeros_like, model.recogniser)  # all is as likely as at the start
        ignorant = eqx.tree_at(lambda r: r.head.bias, ignorant, model.recogniser.head.bias)
        model = eqx.tree_at(lambda m: m.recogniser, model, ignorant)

        def weight(key):
            trajectory = model.infer(image, key=key)
            gain = trajectory.steps.log_likelihood[0] - trajectory.empty_log_likelihood
            return jnp.exp(gain + trajectory.steps.log_ratio[0])

        return float(jax.jit(lambda keys: jnp.mean(jax.vmap(weight)(keys)))(keys))

    assert evidence(True) == pytest.approx(evidence(False), rel=0.1)


@pytest.mark.slow
def test_without_a_key_all_is_at_its_mode(network_alone, image):
    what, empty = jax.jit(lambda m: (lambda t: (t.steps.what, t.empty_canvas))(m.infer(image, key=None)))(network_alone)
    posterior = network_alone.recogniser(image, image - empty)
    assert int(what[0, 3]) == 0
    np.testing.assert_allclose(what[0, :2], posterior.position.mean[0], rtol=1e-4)
    np.testing.assert_allclose(what[0, 2], posterior.rotation.mean[0], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [ONE_SOLID, LAID_TABLE])
def test_enumerated_hypotheses_need_no_network_but_for_the_position(stage):
    """Kinds are right, and rotations to within their part of the circle, where they can be seen."""
    scenes = tables(stage, 24, seed=0, counts=(1,), canvas=32)
    model = AIR3D((3, 32, 32), stage, NormalLikelihood(0.05), count.uniform(1), key=jax.random.PRNGKey(0))
    infer = jax.jit(lambda x, position: certain(model, position).infer(x, key=None).steps.what[0])
    images = scenes.images.transpose(0, 3, 1, 2) / np.float32(255)
    found = np.stack([infer(x, pose[:2]) for x, (pose,) in zip(images, scenes.poses)])
    np.testing.assert_array_equal(found[:, 3], scenes.labels[:, 0])
    symmetry = np.array([kind.symmetry for kind in stage.kinds])[scenes.labels[:, 0]]
    turns = symmetry > 0
    away = rotation_error(found[turns, 2], scenes.poses[turns, 0, 2], symmetry[turns])
    assert np.quantile(away, 0.75) < PART


def logits(model, head):
    """Take what belongs to log q(hypothesis) out of the last layer's bias."""
    return head.bias[LOGITS:][: len(model.stage.hypotheses)]


@eqx.filter_jit
@partial(eqx.filter_value_and_grad, has_aux=True)
def weighted(model, image, weights):
    """Differentiate the weighted sum of auxiliary objective and bound; tell how likely the first step is reached.

    All tests differentiate this one function, so that few programs are compiled.
    """
    trajectory = model.infer(image, key=jax.random.PRNGKey(0))
    reach = jnp.exp(count.log_reach(trajectory.steps.presence_logit))[0]
    bound = bounds.marginal(trajectory, model.count_log_prior)
    return weights @ jnp.stack([trajectory.auxiliary, bound]), reach


def teaching(model, image):
    """Differentiate the auxiliary objective, as if the first step were reached for certain."""
    (_, reach), gradient = weighted(model, image, jnp.array([1.0, 0.0]))
    return jax.tree.map(lambda leaf: leaf / reach, gradient)


def bound(model, image):
    """Differentiate the bound."""
    return weighted(model, image, jnp.array([0.0, 1.0]))[1]


@pytest.mark.slow
@pytest.mark.parametrize("enumerated", [False, True])
def test_hypotheses_are_taught_by_what_they_explain(network_alone, image, enumerated):
    """The gradient by the logits is the exact posterior minus what the network says, however small that is."""
    sure = eqx.tree_at(lambda m: m.recogniser, make(objects=1, enumerated=enumerated), network_alone.recogniser)
    gradient = logits(sure, teaching(sure, image).recogniser.head)
    assert float(jnp.sum(gradient)) == pytest.approx(0.0, abs=1e-3)
    assert float(jnp.max(gradient)) > 0.1 * TEACHING


@pytest.mark.slow
def test_poses_of_kinds_that_are_not_chosen_are_learned_too(network_alone, image):
    places = teaching(network_alone, image).recogniser.head.bias[:6].reshape(3, 2)
    np.testing.assert_array_equal(places[0], 0.0)  # of the chosen kind, which the bound teaches
    assert (jnp.abs(places[1:]) > 0).all()


@pytest.mark.slow
def test_the_camera_learns_by_the_chosen_kind_alone(image):
    model = make(ROUND_TABLE)
    taught, bounded = (jax.tree.leaves(gradient(model, image).viewer) for gradient in (teaching, bound))
    assert all((leaf == 0).all() for leaf in taught)
    assert any((leaf != 0).any() for leaf in bounded)


@pytest.mark.slow
def test_teaching_is_no_part_of_the_bound(image):
    model = make(objects=1)
    head = bound(model, image).recogniser.head
    np.testing.assert_array_equal(logits(model, head), 0.0)
    assert float(jnp.abs(head.bias[:LOGITS]).max()) > 0


@pytest.mark.slow
def test_nothing_is_not_finite_wherever_objects_are_thought_to_be(image):
    """Coincident, off the table, behind the camera, out of this world."""
    model = make(ROUND_TABLE, rough=0.0)
    for away in (0.0, 3.0, -40.0, 1e6):
        bias = model.recogniser.head.bias.at[:6].set(away).at[6:12].set(-12.0)
        there = eqx.tree_at(lambda m: m.recogniser.head.bias, model, bias)
        (value, _), gradient = weighted(there, image, jnp.ones(2))
        assert jnp.isfinite(value)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_samples_are_scenes_of_the_prior(model):
    drawn = sampling.scenes(model, 64, key=jax.random.PRNGKey(0))
    assert drawn.canvas.shape == (64, 3, SIDE, SIDE)
    assert float(drawn.canvas.min()) >= 0
    assert float(drawn.canvas.max()) <= 1.001
    assert set(np.asarray(drawn.count).tolist()) == {0, 1, 2}
    assert set(np.unique(drawn.what[..., 3])) == {0, 1, 2}
    empty = drawn.canvas[drawn.count == 0]
    if not model.viewer:
        np.testing.assert_allclose(empty, empty[:1].repeat(len(empty), 0), atol=1e-6)


@pytest.mark.slow
def test_inference_tells_kinds_poses_and_the_camera(model):
    images = tables(model.stage, 3, seed=0, counts=(1,), canvas=SIDE).images.transpose(0, 3, 1, 2)
    [told, *_] = infer.describe(model, images, samples=2, key=jax.random.PRNGKey(0))
    assert ("azimuth_deg" in told) == (model.viewer is not None)
    for one in told["objects"]:
        assert one["identity"] in {kind.name for kind in model.stage.kinds}
        assert 0 <= one["rotation_deg"] < 360


@pytest.mark.parametrize(("shape", "prior"), [((1, 8, 8), (0.0, 0.0)), ((3, 8, 8), (0.0,))])
def test_what_makes_no_model_is_refused(shape, prior):
    with pytest.raises(ValueError, match="must"):
        AIR3D(shape, ONE_SOLID, NormalLikelihood(0.3), np.array(prior), key=jax.random.PRNGKey(0))
