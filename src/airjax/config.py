"""The configuration of a run. The defaults are the run behind the published multi-MNIST numbers."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

BackgroundKind = Literal["none", "noise", "grid", "texture"]
ChannelsKind = Literal[1, 3]
ComposeKind = Literal["add", "over"]
CountPriorKind = Literal["geometric", "uniform"]
BackgroundModelKind = Literal["none", "constant", "mean", "smooth", "linear"]
PolarityKind = Literal["light", "dark"]
LikelihoodKind = Literal["normal", "bernoulli"]
ObjectsKind = Literal["patches", "solids", "crockery", "crockery-round"]
PatchKind = Literal["mlp", "conv", "draw"]
ObjectiveKind = Literal["marginal", "nvil", "importance", "rws", "vimco", "concrete"]
ScheduleKind = Literal["cosine", "constant"]
DATA_SETS = (
    *("multi-mnist", "multi-digits", "sprites", "multi-dsprites-like", "omniglot"),
    *("solids", "crockery", "crockery-round"),
)
MAX_SEED = 2**32 - 1
MOST_OBJECTS = 1_000
"""Most objects of a scene that are known of it, or that a model finds."""


def is_address(text: str) -> bool:
    """Tell whether a text is an address, such as s3://bucket/folder, and no path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def _check(config: Any, rule: str, holds: Callable[[Any], bool], *names: str) -> None:
    """Raise ValueError unless each of the named settings satisfies a rule."""
    for name in names:
        value = getattr(config, name)
        if not holds(value):
            raise ValueError(f"{name} must be {rule}, got {value}")


def _check_at_least(config: Any, least: int, *names: str) -> None:
    _check(config, f"at least {least}", lambda value: value >= least, *names)


def _check_positive(config: Any, *names: str) -> None:
    _check(config, "positive and finite", lambda value: 0 < value < math.inf, *names)


def _check_choice(config: Any, choices: Any, name: str) -> None:
    allowed = get_args(choices)
    _check(config, f"one of {', '.join(map(str, allowed))}", lambda value: value in allowed, name)


def check_channels(channels: tuple[int, ...] | None) -> None:
    """Raise ValueError unless channels are one to three different numbers from 1 on, or none."""
    if channels is not None and not (
        0 < len(set(channels)) == len(channels) <= 3 and all(type(one) is int and one >= 1 for one in channels)
    ):
        raise ValueError(f"pick_channels must be one to three different numbers from 1 on, got {channels}")


