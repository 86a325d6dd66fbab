"""DRAW as a patch model (Gregor et al., *DRAW: A Recurrent Neural Network for Image Generation*, 2015)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.models.layers import LSTM, Linear, LSTMState, Normal
from airjax.models.patches.base import OUTPUT_BIAS, Code, gaussian_code

UNROLL = 5
"""Steps that are compiled without a loop: a training step of AIR then takes a seventh less time on a CPU."""


class DRAWPatches(eqx.Module):
    """Draw a patch in several steps, each of which has its own part of the code and adds to the canvas.

    This is DRAW without its attention (section 3.1 of its paper), since in AIR the window attends already: reading
    takes the whole patch and the error so far, here projected to as many numbers as the LSTMs have units; writing
    adds to all pixels. Left out, too, are learned states before the first step: the canvas starts dark, the LSTMs at
    zero.
    """

    look: Linear
    compare: Linear
    reader: LSTM
    posterior: Linear
    writer: LSTM
    write: Linear
    output_bias: float = eqx.field(static=True)
    shape: tuple[int, int, int] = eqx.field(static=True)
    code_size: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        code_size: int = 50,
        steps: int = 5,
        hidden: int = 192,
        output_bias: float = OUTPUT_BIAS,
        key: PRNGKeyArray,
    ):
        """Make the networks for patches of `shape` = (channels, side, side).

        `code_size` is that of all steps together. The canvas, before the sigmoid, starts out as `output_bias`.

        Raises:
            ValueError: `steps` does not divide `code_size`.
        """
        if code_size % steps:
            raise ValueError(f"code_size must be divisible by draw_steps, got {code_size} and {steps}")
        pixels, each = shape[0] * shape[1] * shape[2], code_size // steps
        look, compare, reader, posterior, writer, write = jax.random.split(key, 6)
        self.look = Linear(pixels, hidden, key=look)
        self.compare = Linear(pixels, hidden, key=compare)
        self.reader = LSTM(2 * hidden, hidden, key=reader)
        self.posterior = Linear(hidden, 2 * each, gain=0.5, key=posterior)
        self.writer = LSTM(each, hidden, key=writer)
        self.write = Linear(hidden, pixels, gain=0.5, key=write)
        self.output_bias = output_bias
        self.shape = shape
        self.code_size = code_size
        self.steps = steps

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw z_what ~ N(0, 1)."""
        return jax.random.normal(key, (self.code_size,))

    def encode(
        self, glimpse: Float[Array, "c p p"], noise: Float[Array, " d"] | None, *, pathwise: bool = True
    ) -> Code:
        """Infer q(what | glimpse), a Gaussian at every step given the steps before: z_what.

        The KL is the sum of the steps' own along the sampled path, whose mean over paths is the divergence.
        """
        return self.retrace(glimpse, noise, pathwise=pathwise)[0]

    def retrace(
        self, glimpse: Float[Array, "c p p"], noise: Float[Array, " d"] | None, *, pathwise: bool = True
    ) -> tuple[Code, Float[Array, "c p p"]]:
        """Infer the code, and the patch that it was drawing meanwhile (equations 3 to 8)."""
        pixels = glimpse.reshape(-1)
        looked = self.look(pixels)

        def step(carry, step_noise):
            read, drawn = carry
            canvas, written = drawn if pathwise else jax.lax.stop_gradient(drawn)
            seen = looked + self.compare(pixels - jax.nn.sigmoid(canvas))
            read = self.reader(jnp.concatenate([seen, written.hidden]), read)
            posterior = Normal(*jnp.split(self.posterior(read.hidden), 2))
            code = gaussian_code(posterior, step_noise, pathwise=pathwise)
            return (read, self._draw(drawn, code.value)), code

        start = (self.reader.initial_state, self._blank())
        noises = None if noise is None else noise.reshape(self.steps, -1)
        (_, (canvas, _)), codes = jax.lax.scan(step, start, noises, length=self.steps, unroll=UNROLL)
        code = Code(codes.value.reshape(-1), *(jnp.sum(term) for term in codes[1:]))
        return code, jax.nn.sigmoid(canvas).reshape(self.shape)

    def decode(self, what: Float[Array, " d"]) -> Float[Array, "c p p"]:
        """Draw the patch that `what` describes, in [0, 1]: y_att."""
        draw = lambda drawn, code: (self._draw(drawn, code), None)
        (canvas, _), _ = jax.lax.scan(draw, self._blank(), what.reshape(self.steps, -1), unroll=UNROLL)
        return jax.nn.sigmoid(canvas).reshape(self.shape)

    def _blank(self) -> tuple[Float[Array, " pixels"], LSTMState]:
        pixels = self.shape[0] * self.shape[1] * self.shape[2]
        return jnp.full(pixels, self.output_bias), self.writer.initial_state

    def _draw(self, drawn, code):
        """Add one step's part to the canvas, given canvas and state of the writer."""
        canvas, written = drawn
        written = self.writer(code, written)
        return canvas + self.write(written.hidden), written
