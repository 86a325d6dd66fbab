"""What the tests of bounds and of their estimators share: the bound from its definition, and gradients in one piece."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

IMAGE = np.random.default_rng(0).random((1, 12, 12))
KEY = jax.random.PRNGKey(1)


def value_and_flat_gradient(function, model):
    """Evaluate a function of a model, and its gradient by all parameters as one vector."""
    value, gradient = jax.jit(jax.value_and_grad(function))(model)
    return float(value), np.asarray(ravel_pytree(gradient)[0])


def enumerated(model):
    """Write the bound out as an expectation over all 2^N masks: each decides on its own, the first zero ends it."""
    image = jnp.asarray(IMAGE)
    trajectory = model.infer(image, key=KEY)
    steps = trajectory.steps
    p = 1.0 / (1.0 + jnp.exp(-steps.presence_logit))
    canvases = [trajectory.empty_canvas]
    for t in range(model.max_objects):
        canvases.append(model.compose(canvases[-1], model.place(steps.where[t], steps.what[t])))
    sd, total = jnp.exp(model.likelihood.log_sd), 0.0
    for mask in itertools.product([True, False], repeat=model.max_objects):
        chances = [p[t] if present else 1.0 - p[t] for t, present in enumerate(mask)]
        n = len(list(itertools.takewhile(bool, mask)))
        log_p = jnp.sum(jax.scipy.stats.norm.logpdf(image, canvases[n], sd)) + model.count_log_prior[n]
        log_q = sum(jnp.log(chance) for chance in chances[: n + 1])
        elbo = log_p - log_q - sum(steps.kl[t] for t in range(n)) - trajectory.ground.kl
        total += math.prod(chances) * elbo
    return total


def scrambled(steps, first):
    """Put other values into everything that steps from `first` on found."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(np.concatenate([x[:first], rng.random(x[first:].shape)])), steps)
