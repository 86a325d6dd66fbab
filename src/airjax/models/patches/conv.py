"""A patch model with convolutions: a variational autoencoder for patches of any side."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.models.layers import MLP, Conv, ConvTranspose, Normal, blocks_to_channels, channels_to_blocks
from airjax.models.patches.base import OUTPUT_BIAS, Code, gaussian_code


class ConvPatches(eqx.Module):
    """Encode a glimpse to a Gaussian code and decode a code to a patch, by a convolution and a hidden layer each way.

    Blocks of 2 x 2 pixels are channels to the convolutions, as in `Embed`, so that these cost a quarter. A second
    convolution each way learned more slowly (experiments/LOG.md).
    """

    conv: Conv
    encoder: MLP
    decoder: MLP
    deconv: ConvTranspose
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
        output_bias: float = OUTPUT_BIAS,
        key: PRNGKeyArray,
    ):
        """Make the networks for patches of `shape` = (channels, side, side).

        At a quarter of the side, rounded up, there are `channels`. `output_bias` is added before the sigmoid, so that
        patches start out dark.
        """
        conv, encoder, decoder, deconv = jax.random.split(key, 4)
        features = (-(-shape[1] // 4)) ** 2 * channels
        self.conv = Conv(4 * shape[0], channels, key=conv)
        self.encoder = MLP((features, hidden, 2 * code_size), last_gain=0.5, key=encoder)
        self.decoder = MLP((code_size, hidden, features), last_gain=math.sqrt(2.0), key=decoder)
        self.deconv = ConvTranspose(channels, 4 * shape[0], gain=0.5, key=deconv)
        self.output_bias = output_bias
        self.shape = shape
        self.code_size = code_size

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw z_what ~ N(0, 1)."""
        return jax.random.normal(key, (self.code_size,))

    def encode(
        self, glimpse: Float[Array, "c p p"], noise: Float[Array, " d"] | None, *, pathwise: bool = True
    ) -> Code:
        """Infer q(what | glimpse), a diagonal Gaussian: z_what."""
        features = jax.nn.relu(self.conv(blocks_to_channels(glimpse.transpose(1, 2, 0))))
        return gaussian_code(Normal(*jnp.split(self.encoder(features.reshape(-1)), 2)), noise, pathwise=pathwise)

    def decode(self, what: Float[Array, " d"]) -> Float[Array, "c p p"]:
        """Draw the patch that `what` describes, in [0, 1]: y_att."""
        _, side, _ = self.shape
        half, quarter = -(-side // 2), -(-side // 4)
        features = jax.nn.relu(self.decoder(what)).reshape(quarter, quarter, -1)
        logits = channels_to_blocks(self.deconv(features, (half, half)), (side, side))
        return jax.nn.sigmoid(logits.transpose(2, 0, 1) + self.output_bias)
