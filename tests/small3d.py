"""A small model of objects in 3D."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from airjax.models import count
from airjax.models.air3d.model import AIR3D
from airjax.models.likelihood import NormalLikelihood
from airjax.render3d import LAID_TABLE

SIDE = 24


def make(stage=LAID_TABLE, objects=2, rough=0.3, seed=0, enumerated=True, sd=0.3):
    """Make a small model, its weights away from where they start."""
    model = AIR3D(
        (3, SIDE, SIDE),
        stage,
        NormalLikelihood(sd),
        count.truncated_geometric(objects, 0.5),
        embed_channels=2,
        embed_hidden=8,
        head_hidden=8,
        enumerated=enumerated,
        key=jax.random.PRNGKey(seed),
    )
    rng = np.random.default_rng(seed)
    # By numpy, which compiles nothing.
    shake = lambda x: jnp.array(np.asarray(x) + rough * rng.standard_normal(x.shape), x.dtype)
    networks = lambda m: (m.recogniser, m.viewer)
    return eqx.tree_at(networks, model, jax.tree.map(shake, networks(model)), is_leaf=lambda x: x is None)