@dataclass(frozen=True)
class DataConfig:
    """Settings of the data set.

    Attributes:
        name: multi-mnist, multi-digits (scikit-learn's small digits, no download), sprites, multi-dsprites-like,
            omniglot, solids, crockery, crockery-round (seen from anywhere within a quarter turn), an .npz file, or a
            folder of pictures; these may be at an address, such as s3://bucket/folder.
        data_dir: folder of MNIST's IDX files or Omniglot's archives; None: download and cache them.
        scenes: number of training scenes.
        held_out_scenes: number of held-out scenes; their digits occur in no training scene.
        data_seed: seed of the data set, separate from the run's seed.
        counts: possible numbers of objects in a scene, equally likely.
        canvas: side of a scene, in pixels; pictures of a folder, or their tiles, are fitted into it.
        height: height of a folder's images, if it differs from their width, canvas; None: they are square.
        tile: width, in pixels of a folder's pictures, of the tiles that are cut out of them; for large pictures, or
            those with many objects. None: whole pictures.
        still: whether tiles show how pictures differ from what stands still behind their objects, which is told by
            pictures that are learned from; for a folder of one fixed camera. None: no.
        levels: values of a folder's pictures that become black and white, and gamma: values between, from 0 to 1, are
            raised to the power of 1 / gamma. None: 0, the most that their bits hold, and 1.
        pick_channels: one, two or three channels to take of a folder's pictures, counted from 1: one becomes grey, two
            red and green, three colour. None: all, of pictures of one channel or three; others are refused.
        every: of each file of a folder with several pictures, such as a video or a stack, only every so many-th is
            taken, from the first on.
        digit_scale: mean factor by which a 28-pixel digit is shrunk.
        digit_scale_sd: standard deviation of that factor.
        digit_side: smallest and largest side of a digit's tile, in pixels, uniform between; None: use digit_scale.
        max_ink: largest sum of digits in a pixel, 1 to 255; other scenes are redrawn; None: any overlap.
        background: background of digits and sprites (noise also covers them).
        channels: 1 for grey sprites or pictures, 3 for colour.
        polarity: whether objects in your own images are lighter or darker than the background; dark ones are inverted.
        held_out_fraction: fraction of a folder's or .npz file's scenes that is held out.
        strict: whether a picture of a folder that can't be read is an error; otherwise it is skipped.
        pictures: fingerprint of the folder's pictures at the start of the run; set automatically.
    """

    name: str = "multi-mnist"
    data_dir: Path | None = None
    scenes: int = 60_000
    held_out_scenes: int = 10_000
    data_seed: int = 0
    counts: tuple[int, ...] = (0, 1, 2)
    canvas: int = 50
    height: int | None = None
    tile: int | None = None
    still: bool | None = None
    levels: tuple[float, float, float] | None = None
    pick_channels: tuple[int, ...] | None = None
    every: int = 1
    digit_scale: float = 1.3
    digit_scale_sd: float = 0.1
    digit_side: tuple[float, float] | None = None
    max_ink: int | None = 255
    background: BackgroundKind = "none"
    channels: ChannelsKind = 1
    polarity: PolarityKind = "light"
    held_out_fraction: float = 0.1
    strict: bool = False
    pictures: str | None = None

    def __post_init__(self):
        _check_at_least(self, 1, "scenes", "held_out_scenes", "canvas", "every")
        _check_at_least(self, 0, "data_seed")
        _check_positive(self, "digit_scale")
        _check(self, "finite and at least 0", lambda value: 0 <= value < math.inf, "digit_scale_sd")
        _check(self, "from 1 to 255, or none", lambda value: value is None or 1 <= value <= 255, "max_ink")
        _check(self, "at least 1, or none", lambda value: value is None or value >= 1, "height", "tile")
        valid = lambda value: (
            value is None
            or (len(value) == 3 and -math.inf < value[0] < value[1] < math.inf and 0 < value[2] < math.inf)
        )
        _check(self, "black, white above it, and a positive gamma, or none", valid, "levels")
        check_channels(self.pick_channels)
        if self.still and self.tile is None:
            raise ValueError("still is for pictures that are cut into tiles: give tile, too")
        if self.digit_side is not None:
            ordered = lambda value: len(value) == 2 and 1 <= value[0] <= value[1] <= self.canvas
            _check(self, f"two numbers from 1 to canvas = {self.canvas}, the smaller first", ordered, "digit_side")
            if (self.digit_scale, self.digit_scale_sd) != (DataConfig.digit_scale, DataConfig.digit_scale_sd):
                raise ValueError("digit_side stands in for digit_scale and digit_scale_sd: give one, got both")
        _check_choice(self, BackgroundKind, "background")
        _check_choice(self, ChannelsKind, "channels")
        _check_choice(self, PolarityKind, "polarity")
        _check(self, "between 0 and 1", lambda value: 0 < value < 1, "held_out_fraction")
        valid = lambda value: value and min(value) >= 0 and len(set(value)) == len(value)
        _check(self, "different whole numbers, at least 0", valid, "counts")

    def resolved(self) -> "DataConfig":
        """Make paths absolute, so that a run can be continued from any working directory."""
        local = self.name not in DATA_SETS and not is_address(self.name)
        own = local and (Path(self.name).suffix == ".npz" or Path(self.name).is_dir())
        name = str(Path(self.name).absolute()) if own else self.name
        data_dir = None if self.data_dir is None else self.data_dir.absolute()
        return replace(self, name=name, data_dir=data_dir)


