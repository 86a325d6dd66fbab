"""What the tests of bounds and of their estimators share: the bound from its definition, and gradients in one piece."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.stats import multivariate_normal

IMAGE = np.random.default_rng(0).random((1, 12, 12))
KEY = jax.random.PRNGKey(1)


def value_and_flat_gradient(function, model):
    """Evaluate a function of a model, and its gradient by all parameters as one vector."""
    value, gradient = jax.jit(jax.value_and_grad(function))(model)
    return float(value), np.asarray(ravel_pytree(gradient)[0])


def enumerated(model):
    """Write the bound out as an expectation over all 2^N masks: each decides on its own, the first zero ends it.

    Behind objects that cover it, a linear background makes an image of one channel jointly normal.
    """
    image, mean, components = (
        jnp.asarray(IMAGE),
        *jax.lax.stop_gradient((model.background.mean, model.background.components)),
    )
    trajectory = model.infer(image, key=KEY)
    steps = trajectory.steps
    p = 1.0 / (1.0 + jnp.exp(-steps.presence_logit))
    colours, through = jnp.zeros_like(image), jnp.ones_like(image)
    variance, log_likelihoods, total = jnp.exp(2.0 * model.likelihood.log_sd), [], 0.0
    for t in range(model.max_objects + 1):
        seen = components * through.reshape(-1)
        covariance = seen.T @ seen + variance * jnp.eye(image.size)
        expected = colours + through * mean
        log_likelihoods.append(multivariate_normal.logpdf(image.reshape(-1), expected.reshape(-1), covariance))
        if t < model.max_objects:
            placed = model.place(steps.where[t], steps.what[t])
            colours, through = (1.0 - placed[1:]) * colours + placed[:1], (1.0 - placed[1:]) * through
    for mask in itertools.product([True, False], repeat=model.max_objects):
        chances = [p[t] if present else 1.0 - p[t] for t, present in enumerate(mask)]
        n = len(list(itertools.takewhile(bool, mask)))
        log_p = log_likelihoods[n] + model.count_log_prior[n]
        log_q = sum(jnp.log(chance) for chance in chances[: n + 1])
        elbo = log_p - log_q - sum(steps.kl[t] for t in range(n))
        total += math.prod(chances) * elbo
    return total


def scrambled(steps, first):
    """Put other values into everything that steps from `first` on found."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(np.concatenate([x[:first], rng.random(x[first:].shape)])), steps)
