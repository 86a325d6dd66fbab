import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.inference import sampling
from airjax.models.air import AIR
from airjax.models.backgrounds.linear import LinearBackground

KEY = jax.random.PRNGKey(0)


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(background=LinearBackground((1, 12, 12), components=2), over=True)


def _differ(one, other):
    return any(not np.allclose(a, b, atol=1e-6) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)))


def test_scenes_are_the_models_own(model):
    drawn = sampling.scenes(model, 3, key=KEY)
    own = jax.jit(jax.vmap(lambda key: model.sample(key=key)))(jax.random.split(KEY, 3))
    assert not _differ(drawn, own)


def test_by_default_nothing_is_steered(model):
    assert not _differ(sampling.scenes(sampling.steer(model), 3, key=KEY), sampling.scenes(model, 3, key=KEY))


@pytest.mark.parametrize("count", range(4))
def test_a_fixed_count_is_every_scenes_count_and_moves_nothing_else(model, count):
    drawn, own = (sampling.scenes(m, 8, key=KEY) for m in (sampling.steer(model, count=count), model))
    assert (drawn.count == count).all()
    np.testing.assert_allclose(drawn.where, own.where, atol=1e-6)
    np.testing.assert_allclose(drawn.what, own.what, atol=1e-6)
    assert len(set(np.asarray(own.count).tolist())) > 1


def test_scale_multiplies_the_windows_alone(model):
    drawn, own = (sampling.scenes(m, 8, key=KEY) for m in (sampling.steer(model, scale=1.5), model))
    np.testing.assert_allclose(drawn.where - own.where, np.tile([np.log(1.5), 0.0, 0.0], (8, 3, 1)), atol=1e-5)
    np.testing.assert_allclose(drawn.what, own.what, atol=1e-6)


def test_temperature_multiplies_the_codes_and_changes_the_picture(model):
    drawn, own = (sampling.scenes(m, 8, key=KEY) for m in (sampling.steer(model, temperature=0.5), model))
    np.testing.assert_allclose(drawn.what, 0.5 * own.what, atol=1e-5)
    assert _differ(drawn.canvas, own.canvas)
    assert not np.any(sampling.scenes(sampling.steer(model, temperature=0.0), 2, key=KEY).what)


def test_a_steered_model_infers_as_before(model, tiny_images):
    image = jnp.asarray(tiny_images[5]) / 255.0
    steered = sampling.steer(model, temperature=0.5)
    infer = jax.jit(lambda m: m.infer(image, key=KEY).steps)
    assert not _differ(infer(steered)._replace(log_p=0.0), infer(model)._replace(log_p=0.0))
    assert steered.patches.code_size == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": -1}, "count must be from 0 to 3, got -1"),
        ({"count": 4}, "count must be from 0 to 3, got 4"),
        ({"scale": 0.0}, "scale must be positive and finite"),
        ({"scale": float("inf")}, "scale must be positive and finite"),
        ({"temperature": -1.0}, "temperature must be finite and at least 0"),
        ({"temperature": float("nan")}, "temperature must be finite and at least 0"),
    ],
)
def test_what_cannot_be_steered_is_refused(model, settings, words):
    with pytest.raises(ValueError, match=words):
        sampling.steer(model, **settings)


class Bars(AIR):
    """A model that draws nothing but upright bars, 20 pixels long."""

    thickness: float

    def __init__(self, model, thickness):
        self.__dict__.update(vars(model), thickness=thickness)

    def place(self, where, what):
        left, pixels = 30 + 10 * where[1], jnp.arange(60)
        filled = lambda start: jnp.clip(pixels + 1 - start, 0, 1)
        across = filled(left) - filled(left + self.thickness)
        return (jnp.abs(pixels - 29.5) < 10)[None, :, None] * across


@pytest.mark.parametrize(("width", "pixels"), [(1.0, 1), (2.7, 3), (6.0, 6)])
def test_what_is_typical_of_bars(model, width, pixels):
    typical = sampling.typical(Bars(model, width), key=KEY)
    # The ends of bars are edges, too.
    assert typical.stroke == pytest.approx(width * 20 / (20 + width), rel=0.1)
    assert (typical.width, typical.height) == (pixels, 20)