@dataclass(frozen=True)
class ModelConfig:
    """Settings of the model: networks and priors.

    Attributes:
        objects: kind of objects: learned patches, or rendered 3D objects of the data set of that name, which ignore
            the settings of patches and windows below.
        max_objects: largest number of objects, N.
        window: side of glimpses and patches, in pixels.
        hidden: size of the LSTM.
        embed_channels: channels of the first of two convolutions on the image (the second has twice as many); 0: none.
        embed_hidden: hidden units between the convolutions (or the image) and the LSTM; 0: none.
        head_hidden: hidden units between the LSTM and the outputs for presence and window.
        attention: number of features of the attention that places windows on unexplained parts; 0: none (the paper).
        inhibition: share by which attention weighs less what remains in the middle of a window that has an object
            already (inhibition of return); 0: none.
        trajectories: number of trajectories, with other places to look at, from which inference chooses the best.
        patches: encoder and decoder of patches: mlp, conv, or draw (DRAW).
        code_size: dimensions of z_what; for draw, of all steps together.
        patch_hidden: hidden units of the patch encoder and decoder (mlp and conv).
        patch_channels: channels of the patch encoder's and decoder's convolution (conv).
        draw_steps: number of steps that draw a patch; must divide code_size (draw).
        draw_hidden: size of the encoder's and the decoder's LSTM (draw).
        residual_glimpses: whether glimpses are cut from the residual after earlier objects, not from the image.
        difference: whether the LSTM sees the residual at every step (Difference AIR), not the image.
        background_model: black (none), one colour (constant), an image (mean), an image plus a smooth field for each
            scene (smooth), or a mix of components (linear).
        background_components: number of background components per channel (linear).
        block: side, in pixels, of the square around its window in which an object changes the canvas: steps then cost
            the same on a canvas of any size. None: objects may change all of it.
        compose: whether objects add to what is behind them, or cover it with a mask.
        edge: share of an object's largest change of a pixel from which on pixels count for its box.
        likelihood: kind of p(x | canvas).
        sd: standard deviation of the normal likelihood.
        learn_sd: whether sd is learned.
        sd_gain: growth g of the noise with what objects change: where they change a pixel by a, its variance is
            sd^2 + (g a)^2.
        sd_start: initial sd, annealed geometrically to sd once p(n) is annealed; None: no annealing.
        sd_anneal_steps: number of steps over which sd is annealed.
        scale: prior median of a window's side, as a fraction of the longer side of the canvas.
        scale_sd: prior standard deviation of the logarithm of a window's side.
        position_sd: prior standard deviation of a window's centre, in canvas units from -1 to 1.
        learn_where: whether the prior on windows is learned.
        count_prior: kind of p(n), the prior on counts.
        count_ratio: p(n + 1) / p(n) of the geometric prior.
        count_ratio_start: ratio of a geometric prior from which p(n) is annealed; None: no annealing.
        anneal_steps: number of steps over which p(n) is annealed.
        learn_count: whether p(n) is learned from the inferred counts, after learn_count_after steps.
        learn_count_after: step after which p(n) is learned; inferred counts are unreliable before.
    """

    objects: ObjectsKind = "patches"
    max_objects: int = 3
    window: int = 28
    hidden: int = 256
    embed_channels: int = 16
    embed_hidden: int = 256
    head_hidden: int = 200
    attention: int = 0
    inhibition: float = 0.0
    trajectories: int = 1
    patches: PatchKind = "mlp"
    code_size: int = 50
    patch_hidden: int = 400
    patch_channels: int = 32
    draw_steps: int = 5
    draw_hidden: int = 192
    residual_glimpses: bool = True
    difference: bool = False
    background_model: BackgroundModelKind = "none"
    background_components: int = 24
    block: int | None = None
    compose: ComposeKind = "add"
    edge: float = 0.15
    likelihood: LikelihoodKind = "normal"
    sd: float = 0.3
    learn_sd: bool = False
    sd_gain: float = 0.0
    sd_start: float | None = None
    sd_anneal_steps: int = 1_000
    scale: float = 0.42
    scale_sd: float = 0.05
    position_sd: float = 0.5
    learn_where: bool = True
    count_prior: CountPriorKind = "geometric"
    count_ratio: float = 1e-3
    count_ratio_start: float | None = 0.1
    anneal_steps: int = 200
    learn_count: bool = True
    learn_count_after: int = 1_500

    def __post_init__(self):
        _check_at_least(self, 1, "max_objects", "window", "hidden", "head_hidden", "code_size", "patch_hidden")
        _check_at_least(self, 1, "patch_channels", "draw_steps", "draw_hidden", "background_components", "anneal_steps")
        _check_at_least(self, 1, "sd_anneal_steps", "trajectories")
        _check_at_least(self, 0, "embed_channels", "embed_hidden", "attention", "learn_count_after")
        _check(self, "at least 1, or none", lambda value: value is None or value >= 1, "block")
        _check_positive(self, "sd", "scale", "scale_sd", "position_sd", "count_ratio")
        _check_choice(self, ObjectsKind, "objects")
        _check_choice(self, PatchKind, "patches")
        _check_choice(self, BackgroundModelKind, "background_model")
        _check_choice(self, ComposeKind, "compose")
        _check_choice(self, LikelihoodKind, "likelihood")
        _check_choice(self, CountPriorKind, "count_prior")
        _check(self, "from 0 to 1", lambda value: 0 <= value <= 1, "edge", "inhibition", "sd_gain")
        if self.count_ratio_start is not None:
            _check_positive(self, "count_ratio_start")
        if self.background_model in ("smooth", "linear") and self.likelihood != "normal":
            raise ValueError(
                f"background_model {self.background_model} needs a normal likelihood, got likelihood {self.likelihood}"
            )
        if self.sd_start is not None:
            _check_positive(self, "sd_start")
            if self.learn_sd or self.likelihood != "normal":
                raise ValueError("sd_start is for a normal likelihood whose sd is not learned")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of training and its records.

    Attributes:
        seed: seed of initial weights, order of scenes and noise.
        steps: number of gradient steps.
        batch: number of scenes per step.
        objective: estimator of the gradient (docs/model.md).
        samples: trajectories per image, K (importance, rws, and vimco, which needs at least 2).
        temperature: temperature of the relaxed presences (concrete).
        paste: weight of log q of scenes pasted together from pieces of the images (`airjax.learning.pasting`), whose
            objects are known, beside the bound of the images; 0: no such scenes.
        paste_alone: number of first steps that learn from pasted scenes alone; at most a fifth of all.
        apart: whether the bound is learned only from images whose objects seem to lie apart, if there are enough.
        pasted_scenes: largest number of pasted scenes; there are no more than images.
        learning_rate: peak learning rate of Adam.
        schedule: learning rate after the warm-up: falls to zero at the last step (cosine), or stays (constant).
        warmup: number of steps over which the learning rate rises from zero.
        baseline_learning_rate: learning rate of the baseline network (nvil).
        chunk: steps per dispatch to the device, and between lines of metrics.jsonl.
        checkpoint_every: number of steps between checkpoints.
        evaluate_every: number of steps between evaluations on held-out scenes (a few scores and a picture).
        keep: number of checkpoints to keep.
    """

    seed: int = 0
    steps: int = 5_000
    batch: int = 64
    objective: ObjectiveKind = "marginal"
    samples: int = 5
    temperature: float = 0.5
    paste: float = 0.0
    paste_alone: int = 200
    apart: bool = False
    pasted_scenes: int = 3_000
    learning_rate: float = 1e-3
    schedule: ScheduleKind = "cosine"
    warmup: int = 100
    baseline_learning_rate: float = 1e-2
    chunk: int = 50
    checkpoint_every: int = 1_000
    evaluate_every: int = 500
    keep: int = 3

    def __post_init__(self):
        _check_at_least(self, 1, "steps", "batch", "chunk", "checkpoint_every", "evaluate_every", "keep")
        _check_at_least(self, 2 if self.objective == "vimco" else 1, "samples")
        _check_at_least(self, 0, "warmup", "paste_alone")
        _check_at_least(self, 1, "pasted_scenes")
        _check(self, "finite and at least 0", lambda value: 0 <= value < math.inf, "paste")
        _check(self, f"from 0 to {MAX_SEED}", lambda value: 0 <= value <= MAX_SEED, "seed")
        _check_positive(self, "learning_rate", "baseline_learning_rate", "temperature")
        _check_choice(self, ObjectiveKind, "objective")
        _check_choice(self, ScheduleKind, "schedule")


class _Effect(NamedTuple):
    """When settings have an effect.

    Attributes:
        where: the condition in words.
        holds: the condition, of all settings by name.
        names: the settings.
    """

    where: str
    holds: Callable[[Mapping[str, Any]], bool]
    names: tuple[str, ...]


def _if(name: str, *values: Any, of: tuple[str, ...]) -> _Effect:
    """Say that settings have an effect where another one has one of these values."""
    words = [str(value) for value in values]
    where = f"{name} is {', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else f"{name} is {words[0]}"
    return _Effect(where, lambda settings: settings[name] in values, of)


_OF_PATCHES = (
    *("window", "hidden", "attention", "patches", "code_size", "patch_hidden", "patch_channels", "draw_steps"),
    *("draw_hidden", "residual_glimpses", "difference", "background_model", "background_components", "compose"),
    *("block", "edge", "inhibition", "trajectories", "scale", "scale_sd", "position_sd", "learn_where", "paste"),
)
_EFFECTS = (
    _if("objects", "patches", of=_OF_PATCHES),
    _Effect("attention is positive", lambda s: s["attention"] > 0, ("inhibition", "trajectories")),
    _if("patches", "mlp", "conv", of=("patch_hidden",)),
    _if("patches", "conv", of=("patch_channels",)),
    _if("patches", "draw", of=("draw_steps", "draw_hidden")),
    _if("background_model", "linear", of=("background_components",)),
    _if("likelihood", "normal", of=("sd", "learn_sd", "sd_gain", "sd_start")),
    _if("count_prior", "geometric", of=("count_ratio",)),
    _if("learn_count", True, of=("learn_count_after",)),
    _if("objective", "marginal", of=("paste",)),
    _if("objective", "importance", "rws", "vimco", of=("samples",)),
    _if("objective", "concrete", of=("temperature",)),
    _if("objective", "nvil", of=("baseline_learning_rate",)),
    _Effect("sd_start is given", lambda s: s["sd_start"] is not None, ("sd_anneal_steps",)),
    _Effect("count_ratio_start is given", lambda s: s["count_ratio_start"] is not None, ("anneal_steps",)),
    _Effect("paste is positive", lambda s: s["paste"] > 0, ("paste_alone", "pasted_scenes", "apart")),
)
_DEFAULTS = {field.name: field.default for part in (ModelConfig, TrainConfig) for field in fields(part)}


def without_effect(settings: Mapping[str, Any]) -> dict[str, str]:
    """Find settings of model and training that mean nothing beside the others.

    Args:
        settings: settings by name; those left out have their defaults.

    Returns:
        The settings that differ from their defaults in vain, each with the condition on which it would have an effect.
    """
    every, vain = _DEFAULTS | dict(settings), {}
    for effect in _EFFECTS:
        if not effect.holds(every):
            changed = [name for name in effect.names if every[name] != _DEFAULTS[name]]
            vain = {name: effect.where for name in changed} | vain
    return vain


@dataclass(frozen=True)
class Config:
    """All settings of a run.

    Raises:
        ValueError: a setting means nothing beside the others, though it differs from its default.
    """

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    def __post_init__(self):
        settings = asdict(self.model) | asdict(self.train)
        if vain := without_effect(settings):
            name, where = next(iter(vain.items()))
            raise ValueError(f"{name} has no effect unless {where}; leave it out, got {settings[name]}")
        if self.model.objects != "patches" and self.train.objective != "marginal":
            raise ValueError(f"objective must be marginal where objects are solids, got {self.train.objective}")
