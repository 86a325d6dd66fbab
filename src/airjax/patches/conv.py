"""A patch model of convolutions: a variational autoencoder for patches of any side."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.layers import MLP, ConvTranspose, Embed, Normal, channels_to_blocks
from airjax.patches.base import Code, gaussian_code


class ConvPatches(eqx.Module):
    """Encode a glimpse to a Gaussian code, and decode a code to a patch, in two convolutions and a hidden layer each.

    As in `Embed`, blocks of 2 x 2 pixels are channels to the convolutions, so that these cost a quarter.
    """

    encoder: Embed
    dense: MLP
    convs: tuple[ConvTranspose, ConvTranspose]
    output_bias: float = eqx.field(static=True)
    shape: tuple[int, int, int] = eqx.field(static=True)
    code_size: int = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        code_size: int = 50,
        channels: int = 32,
        hidden: int = 400,
        output_bias: float = -2.0,
        key: PRNGKeyArray,
    ):
        """Make the networks for patches of `shape` = (channels, side, side).

        At a quarter of the side (rounded up) there are `channels`, at an eighth twice as many. `output_bias` is added
        before the sigmoid, so that patches start out dark.
        """
        encoder, dense, coarse, fine = jax.random.split(key, 4)
        eighth = _sides(shape)[2]
        self.encoder = Embed(shape, 2 * code_size, channels=channels, hidden=hidden, key=encoder)
        self.dense = MLP((code_size, hidden, eighth**2 * 2 * channels), last_gain=math.sqrt(2.0), key=dense)
        self.convs = (
            ConvTranspose(2 * channels, channels, key=coarse),
            ConvTranspose(channels, 4 * shape[0], gain=0.5, key=fine),
        )
        self.output_bias = output_bias
        self.shape = shape
        self.code_size = code_size

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw z_what ~ N(0, 1)."""
        return jax.random.normal(key, (self.code_size,))

    def encode(self, glimpse: Float[Array, "c p p"], noise: Float[Array, " d"]) -> Code:
        """Infer q(what | glimpse), a diagonal Gaussian: z_what."""
        return gaussian_code(Normal(*jnp.split(self.encoder(glimpse), 2)), noise)

    def decode(self, what: Float[Array, " d"]) -> Float[Array, "c p p"]:
        """Draw the patch that `what` describes, in [0, 1]: y_att."""
        half, quarter, eighth = ((side, side) for side in _sides(self.shape))
        coarse, fine = self.convs
        x = jax.nn.relu(self.dense(what)).reshape(*eighth, -1)
        x = fine(jax.nn.relu(coarse(x, quarter)), half)
        logits = channels_to_blocks(x, self.shape[1:]).transpose(2, 0, 1)
        return jax.nn.sigmoid(logits + self.output_bias)


def _sides(shape: tuple[int, int, int]) -> list[int]:
    """Halve the side of patches once, twice and three times, rounding up."""
    return [-(-shape[1] // divisor) for divisor in (2, 4, 8)]
