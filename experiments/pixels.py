"""A convolutional network that learns classes from pixels, as a baseline for frozen representations."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from airjax.data.batches import in_batches
from airjax.learning import trainer

BATCH = 64
WEIGHT_DECAY = 1e-2


class Network(eqx.Module):
    """Three convolutions, a hidden layer and logits.

    The first convolution has stride 2. A max pooling of 2 x 2 follows each of the first two.
    """

    convolutions: list[eqx.nn.Conv2d]
    hidden: eqx.nn.Linear
    classes: eqx.nn.Linear
    dropout: eqx.nn.Dropout = eqx.field(static=True)

    def __init__(self, side: int, classes: int, *, key: PRNGKeyArray):
        """Make a network for grey images of `side` x `side` pixels."""
        first, second, third, hidden, last = jax.random.split(key, 5)
        self.convolutions = [
            eqx.nn.Conv2d(1, 16, kernel_size=5, stride=2, padding=2, key=first),
            eqx.nn.Conv2d(16, 32, kernel_size=3, padding=1, key=second),
            eqx.nn.Conv2d(32, 64, kernel_size=3, padding=1, key=third),
        ]
        self.hidden = eqx.nn.Linear(64 * ((side + 1) // 2 // 2 // 2) ** 2, 256, key=hidden)
        self.classes = eqx.nn.Linear(256, classes, key=last)
        self.dropout = eqx.nn.Dropout(0.5)

    def __call__(self, image: Float[Array, "1 h w"], *, key: PRNGKeyArray | None) -> Float[Array, " classes"]:
        """Compute the logits of the classes; with key None, without dropout."""
        *halved, last = self.convolutions
        for convolution in halved:
            image = _halved(jax.nn.relu(convolution(image)))
        features = jax.nn.relu(last(image))
        hidden = jax.nn.relu(self.hidden(features.reshape(-1)))
        return self.classes(self.dropout(hidden, key=key, inference=key is None))


def _halved(image: Float[Array, "c h w"]) -> Float[Array, "c h//2 w//2"]:
    """Take the maximum of every 2 x 2 pixels. The gradient of XLA's own pooling is slow on a CPU."""
    _, h, w = image.shape
    top, bottom = (image[:, row : h // 2 * 2 : 2, : w // 2 * 2] for row in (0, 1))
    rows = jnp.maximum(top, bottom)
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def train(
    images: UInt8[np.ndarray, "n 1 h w"], labels: Int[np.ndarray, " n"], *, classes: int, steps: int, seed: int
) -> Network:
    """Train a network by Adam with decaying weights, its rate falling to zero along a cosine."""
    key, rng = jax.random.PRNGKey(seed), np.random.default_rng(seed)
    state = trainer.start(Network(images.shape[-1], classes, key=key), _optimiser(steps), key)
    # A loop in Python: within one of XLA's, convolutions are far slower on a CPU.
    for _ in range(steps):
        chosen = rng.integers(len(images), size=BATCH)
        state = _step(state, jnp.asarray(images[chosen]), jnp.asarray(labels[chosen]), steps)
    return state.model


def _optimiser(steps: int) -> optax.GradientTransformation:
    return optax.adamw(optax.cosine_decay_schedule(1e-3, steps), weight_decay=WEIGHT_DECAY)


@eqx.filter_jit(donate="all")
def _step(state, images, labels, steps):
    keys = jax.random.split(state.noise_key, len(images))

    def loss(networks):
        logits = jax.vmap(lambda image, key: networks[0](image / 255.0, key=key))(images, keys)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels)), None

    return trainer.gradient_step(loss, _optimiser(steps), state)[0]


def predict(network: Network, images: UInt8[np.ndarray, "n 1 h w"]) -> Int[np.ndarray, " n"]:
    """Predict the most likely class of each image."""
    return in_batches(lambda chunk, _: {"classes": _predict(network, chunk)}, images, 500)["classes"]


@eqx.filter_jit
def _predict(network, images):
    return jnp.argmax(jax.vmap(lambda image: network(image / 255.0, key=None))(images), axis=1)
