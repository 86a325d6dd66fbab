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
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from airjax.models import count, windows
from airjax.models.attention import error_map, update_error_map
from airjax.models.backgrounds.base import Background, Explained, Layers
from airjax.models.backgrounds.fixed import BlackBackground
from airjax.models.base import EDGE, Family, Scene, Step, Trajectory, View, rounded
from airjax.models.compositor import Add, Compositor
from airjax.models.layers import LSTMState, Normal
from airjax.models.likelihood import Likelihood
from airjax.models.patches.base import Code, PatchModel, Tempered, output_bias
from airjax.models.recogniser import Recogniser

UNROLL, SMALL = 4, 2_500
"""Steps of inference that are compiled without a loop, and the most values of an image for that: on a CPU, a loop makes
small steps slower, but halves the time of compilation."""

COARSE = 128
"""Longer side, in pixels, of the largest image that the LSTM sees where steps are local; larger ones are shrunk."""


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
    """The input of a step from the previous one: LSTM state, its object's latents, all objects, and their canvas.

    With local steps, there are no layers of objects, but the error map that attention, if any, chooses from. With
    inhibition of return, there are the weights of these errors.
    """

    state: LSTMState
    latents: Float[Array, " z"]
    objects: Layers | None
    explained: Explained
    error: Float[Array, "rows columns"] | None
    weights: Float[Array, "rows columns"] | None


class _Shared(NamedTuple):
    """What all steps of one image share.

    Attributes:
        image: the image.
        empty: the canvas without objects.
        seen: the image, embedded; None in Difference AIR, where every step embeds what is left.
    """

    image: Float[Array, "c h w"]
    empty: Float[Array, "c h w"]
    seen: Float[Array, " g"] | None


class Given(NamedTuple):
    """An image whose objects are known in number and place.

    Attributes:
        log_joint: lower bound on log p(x | where, n), in nats.
        log_q: log q(where, n | x) in the order of inference, in nats.
    """

    log_joint: Float[Array, ""]
    log_q: Float[Array, ""]


