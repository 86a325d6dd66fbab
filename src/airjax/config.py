"""The configuration of a run. The defaults are the run behind the published multi-MNIST numbers."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

CountPriorKind = Literal["geometric", "uniform", "poisson", "table"]


@dataclass(frozen=True)
class DataConfig:
    """The scenes to learn from.

    Attributes:
        name: multi-mnist, multi-digits (scikit-learn's small digits, no download), sprites, or an .npz file.
        data_dir: folder of MNIST's IDX files; without it they are downloaded and cached.
        scenes: number of training scenes.
        held_out_scenes: number of held-out scenes, made from digits that no training scene shows.
        data_seed: seed of the generator, apart from the run's seed.
        counts: numbers of objects a scene can have, equally likely.
        canvas: side of a scene, in pixels.
        digit_scale: mean factor by which a 28-pixel digit is made smaller.
        digit_scale_sd: its standard deviation.
        max_ink: a scene is drawn again while any pixel's sum of ink exceeds this.
        held_out_fraction: share of an .npz file's scenes that is kept from training.
    """

    name: str = "multi-mnist"
    data_dir: Path | None = None
    scenes: int = 60_000
    held_out_scenes: int = 10_000
    data_seed: int = 0
    counts: tuple[int, ...] = (0, 1, 2)
    canvas: int = 50
    digit_scale: float = 1.3
    digit_scale_sd: float = 0.1
    max_ink: int = 255
    held_out_fraction: float = 0.1

    def resolved(self) -> "DataConfig":
        """Make paths absolute, so that the run's record holds wherever a command is started from."""
        name = str(Path(self.name).absolute()) if Path(self.name).suffix == ".npz" else self.name
        data_dir = None if self.data_dir is None else self.data_dir.absolute()
        return replace(self, name=name, data_dir=data_dir)


@dataclass(frozen=True)
class ModelConfig:
    """Networks and priors.

    Attributes:
        max_objects: N, the largest count.
        window: side of glimpses and patches, in pixels.
        hidden: size of the LSTM.
        embed_channels: channels of the first of two convolutions that look at the image, half of the second's; 0: none.
        embed_hidden: hidden units between them, or the image, and the LSTM's gates; 0: none.
        head_hidden: hidden units between the LSTM and presence and where.
        code_size: dimensions of z_what.
        patch_hidden: hidden units of the patch encoder and decoder.
        residual_glimpses: whether glimpses are cut from what earlier objects leave of the image.
        difference: whether the recurrent network, too, sees what is left (Difference AIR), at every step anew.
        likelihood: p(x | canvas).
        sd: standard deviation of the normal likelihood.
        learn_sd: whether it is learned.
        scale: median of the prior on a window's side, as a fraction of the canvas side.
        scale_sd: standard deviation of its logarithm.
        position_sd: standard deviation of a window's centre, in [-1, 1] canvas units.
        learn_where: whether the prior on windows is learned from the data.
        count_prior: kind of p(n).
        count_ratio: p(n + 1) / p(n) of the geometric prior.
        count_rate: mean of the Poisson prior.
        count_table: weights of n = 0, 1, ..., max_objects for the table prior.
        count_ratio_start: ratio of the geometric prior from which p(n) is annealed; None: no annealing.
        anneal_steps: steps over which p(n) is annealed.
        learn_count: whether p(n) then follows the counts found in the data.
        learn_count_after: step from which it does; until then counts are not yet to be trusted.
    """

    max_objects: int = 3
    window: int = 28
    hidden: int = 256
    embed_channels: int = 16
    embed_hidden: int = 256
    head_hidden: int = 200
    code_size: int = 50
    patch_hidden: int = 400
    residual_glimpses: bool = True
    difference: bool = False
    likelihood: Literal["normal", "bernoulli"] = "normal"
    sd: float = 0.3
    learn_sd: bool = False
    scale: float = 0.42
    scale_sd: float = 0.1
    position_sd: float = 0.5
    learn_where: bool = True
    count_prior: CountPriorKind = "geometric"
    count_ratio: float = 1e-3
    count_rate: float = 1.0
    count_table: tuple[float, ...] = ()
    count_ratio_start: float | None = None
    anneal_steps: int = 1_000
    learn_count: bool = True
    learn_count_after: int = 1_500


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation and book-keeping.

    Attributes:
        seed: fixes initial weights, order of scenes and noise.
        steps: number of gradient steps.
        batch: scenes in a step.
        objective: estimator of the gradient.
        learning_rate: Adam's peak rate.
        schedule: `cosine` falls to zero at the last step; `constant` does not.
        warmup: steps over which the rate rises from zero.
        baseline_learning_rate: rate of the baseline network (objective nvil).
        chunk: steps in one dispatch to the device, and between lines of metrics.jsonl.
        checkpoint_every: steps between checkpoints.
        evaluate_every: steps between looks at held-out scenes: a few scores and a picture.
        keep: number of checkpoints kept.
    """

    seed: int = 0
    steps: int = 5_000
    batch: int = 64
    objective: Literal["marginal", "nvil"] = "marginal"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = 100
    baseline_learning_rate: float = 1e-2
    chunk: int = 50
    checkpoint_every: int = 1_000
    evaluate_every: int = 500
    keep: int = 3


@dataclass(frozen=True)
class Config:
    """A whole run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
