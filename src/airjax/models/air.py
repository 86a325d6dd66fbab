"""Attend, Infer, Repeat: the generative model and the inference network, in the paper's order.

    p(x, z, n)  = p(n) prod_(t<=n) p(z^t) p(x | z^(1:n))                                      (section 2, equation 1)
    q(z, n | x) = q(z_pres^(n+1) = 0 | z^(1:n), x) prod_(t<=n) q(z^t, z_pres^t = 1 | x, z^(1:t-1))    (equation 4)

Every function acts on one image of shape [channels, height, width] with values in [0, 1]; callers use `jax.vmap`.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from airjax.models import count, windows
from airjax.models.background import Background, BlackBackground, Explained, Layers
from airjax.models.base import Family, Scene, Step, Trajectory, rounded
from airjax.models.layers import LSTMState, Normal
from airjax.models.likelihood import Likelihood
from airjax.models.patches.base import Code, PatchModel
from airjax.models.recogniser import Recogniser

UNROLL = 4
"""Steps of inference that are compiled without a loop: faster on a CPU, but many would take long to compile."""


DARK = math.exp(-2.0)
"""Odds of a pixel of an untrained patch."""


class WherePrior(eqx.Module):
    """The prior over windows p(z_where): a diagonal Gaussian over (log scale, x, y), fixed or learned."""

    normal: Normal
    learn: bool = eqx.field(static=True)

    def __init__(self, scale: float, scale_sd: float, position_sd: float, *, learn: bool = True):
        """Set the median `scale` (window side over canvas side), its relative spread, and the spread of x and y."""
        for name, value in (("scale", scale), ("scale_sd", scale_sd), ("position_sd", position_sd)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        mean = jnp.array([math.log(scale), 0.0, 0.0])
        self.normal = Normal(mean, jnp.log(jnp.array([scale_sd, position_sd, position_sd])))
        self.learn = learn

    def __call__(self) -> Normal:
        """Return the distribution, whose parameters get gradients only if they are learned."""
        return self.normal if self.learn else jax.lax.stop_gradient(self.normal)


class _Progress(NamedTuple):
    """What a step of inference leaves to the next: state, latents of its object, all objects, and what they explain."""

    state: LSTMState
    latents: Float[Array, " z"]
    objects: Layers
    explained: Explained


class AIR(Family):
    """The whole system: p(x, z, n) and q(z, n | x)."""

    count_log_prior: Float[Array, " counts"]
    where_prior: WherePrior
    patches: PatchModel
    ground: Background
    likelihood: Likelihood
    recogniser: Recogniser
    max_objects: int = eqx.field(static=True)
    image_shape: tuple[int, int, int] = eqx.field(static=True)
    window: int = eqx.field(static=True)
    residual_glimpses: bool = eqx.field(static=True)
    difference: bool = eqx.field(static=True)
    over: bool = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        patches: PatchModel,
        likelihood: Likelihood,
        where_prior: WherePrior,
        count_log_prior: Float[Array, " counts"] | Float[np.ndarray, " counts"],
        *,
        window: int = 28,
        hidden: int = 256,
        embed_channels: int = 16,
        embed_hidden: int = 256,
        head_hidden: int = 200,
        attention: int = 0,
        residual_glimpses: bool = True,
        difference: bool = False,
        ground: Background | None = None,
        over: bool = False,
        key: PRNGKeyArray,
    ):
        """Put the parts together for images of `image_shape` = (channels, height, width).

        `count_log_prior` is log p(n) for n = 0..N (see `airjax.models.count`), which sets N. With
        `residual_glimpses`, glimpses are cut from what the objects found so far leave of the image, so that of two
        touching objects the second is encoded without the first; without, from the image (the paper). With
        `difference`, the recurrent network sees what is left, too: Difference AIR (section 4.2).

        Objects lie on `ground`, or on black without one. They are added to it, or with `over` they cover it: the last
        channel of patches is then their mask, that of glimpses how badly a pixel is explained, and `patches` needs a
        channel more than images have.

        Raises:
            ValueError: `count_log_prior` allows no object, or `window` is below 1.
        """
        if window < 1:
            raise ValueError(f"window must be at least 1, got {window}")
        self.count_log_prior = count.as_log_prior(count_log_prior)
        self.where_prior, self.patches, self.likelihood = where_prior, patches, likelihood
        self.recogniser = Recogniser(
            image_shape,
            3 + patches.code_size,
            hidden=hidden,
            embed_channels=embed_channels,
            embed_hidden=embed_hidden,
            head_hidden=head_hidden,
            attention=attention,
            start=where_prior.normal,
            key=key,
        )
        self.max_objects = len(count_log_prior) - 1
        self.image_shape, self.window = image_shape, window
        self.residual_glimpses, self.difference = residual_glimpses, difference
        self.ground, self.over = ground or BlackBackground(image_shape), over

    @property
    def code_size(self) -> int:
        """The number of dimensions of z_what."""
        return self.patches.code_size

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "AIR":
        """Let the ground start from training scenes."""
        return eqx.tree_at(lambda m: m.ground, self, self.ground.init_from_data(images))

    def describe(self, what: Float[np.ndarray, " d"]) -> dict[str, Any]:
        """Describe an object by its code."""
        return {"code": rounded(what)}

    # The generative model

    def place(self, where: Float[Array, "3"], what: Float[Array, " d"]) -> Float[Array, "k h w"]:
        """Draw one object in its place: what it adds, or its masked colours and, last, its mask."""
        patch = self.patches.decode(what)
        if self.over:
            # Masked before they are resampled, colours don't darken towards the window's border.
            colours, mask = _shift(patch[:-1], self._level()), patch[-1:]
            patch = jnp.concatenate([colours * mask, mask])
        return windows.write(patch, jnp.exp(where[0]), where[1:], self.image_shape[1:])

    def compose(self, objects: Layers, placed: Float[Array, "k h w"]) -> Layers:
        """Put a placed object before others: add it, or let it cover what is there."""
        if objects.transmittance is None:
            return Layers(objects.colours + placed, None)
        past = 1.0 - placed[-1:]
        return Layers(objects.colours * past + placed[:-1], objects.transmittance * past)

    @property
    def _nothing(self):
        """No object."""
        return Layers(jnp.zeros(self.image_shape), jnp.ones((1, *self.image_shape[1:])) if self.over else None)

    @property
    def mean_background(self) -> Float[Array, "c h w"]:
        """What is expected of a scene without objects."""
        return self.ground.lay(jnp.zeros(self.ground.code_size), self._nothing)

    def _level(self):
        """Take the mean colour of the ground, from which the colours of objects start."""
        return jax.lax.stop_gradient(jnp.clip(jnp.mean(self.mean_background, axis=(1, 2), keepdims=True), 0.1, 0.9))

    def sample(self, *, key: PRNGKeyArray) -> Scene:
        """Draw a scene: n ~ p(n), z^t ~ p(z), and the mean of p(x | z)."""
        n_key, where_key, what_key = jax.random.split(key, 3)
        ground = self.ground.prior_sample(key=jax.random.fold_in(key, self.max_objects))
        n = jax.random.categorical(n_key, self.count_log_prior)
        draw_where = lambda k: self.where_prior().sample(key=k)
        draw_what = lambda k: self.patches.prior_sample(key=k)
        where = jax.vmap(draw_where)(jax.random.split(where_key, self.max_objects))
        what = jax.vmap(draw_what)(jax.random.split(what_key, self.max_objects))
        objects = jax.vmap(self.place)(where, what)
        present = (jnp.arange(self.max_objects) < n)[:, None, None, None]
        put = lambda before, placed: (self.compose(before, placed), None)
        layers, _ = jax.lax.scan(put, self._nothing, present * objects)
        return Scene(n, where, what, self.likelihood.mean(self.ground.lay(ground, layers)))

    # The inference network

    def infer(self, image: Float[Array, "c h w"], *, key: PRNGKeyArray | None, pathwise: bool = True) -> Trajectory:
        """Attend, infer, repeat: N steps of inference; without a key, along the central trajectory.

        That one has windows at their posterior's mean and typical codes (`patches.base.central`).

        With `pathwise`, gradients flow through the samples, which are reparameterised. Without, samples are constants
        and so is what q sees of them: log p has gradients by the generative model alone, log q by the recogniser alone.
        """
        nothing = self._nothing
        empty = self.ground.explain(image, nothing, self.likelihood)
        seen = None if self.difference else self.recogniser.look(_left(image, empty.canvas))
        start = _Progress(self.recogniser.lstm.initial_state, jnp.zeros(3 + self.patches.code_size), nothing, empty)

        def step(before, noise):
            after, found = self._step(image, seen, before, empty.canvas, noise, pathwise)
            return after, (found, after.explained.code)

        _, (steps, codes) = jax.lax.scan(step, start, self._noise(key), unroll=min(self.max_objects, UNROLL))
        likeliest = jnp.argmax(count.stick_breaking(steps.presence_logit))
        ground = jnp.concatenate([empty.code[None], codes])[likeliest]
        lay = lambda objects: self.ground.lay(ground, objects)
        zero = jnp.zeros(())
        return Trajectory(
            steps=steps._replace(canvas=jax.vmap(lay)(steps.objects)),
            ground=Code(ground, zero, zero, zero),
            empty_canvas=lay(nothing),
            empty_log_likelihood=empty.log_likelihood,
        )

    def _noise(self, key):
        """Draw what each step's window, code and fixation are made of; without a key, what is central."""
        code, cells = self.patches.code_size, self.recogniser.cells
        if key is None:
            return jnp.zeros((self.max_objects, 3)), None, jnp.zeros((self.max_objects, cells))
        return jnp.split(jax.random.normal(key, (self.max_objects, 3 + code + cells)), (3, 3 + code), axis=1)

    def _step(self, image, seen, before, empty, noise, pathwise):
        prior, canvas = self.where_prior(), before.explained.canvas
        left = _left(image, canvas)
        seen = self.recogniser.look(left) if seen is None else seen
        for_where, for_what, for_attention = noise
        presence_logit, posterior, state = self.recogniser(seen, before.latents, before.state, left, for_attention)
        where = posterior.reparameterise(for_where, pathwise=pathwise)
        behind = canvas if self.residual_glimpses else empty
        behind = behind if pathwise else jax.lax.stop_gradient(behind)
        glimpse = windows.read(self._shown(image, behind), jnp.exp(where[0]), where[1:], self.window)
        what = self.patches.encode(glimpse, for_what, pathwise=pathwise)
        objects = self.compose(before.objects, self.place(where, what.value))
        explained = self.ground.explain(image, objects, self.likelihood)
        found = Step(
            presence_logit=presence_logit,
            where=where,
            what=what.value,
            kl=posterior.kl(prior) + what.kl,
            log_p=prior.log_prob(where) + what.log_p,
            log_q=posterior.log_prob(where) + what.log_q,
            log_likelihood=explained.log_likelihood,
            canvas=explained.canvas,
            objects=objects,
        )
        return _Progress(state, jnp.concatenate([where, what.value]), objects, explained), found

    def _shown(self, image, behind):
        """Show to patches what differs from the canvas behind, in the form of what they draw."""
        left = image - behind
        if not self.over:
            return left
        mask = jnp.max(jnp.abs(left), axis=0, keepdims=True)
        return jnp.concatenate([image * mask, mask])


def _shift(colours, level):
    """Scale the odds of colours so that patches, which start out dark, start with the colour `level`.

    If they stood out at first, masks would vanish wherever objects differ from the ground in the other direction.
    """
    odds = level / (1.0 - level) / DARK
    return colours * odds / (1.0 - colours + colours * odds)


def _left(image, canvas):
    """Take away what is explained, as the recogniser sees it.

    Without the gradient through the canvas, it learns faster and steps disturb each other less.
    """
    return image - jax.lax.stop_gradient(canvas)
