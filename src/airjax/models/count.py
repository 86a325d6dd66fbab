"""Distributions over the number of objects: priors p(n) and the stick-breaking posterior q(n | x).

A distribution over counts 0..N is an array of N + 1 log-probabilities.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def _normalised(log_weights: np.ndarray) -> Float[np.ndarray, " n"]:
    return (log_weights - np.logaddexp.reduce(log_weights)).astype(np.float32)


def as_log_prior(log_probs: Float[Array, " n"] | Float[np.ndarray, " n"]) -> Float[Array, " n"]:
    """Take log p(n), n = 0..N, for a model's prior.

    Raises:
        ValueError: it allows no object.
    """
    if len(log_probs) < 2:
        raise ValueError(f"count_log_prior must have at least 2 entries, got {len(log_probs)}")
    return jnp.asarray(log_probs, jnp.float32)


def truncated_geometric(max_objects: int, ratio: float) -> Float[np.ndarray, " n"]:
    """Make p(n) proportional to `ratio`^n for n = 0..`max_objects`.

    Raises:
        ValueError: `ratio` is not positive.
    """
    if not ratio > 0:
        raise ValueError(f"ratio must be positive, got {ratio}")
    return _normalised(np.arange(max_objects + 1) * math.log(ratio))


def uniform(max_objects: int) -> Float[np.ndarray, " n"]:
    """Make p(n) the same for every n = 0..`max_objects`."""
    return _normalised(np.zeros(max_objects + 1))


def poisson(max_objects: int, rate: float) -> Float[np.ndarray, " n"]:
    """Make p(n) a Poisson distribution of mean `rate`, cut off after `max_objects`.

    Raises:
        ValueError: `rate` is not positive.
    """
    if not rate > 0:
        raise ValueError(f"rate must be positive, got {rate}")
    return _normalised(np.array([n * math.log(rate) - math.lgamma(n + 1) for n in range(max_objects + 1)]))


def table(probabilities: Sequence[float], max_objects: int) -> Float[np.ndarray, " n"]:
    """Make p(n) from explicit weights for n = 0, 1, ..., `max_objects`; they are normalised.

    Raises:
        ValueError: not `max_objects` + 1 weights, a weight that is not positive (a count the prior rules out would
            make every scene's bound minus infinity), or one that is not finite.
    """
    weights = np.asarray(probabilities, float)
    if weights.shape != (max_objects + 1,):
        raise ValueError(f"a count table needs {max_objects + 1} probabilities (0..max_objects), got {weights.size}")
    if not (np.all(weights > 0) and np.all(np.isfinite(weights))):
        raise ValueError(f"every probability of a count table must be positive and finite, got {list(weights)}")
    return _normalised(np.log(weights))


def annealed(start: Float[Array, " n"], end: Float[Array, " n"], progress: Float[Array, ""]) -> Float[Array, " n"]:
    """Move from prior `start` to prior `end`, linearly in log-probability, as `progress` goes from 0 to 1."""
    progress = jnp.clip(progress, 0.0, 1.0)
    return jax.nn.log_softmax((1.0 - progress) * start + progress * end)


def stick_breaking(presence_logits: Float[Array, " N"]) -> Float[Array, " N+1"]:
    """Turn the N presence logits of a trajectory into log q(n | x), n = 0..N.

    `log w_n = sum_(t<=n) log p_t + log(1 - p_(n+1))`, without the last factor for n = N: z_pres is a prefix code
    (paper, equation 4), so a count is a run of presences and one absence.
    """
    reached = jnp.concatenate([jnp.zeros(1), jnp.cumsum(jax.nn.log_sigmoid(presence_logits))])
    stopped = jnp.concatenate([jax.nn.log_sigmoid(-presence_logits), jnp.zeros(1)])
    return reached + stopped


def log_reach(presence_logits: Float[Array, " N"]) -> Float[Array, " N"]:
    """Return the log-probability that each step is present: `log q(n >= t | x)`, t = 1..N."""
    return jnp.cumsum(jax.nn.log_sigmoid(presence_logits))
