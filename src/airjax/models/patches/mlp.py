"""The paper's patch model: a variational autoencoder with one hidden layer each way."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.models.layers import MLP, Normal
from airjax.models.patches.base import OUTPUT_BIAS, Code, gaussian_code


class MLPPatches(eqx.Module):
    """Decode a Gaussian code to a patch, and encode a glimpse to a code, with multilayer perceptrons."""

    encoder: MLP
    decoder: MLP
    output_bias: float = eqx.field(static=True)
    shape: tuple[int, int, int] = eqx.field(static=True)
    code_size: int = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        code_size: int = 50,
        hidden: int = 200,
        output_bias: float = OUTPUT_BIAS,
        key: PRNGKeyArray,
    ):
        """Make the networks for patches of `shape` = (channels, side, side).

        `output_bias` is added before the sigmoid, so that patches start out dark.
        """
        pixels = shape[0] * shape[1] * shape[2]
        encoder, decoder = jax.random.split(key)
        self.encoder = MLP((pixels, hidden, 2 * code_size), last_gain=0.5, key=encoder)
        self.decoder = MLP((code_size, hidden, pixels), last_gain=0.5, key=decoder)
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
        return gaussian_code(Normal(*jnp.split(self.encoder(glimpse.reshape(-1)), 2)), noise, pathwise=pathwise)

    def decode(self, what: Float[Array, " d"]) -> Float[Array, "c p p"]:
        """Draw the patch that `what` describes, in [0, 1]: y_att."""
        return jax.nn.sigmoid(self.decoder(what) + self.output_bias).reshape(self.shape)