class AIR(Family):
    """The whole system: p(x, z, n) and q(z, n | x)."""

    count_log_prior: Float[Array, " counts"]
    where_prior: WherePrior
    patches: PatchModel
    background: Background
    likelihood: Likelihood
    recogniser: Recogniser
    max_objects: int = eqx.field(static=True)
    image_shape: tuple[int, int, int] = eqx.field(static=True)
    window: int = eqx.field(static=True)
    residual_glimpses: bool = eqx.field(static=True)
    difference: bool = eqx.field(static=True)
    edge: float = eqx.field(static=True)
    block: int | None = eqx.field(static=True)
    trajectories: int = eqx.field(static=True)
    compositor: Compositor

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
        inhibition: float = 0.0,
        trajectories: int = 1,
        residual_glimpses: bool = True,
        difference: bool = False,
        background: Background | None = None,
        compositor: Compositor | None = None,
        edge: float = EDGE,
        block: int | None = None,
        key: PRNGKeyArray,
    ):
        """Put the parts together for images of `image_shape` = (channels, height, width).

        `count_log_prior` is log p(n) for n = 0..N (see `airjax.models.count`), which sets N. With
        `residual_glimpses`, glimpses are cut from the residual, the image minus the canvas, so that of two touching
        objects the second is encoded without the first. Otherwise they are cut from the image (the paper). With
        `difference`, the recurrent network sees the residual, too: Difference AIR (section 4.2).

        Objects lie on `background`, or on black without one. The `compositor` puts them there: `Add`, the default, adds
        them to it. With `Over` they cover it, and `patches` needs one channel more than images have, the mask. Pixels
        that an object changes by at least the share `edge` of its largest change count for its box.

        `attention` is the number of features of `airjax.models.attention.Attention`; 0 leaves it out, and then
        `inhibition` has no effect. With it, inference may choose from several `trajectories` (`inference.infer.find`).

        With a `block`, steps are local: an object changes nothing outside of a square of `block` pixels around its
        window's centre, so that a step costs the same on a canvas of any size; and the LSTM sees images shrunk to at
        most 128 pixels.

        Raises:
            ValueError: `count_log_prior` allows no object, `window`, `block` or `trajectories` is below 1, or there are
                several trajectories without attention.
        """
        if trajectories < 1 or (trajectories > 1 and not attention):
            raise ValueError(f"trajectories must be 1, or more with attention, got {trajectories}")
        for name, side in (("window", window), ("block", block)):
            if side is not None and side < 1:
                raise ValueError(f"{name} must be at least 1, got {side}")
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
            inhibition=inhibition,
            start=where_prior.normal,
            shrink=1 if block is None else -(-max(image_shape[1:]) // COARSE),
            key=key,
        )
        self.max_objects = len(count_log_prior) - 1
        self.image_shape, self.window = image_shape, window
        self.residual_glimpses, self.difference, self.edge = residual_glimpses, difference, edge
        self.block, self.trajectories = block, trajectories
        self.background, self.compositor = background or BlackBackground(image_shape), compositor or Add()

    @property
    def code_size(self) -> int:
        """The number of dimensions of z_what."""
        return self.patches.code_size

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "AIR":
        """Initialise the background from training scenes."""
        return eqx.tree_at(lambda m: m.background, self, self.background.init_from_data(images))

    @property
    def glimpse_side(self) -> int:
        """The side of glimpses, in samples."""
        return self.window

    @property
    def window_side(self) -> float:
        """The median side of attention windows under their prior, in pixels."""
        return float(jnp.exp(self.where_prior.normal.mean[0])) * max(self.image_shape[1:])

    @property
    def covers(self) -> bool:
        """Whether an object hides what is behind it, instead of being added to it."""
        return self.compositor.covers

    @property
    def on_black(self) -> bool:
        """Whether the background is black."""
        return isinstance(self.background, BlackBackground)

    def describe(self, what: Float[np.ndarray, " d"]) -> dict[str, Any]:
        """Describe an object by its code."""
        return {"code": rounded(what)}

    # The generative model

    def place(self, where: Float[Array, "3"], what: Float[Array, " d"]) -> Float[Array, "k h w"]:
        """Draw one object in its place: k channels as the compositor says (`Compositor.patch_channels`)."""
        block = self._block(where)
        placed = self._write(where, what, self.image_shape[1:], block)
        return placed if block is None else block.put(jnp.zeros((len(placed), *self.image_shape[1:])), placed)

    def _write(self, where, what, shape, block=None):
        patch = self.compositor.prepare(self.patches.decode(what), self.mean_background, output_bias(self.patches))
        return windows.write(patch, jnp.exp(where[0]), where[1:], shape, block)

    def _block(self, where):
        """Find the part of the canvas that the object in a window can change; None: all of it."""
        return None if self.block is None else windows.block_around(where[1:], self.block, self.image_shape[1:])

    @property
    def _nothing(self) -> Layers:
        return self.compositor.nothing(self.image_shape)

    @property
    def mean_background(self) -> Float[Array, "c h w"]:
        """The canvas of a scene without objects, at the mean of the background's code."""
        return self.background.lay(jnp.zeros(self.background.code_size), self._nothing)

    def sample(self, *, key: PRNGKeyArray) -> Scene:
        """Draw a scene: n ~ p(n), z^t ~ p(z), and the mean of p(x | z)."""
        n_key, where_key, what_key = jax.random.split(key, 3)
        code = self.background.prior_sample(key=jax.random.fold_in(key, self.max_objects))
        n = jax.random.categorical(n_key, self.count_log_prior)
        draw_where = lambda k: self.where_prior().sample(key=k)
        draw_what = lambda k: self.patches.prior_sample(key=k)
        where = jax.vmap(draw_where)(jax.random.split(where_key, self.max_objects))
        what = jax.vmap(draw_what)(jax.random.split(what_key, self.max_objects))
        objects = jax.vmap(self.place)(where, what)
        present = (jnp.arange(self.max_objects) < n)[:, None, None, None]
        put = lambda others, placed: (self.compositor.compose(others, placed), None)
        layers, _ = jax.lax.scan(put, self._nothing, present * objects)
        return Scene(n, where, what, self.likelihood.mean(self.background.lay(code, layers)))

    def steer(self, scale: float, temperature: float) -> "AIR":
        """Change the priors: objects `scale` times as large, and codes `temperature` times as far from their mean."""
        mean = self.where_prior.normal.mean
        steered = mean.at[0].add(np.log(scale)), Tempered(self.patches, jnp.asarray(temperature, mean.dtype))
        return eqx.tree_at(lambda m: (m.where_prior.normal.mean, m.patches), self, steered)

    def ink(self, *, where_key: PRNGKeyArray, what_key: PRNGKeyArray) -> Float[Array, "h w"]:
        """Draw an object from the prior in the middle of a scene: how strongly it changes each pixel."""
        where = self.where_prior().sample(key=where_key).at[1:].set(0.0)
        return self.compositor.ink(self.place(where, self.patches.prior_sample(key=what_key)))

    # The inference network

    def infer(self, image: Float[Array, "c h w"], *, key: PRNGKeyArray | None, pathwise: bool = True) -> Trajectory:
        """Attend, infer, repeat: N steps of inference; without a key, along the central trajectory.

        That one has windows at their posterior's mean and typical codes (`patches.base.central`).

        With `pathwise`, gradients flow through the samples, which are reparameterised. Without, samples are constants,
        and so are the inputs that q gets from them: log p has gradients by the generative model alone, log q by the
        recogniser alone.
        """
        return self._infer(image, self._noise(key), pathwise)[0]

    def infer_again(self, image: Float[Array, "c h w"], *, key: PRNGKeyArray) -> Trajectory:
        """Infer along a trajectory that is central but for the places where it looks, which the key chooses."""
        (for_where, for_what, _), (*_, for_attention) = self._noise(None), self._noise(key)
        return self._infer(image, (for_where, for_what, for_attention), True)[0]

    def infer_layers(
        self, image: Float[Array, "c h w"], *, key: PRNGKeyArray | None, pathwise: bool = True
    ) -> tuple[Trajectory, Layers]:
        """Do as `infer`, and return also the layers of the first 1, ..., N objects, stacked."""
        trajectory, layers = self._infer(image, self._noise(key), pathwise)
        return trajectory, self._layers(trajectory.steps) if layers is None else layers

    def _layers(self, steps):
        def put(others, placed):
            objects = self.compositor.compose(others, placed)
            return objects, objects

        return jax.lax.scan(put, self._nothing, jax.vmap(self.place)(steps.where, steps.what))[1]

    def _infer(self, image, noise, pathwise):
        """Infer; with local steps, there are no layers."""
        shared, start = self._start(image)
        empty = start.explained

        def step(previous, noise):
            progress, found = self._step(shared, previous, noise, pathwise)
            return progress, (found, progress.objects, progress.explained.code)

        _, (steps, layers, codes) = jax.lax.scan(step, start, noise, unroll=self._unroll)
        code, empty_canvas, zero = empty.code, empty.canvas, jnp.zeros(())
        if layers is not None:
            likeliest = jnp.argmax(count.stick_breaking(steps.presence_logit))
            code = jnp.concatenate([code[None], codes])[likeliest]
            lay = lambda objects: self.background.lay(code, objects)
            steps, empty_canvas = steps._replace(canvas=jax.vmap(lay)(layers)), lay(start.objects)
        trajectory = Trajectory(
            steps=steps,
            scene=Code(code, zero, zero, zero),
            empty_canvas=empty_canvas,
            empty_log_likelihood=empty.log_likelihood,
            auxiliary=zero,
        )
        return trajectory, layers

    def _start(self, image):
        """Begin with no object: what all steps share, and the progress before the first."""
        nothing = self._nothing
        empty = self.background.explain(image, nothing, self.likelihood)
        residual = _residual(image, empty.canvas)
        seen = None if self.difference else self.recogniser.look(residual)
        latents, lstm = jnp.zeros(3 + self.patches.code_size), self.recogniser.lstm.initial_state
        layers, attention = nothing if self.block is None else None, self.recogniser.attention
        error = error_map(residual) if attention is not None and self.block is not None else None
        weights = None if attention is None else attention.uninhibited
        start = _Progress(lstm, latents, layers, empty, error, weights)
        return _Shared(image, empty.canvas, seen), start

    @property
    def _unroll(self):
        return min(self.max_objects, UNROLL) if math.prod(self.image_shape) <= SMALL else 1

    def _noise(self, key):
        """Draw the noise of each step's window, code and fixation; without a key, return that of central samples."""
        code, cells = self.patches.code_size, self.recogniser.cells if self.block is None else 2
        if key is None:
            return jnp.zeros((self.max_objects, 3)), None, None
        return jnp.split(jax.random.normal(key, (self.max_objects, 3 + code + cells)), (3, 3 + code), axis=1)

    def _step(self, shared, previous, noise, pathwise):
        """Infer object t, given the previous step's progress (paper, sections 2.1 and 3.1)."""
        for_where, for_what, for_attention = noise
        # 1. Look.
        presence_logit, posterior, state = self._look(shared, previous, for_attention)
        # 2. Attend: sample z_where^t.
        where = posterior.reparameterise(for_where, pathwise=pathwise)
        what, drawn = self._draw(shared, where, previous, for_what, pathwise=pathwise)
        prior = self.where_prior()
        found = Step(
            presence_logit=presence_logit,
            where=where,
            what=what.value,
            kl=posterior.kl(prior) + what.kl,
            log_p=prior.log_prob(where) + what.log_p,
            log_q=posterior.log_prob(where) + what.log_q,
            log_likelihood=drawn.explained.log_likelihood,
            canvas=drawn.explained.canvas,
        )
        # 5. Repeat: the next step gets h^t, z^t and the canvas.
        return drawn._replace(state=state), found

    def _look(self, shared, previous, noise):
        """Look at what is left of the image: presence logit, q(z_where^t | x, z^(1:t-1)) and the LSTM's state."""
        # 1. h^t = R(x, z^(t-1), h^(t-1)), in Difference AIR R(x - canvas, ...), gives p(z_pres^t = 1) and
        #    q(z_where^t | x, z^(1:t-1)).
        seen = shared.seen
        if seen is None:
            seen = self.recogniser.look(_residual(shared.image, previous.explained.canvas))
        attended = self._attend(shared, previous, noise)
        return self.recogniser(seen, previous.latents, previous.state, attended)

    def _attend(self, shared, previous, noise):
        """Attend to what is left of the image; without attention, to nothing."""
        attention, canvas = self.recogniser.attention, previous.explained.canvas
        if attention is None:
            return None
        if self.block is None:
            return attention(_residual(shared.image, canvas), noise, previous.weights)
        residual = lambda block: _residual(block.cut(shared.image), block.cut(canvas))
        return attention.within(residual, previous.error, self.block, noise, previous.weights)

    def _draw(self, shared, where, previous, noise, *, pathwise=True, present: Array | float = 1.0):
        """Infer the object in a window and draw it: its code, and the progress, but for the LSTM's state.

        An object that is not `present` (0) changes nothing.
        """
        block, canvas = self._block(where), previous.explained.canvas
        here = lambda image: image if block is None else block.cut(image)
        # 2. Attend: cut out the glimpse x_att^t.
        behind = here(canvas if self.residual_glimpses else shared.empty)
        behind = behind if pathwise else jax.lax.stop_gradient(behind)
        shown = self.compositor.shown(here(shared.image), behind)
        glimpse = windows.read(shown, jnp.exp(where[0]), where[1:], self.window, block)
        # 3. Infer: sample z_what^t from q(z_what^t | x_att^t).
        what = self.patches.encode(glimpse, noise, pathwise=pathwise)
        # 4. Draw: decode z_what^t to the patch y_att^t, write it to the canvas as y^t, and evaluate p(x | z^(1:t)).
        placed = present * self._write(where, what.value, self.image_shape[1:], block)
        drawn = previous._replace(latents=jnp.concatenate([where, what.value]))
        attention = self.recogniser.attention
        if attention is not None and previous.weights is not None:
            drawn = drawn._replace(weights=attention.inhibit(previous.weights, where))
        if block is None:
            objects = self.compositor.compose(previous.objects, placed)
            explained = self.background.explain(shared.image, objects, self.likelihood, previous.explained)
            return what, drawn._replace(objects=objects, explained=explained)
        return what, self._put(drawn, shared, placed, block)

    def _put(self, previous, shared, placed, block):
        """Put an object into its block of the canvas, and evaluate p(x | z^(1:t)) by what it changes there.

        The background behind it is that of the empty scene.
        """
        code, canvas, log_likelihood = previous.explained
        image, background, before = block.cut(shared.image), block.cut(shared.empty), block.cut(canvas)
        after = self.compositor.paint(before, placed)
        explain = lambda canvas: self.likelihood.log_prob(image, canvas, canvas - background)
        explained = Explained(code, block.put(canvas, after), log_likelihood + explain(after) - explain(before))
        error = previous.error
        if error is not None:
            error = update_error_map(error, _residual(image, before), _residual(image, after), block)
        return previous._replace(explained=explained, error=error)

    def infer_given(
        self,
        image: Float[Array, "c h w"],
        where: Float[Array, "N 3"],
        count: Int[Array, ""],
        *,
        key: PRNGKeyArray,
    ) -> Given:
        """Infer the codes of objects whose number and windows are known, and evaluate q of these.

        The order of objects is the recogniser's own: each step takes the object nearest to the mean of its q(where).

        Args:
            image: the image.
            where: windows of the objects; those from `count` on are ignored.
            count: number of objects.
            key: fixes the noise.
        """
        shared, start = self._start(image)
        longer_sides = jnp.asarray(windows.extent(*self.image_shape[1:]))

        def step(carry, noise):
            (previous, left), (_, for_what, for_attention) = carry, noise
            presence_logit, posterior, state = self._look(shared, previous, for_attention)
            distances = jnp.sum(((where[:, 1:] - posterior.mean[1:]) / longer_sides) ** 2, axis=1)
            chosen, present = jnp.argmin(jnp.where(left, distances, jnp.inf)), jnp.any(left)
            what, drawn = self._draw(shared, where[chosen], previous, for_what, present=present)
            log_q = jax.nn.log_sigmoid(jnp.where(present, presence_logit, -presence_logit))
            log_q += jnp.where(present, posterior.log_prob(where[chosen]), 0.0)
            return (drawn._replace(state=state), left.at[chosen].set(False)), (log_q, jnp.where(present, what.kl, 0.0))

        t = jnp.arange(self.max_objects)
        (last, _), (log_q, kl) = jax.lax.scan(step, (start, t < count), self._noise(key), unroll=self._unroll)
        return Given(
            log_joint=last.explained.log_likelihood - jnp.sum(kl),
            log_q=jnp.sum(jnp.where(t <= count, log_q, 0.0)),
        )

    def view(
        self,
        image: Float[Array, "c h w"],
        where: Float[Array, "N 3"],
        what: Float[Array, "N d"],
        canvases: Float[Array, "counts c h w"],
    ) -> View:
        """Cut out the glimpses of a scene, and draw each object by itself; see `Family.view`."""
        side = max(self.image_shape[1:])  # an oblong image would cut off parts of a window of scale 1

        def one(where, what, canvas):
            shown = self.compositor.shown(image, canvas)
            glimpse = windows.read(shown, jnp.exp(where[0]), where[1:], self.window)
            return View(glimpse[: len(image)], self._write(jnp.zeros(3), what, (side, side))[: len(image)])

        # Without residual glimpses, only the background is subtracted from the image.
        empty = jnp.broadcast_to(canvases[:1], canvases[1:].shape)
        return jax.vmap(one)(where, what, canvases[:-1] if self.residual_glimpses else empty)


def _residual(image, canvas):
    """Subtract the canvas from the image, without a gradient through the canvas.

    Without it, the recogniser learns faster and steps disturb each other less.
    """
    return image - jax.lax.stop_gradient(canvas)
