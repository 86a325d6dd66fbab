"""Build a model from a configuration."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.config import ModelConfig
from airjax.models import count
from airjax.models.air import AIR, WherePrior
from airjax.models.air3d.model import AIR3D
from airjax.models.backgrounds.base import Background
from airjax.models.backgrounds.fixed import BlackBackground, FixedBackground
from airjax.models.backgrounds.linear import LinearBackground
from airjax.models.backgrounds.smooth import SmoothBackground
from airjax.models.base import Family
from airjax.models.compositor import Add, Over
from airjax.models.likelihood import BernoulliLikelihood, Likelihood, NormalLikelihood
from airjax.models.patches.base import PatchModel
from airjax.models.patches.conv import ConvPatches
from airjax.models.patches.draw import DRAWPatches
from airjax.models.patches.mlp import MLPPatches
from airjax.render3d.stage import STAGES


def count_prior(config: ModelConfig) -> Float[Array, " counts"]:
    """Make log p(n) as configured.

    Raises:
        ValueError: the prior's parameters are out of range.
    """
    match config.count_prior:
        case "geometric":
            log_probs = count.truncated_geometric(config.max_objects, config.count_ratio)
        case "uniform":
            log_probs = count.uniform(config.max_objects)
    return jnp.asarray(log_probs)


def _likelihood(config: ModelConfig) -> Likelihood:
    if config.likelihood == "bernoulli":
        return BernoulliLikelihood()
    return NormalLikelihood(config.sd, learn=config.learn_sd, gain=config.sd_gain)


def _background(config: ModelConfig, image_shape: tuple[int, int, int]) -> Background:
    match config.background_model:
        case "none":
            return BlackBackground(image_shape)
        case "constant" | "mean":
            return FixedBackground(image_shape, uniform=config.background_model == "constant")
        case "smooth":
            return SmoothBackground(image_shape)
        case "linear":
            return LinearBackground(image_shape, components=config.background_components)


def build_patches(config: ModelConfig, shape: tuple[int, int, int], *, key: PRNGKeyArray) -> PatchModel:
    """Make an untrained patch model for patches of `shape` = (channels, side, side).

    Raises:
        ValueError: a value of the configuration is out of range.
    """
    size, hidden = config.code_size, config.patch_hidden
    match config.patches:
        case "mlp":
            return MLPPatches(shape, code_size=size, hidden=hidden, key=key)
        case "conv":
            return ConvPatches(shape, code_size=size, channels=config.patch_channels, hidden=hidden, key=key)
        case "draw":
            return DRAWPatches(shape, code_size=size, steps=config.draw_steps, hidden=config.draw_hidden, key=key)


def build_model(
    config: ModelConfig,
    image_shape: tuple[int, int, int],
    *,
    patches: PatchModel | None = None,
    key: PRNGKeyArray,
) -> Family:
    """Make an untrained model for images of `image_shape` = (channels, height, width).

    A patch model given as `patches` takes the place of the configured one.

    Raises:
        ValueError: a value of the configuration is out of range.
    """
    if config.objects != "patches":
        return _build_3d(config, image_shape, patches, key)
    patch_key, model_key = jax.random.split(key)
    compositor = Over() if config.compose == "over" else Add()
    if patches is None:
        channels = compositor.patch_channels(image_shape[0])
        patches = build_patches(config, (channels, config.window, config.window), key=patch_key)
    where = WherePrior(config.scale, config.scale_sd, config.position_sd, learn=config.learn_where)
    return AIR(
        image_shape,
        patches,
        _likelihood(config),
        where,
        count_prior(config),
        window=config.window,
        hidden=config.hidden,
        embed_channels=config.embed_channels,
        embed_hidden=config.embed_hidden,
        head_hidden=config.head_hidden,
        attention=config.attention,
        inhibition=config.inhibition,
        trajectories=config.trajectories,
        residual_glimpses=config.residual_glimpses,
        difference=config.difference,
        background=_background(config, image_shape),
        compositor=compositor,
        edge=config.edge,
        block=config.block,
        key=model_key,
    )


def _build_3d(config, image_shape, patches, key) -> AIR3D:
    if patches is not None:
        raise ValueError(f"patches mean nothing where objects are {config.objects}")
    return AIR3D(
        image_shape,
        STAGES[config.objects],
        _likelihood(config),
        count_prior(config),
        embed_channels=config.embed_channels,
        embed_hidden=config.embed_hidden,
        head_hidden=config.head_hidden,
        key=key,
    )
