"""The scikit-learn face: `AIR` as an estimator that is fitted on images, without labels.

    counts = AIR().fit(images).predict(images)

Images are, wherever they are asked for, any of

- arrays [n, h, w] (grey) or [n, h, w, 3] (in colour), or lists of such images of one size;
- arrays [n, values] of images in rows, which are taken for squares unless `image_shape` says what they are;
- lists of Pillow's pictures of any size and mode, each of which is fitted, whole and undistorted, into one size
  (`airjax.data.images.fit`).

uint8 is black at 0 and white at 255. Other numbers are black at 0 and white at 1 if all that the estimator was fitted
on lie between; else black is the least and white the largest value that it was fitted on. Later values that lie a
little beyond are cut off, those beyond by more than the whole range are refused. Pixels are kept with 8 bits.
"""

import dataclasses
import logging
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, no_type_check

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float32, Int32, Shaped, UInt8
from sklearn.base import BaseEstimator, DensityMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from airjax.config import MAX_SEED, DataConfig, GroundKind, ModelConfig, PolarityKind, TrainConfig
from airjax.data import arrays
from airjax.data.images import Placement, shape_of
from airjax.inference import infer
from airjax.interfaces import doctor
from airjax.interfaces.infer_files import to_own_pixels
from airjax.learning import loop, trainer
from airjax.models.base import Family
from airjax.models.build import build_model
from airjax.runs import checkpoint, pretrained, record

BATCH = 64
"""Images that are inferred at once; always as many, so that results don't depend on how many there are."""
LANES = 1_600
"""Trajectories that are sampled at once."""
_MODEL = {field.name for field in dataclasses.fields(ModelConfig)} - {"objects"}  # which are patches here
_OF_RUNS = {"seed", "checkpoint_every", "evaluate_every", "keep"}
_TRAIN = {field.name for field in dataclasses.fields(TrainConfig)} - _OF_RUNS
_logger = logging.getLogger(__name__)


class AIR(DensityMixin, TransformerMixin, BaseEstimator):
    """Attend, Infer, Repeat: count, locate and describe the objects of images.

    A model of the density of images whose latent variable is discrete, as a Gaussian mixture is one: `predict` tells
    the count, `predict_proba` its posterior, `score` the (bound on the) log-density. Hence the mixin: a classifier
    would need labels, a clusterer would give every image one of arbitrary labels.

    What is None is set by the look of the images (`airjax doctor`), and so are `window`, `attention`, `compose`,
    `batch`, `scale_sd`, `count_ratio` and `learn_count` unless `settings` has them.

    Args:
        max_objects: N, the largest count.
        ground: what lies behind the objects: none (black), constant, mean or linear.
        polarity: whether objects are `light` or `dark`, compared with the ground; dark ones are inverted.
        scale: median of the prior on a window's side, as a fraction of the image's.
        sd: standard deviation of the normal likelihood; bounds for different ones can't be compared.
        code_size: dimensions of an object's code.
        steps: gradient steps.
        learning_rate: Adam's peak rate.
        settings: other settings of `ModelConfig` and `TrainConfig`, by name.
        image_shape: (height, width) or (height, width, 3) of images that come in rows, and of what pictures are fitted
            into; None: the smallest square that holds a row, filled up with black, or for pictures by their look.
        posterior_samples: trajectories an image for `predict_proba`.
        random_state: fixes initial weights, order of images and all samples.
        verbose: whether to show a progress bar on stderr.

    Attributes:
        model_: the trained model (`airjax.AIR`).
        config_: what it was built by.
        image_shape_: (height, width) or (height, width, 3) of images.
        n_features_in_: values an image.
        range_: values of black and white.
        polarity_: whether objects are light or dark.
        seed_: drawn from `random_state`.
    """

    n_features_in_: int
    polarity_: PolarityKind

    @no_type_check  # scikit-learn demands that it take anything and leave complaints to fit
    def __init__(
        self,
        max_objects: int | None = None,
        *,
        ground: GroundKind | None = None,
        polarity: PolarityKind | None = None,
        scale: float | None = None,
        sd: float | None = None,
        code_size: int = ModelConfig.code_size,
        steps: int = 2_000,
        learning_rate: float = TrainConfig.learning_rate,
        settings: Mapping[str, Any] | None = None,
        image_shape: Sequence[int] | None = None,
        posterior_samples: int = 100,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ):
        self.max_objects = max_objects
        self.ground = ground
        self.polarity = polarity
        self.scale = scale
        self.sd = sd
        self.code_size = code_size
        self.steps = steps
        self.learning_rate = learning_rate
        self.settings = settings
        self.image_shape = image_shape
        self.posterior_samples = posterior_samples
        self.random_state = random_state
        self.verbose = verbose

    # Fitting

    def fit(self, X: Any, y: Any = None) -> "AIR":
        """Learn to explain images; nothing is learned from `y`.

        Raises:
            ValueError: images or a setting can't be used.
            airjax.learning.trainer.NotFiniteError: the bound is no longer finite.
        """
        del y
        look = None
        if arrays.are_pictures(X):
            look = doctor.propose_for(X)
            X, _ = arrays.fit_pictures(X, self._canvas(look))
        images = self._images(X, reset=True)
        given = self._given(look or doctor.propose_for(images))
        self.seed_ = int(check_random_state(self.random_state).randint(MAX_SEED, dtype=np.uint32))
        self.polarity_ = DataConfig(polarity=given["polarity"]).polarity
        self.config_ = ModelConfig(**_only(_MODEL, given))
        self.model_ = self._train(arrays.to_model(images, self.polarity_), given)
        return self

    def _canvas(self, look: doctor.Report) -> tuple[int, ...]:
        """Choose the shape that pictures are fitted into."""
        side, channels = look.settings["canvas"], look.settings["channels"]
        by_look = shape_of(channels, side, side)
        return by_look if self.image_shape is None else arrays.check_shape(self.image_shape)

    def _given(self, look: doctor.Report) -> dict[str, Any]:
        """Put together all settings, those of one's own before those by the look of the images."""
        for doubt in look.doubts:
            _logger.warning("AIR may be the wrong tool: %s", doubt)
        own, settings = self.get_params(deep=False), dict(self.settings or {})
        if unknown := settings.keys() - ((_MODEL | _TRAIN) - own.keys()):
            raise ValueError(
                f"settings must name settings of ModelConfig or TrainConfig that are no parameters, "
                f"got {', '.join(sorted(unknown))}"
            )
        if self.posterior_samples < 1:
            raise ValueError(f"posterior_samples must be at least 1, got {self.posterior_samples}")
        return look.settings | {name: value for name, value in own.items() if value is not None} | settings

    def _train(self, images: UInt8[np.ndarray, "n c h w"], given: Mapping[str, Any]) -> Family:
        own = {"seed": self.seed_, "batch": min(given["batch"], len(images))}
        training = TrainConfig(**_only(_TRAIN, given) | own)
        state = trainer.init_from_data(trainer.init(self.config_, training, images.shape[1:]), images)
        # As numpy's, images go to the device by chunks of steps: one compilation serves any number of images.
        step = trainer.step_with(self.config_)
        for chunk in loop.chunks(images, training, step, state, progress=self.verbose):
            state = chunk.state
        return state.model

    @property
    def classes_(self) -> Shaped[np.ndarray, " counts"]:
        """List the counts 0, ..., N."""
        check_is_fitted(self, "model_")
        return np.arange(self.config_.max_objects + 1)

    # What is found

    def transform(self, X: Any) -> Float32[np.ndarray, "n features"]:
        """Describe each image by N times (presence, log scale, x, y, code); absent objects are zeros.

        Returns:
            N (1 + 3 + d) features an image, in the order of `get_feature_names_out`.
        """
        return np.concatenate([_features(found) for found, _ in self._found(X)])

    def get_feature_names_out(self, input_features: Any = None) -> Shaped[np.ndarray, " features"]:
        """Name the features that `transform` makes; names of pixels change nothing."""
        check_is_fitted(self, "model_")
        _check_feature_names_in(self, input_features, generate_names=False)
        each = ["presence", "log_scale", "x", "y", *(f"code{i}" for i in range(self.config_.code_size))]
        return np.array([f"object{t}_{name}" for t in range(self.config_.max_objects) for name in each], object)

    def predict(self, X: Any) -> Int32[np.ndarray, " n"]:
        """Count the objects of each image: the mode of q(n | x) along the central trajectory."""
        return np.concatenate([found.count for found, _ in self._found(X)])

    def predict_proba(self, X: Any) -> Float32[np.ndarray, "n counts"]:
        """Estimate p(n | x) by importance sampling with `posterior_samples` trajectories an image."""
        return self._bounds(X, self.posterior_samples).count_posterior

    def score_samples(self, X: Any) -> Float32[np.ndarray, " n"]:
        """Estimate the evidence lower bound on log p(x), in nats, by one trajectory an image."""
        return self._bounds(X, 1).elbo

    def score(self, X: Any, y: Any = None) -> float:  # pyright: ignore[reportIncompatibleMethodOverride] (of a stub)
        """Compute the share of counts that are right; without true counts `y`, the mean of `score_samples`."""
        if y is None:
            return float(np.mean(self.score_samples(X), dtype=np.float64))
        return float(accuracy_score(y, self.predict(X)))

    def objects(self, X: Any) -> list[list[dict[str, Any]]]:
        """Find the objects of each image, in the order in which they are attended to.

        Returns:
            For each image a dictionary an object, as `airjax infer --json` writes them: its `box` (x0, y0, x1, y1,
            tight around what it changes; None where that is nothing) and attention `window`, in pixels of the image or
            picture, cut off at its edges; its `presence`, q(n >= t | x); its `code`.
        """
        return [
            [to_own_pixels(one, placements[i]) for one in infer.describe_objects(self.model_, found, i)]
            for found, placements in self._found(X)
            for i in range(len(placements))
        ]

    def reconstruct(self, X: Any) -> Float32[np.ndarray, "n h w"] | Float32[np.ndarray, "n h w 3"]:
        """Draw each image anew from what was found in it, in the range of values that was fitted."""
        drawn = [found.canvases[np.arange(len(found.count)), found.count] for found, _ in self._found(X)]
        return arrays.from_model(np.concatenate(drawn), self.polarity_, self.range_)

    def _found(self, X: Any) -> Iterator[tuple[infer.Found, list[Placement]]]:
        """Infer in batches of one size, and tell where each image's own pixels are."""
        images, placements = self._see(X)
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            yield infer.find(self.model_, images[part], batch=BATCH), placements[part]

    def _bounds(self, X: Any, samples: int) -> infer.Bounds:
        """Sample with a key for each image that is made of its pixels, so that its place doesn't matter either."""
        images, _ = self._see(X)
        keys = np.array([(self.seed_, zlib.crc32(image.tobytes())) for image in images], np.uint32)
        batch = min(BATCH, max(1, LANES // samples))
        return infer.bound_each(self.model_, images, samples=samples, keys=keys, batch=batch)

    # Images

    def _see(self, X: Any) -> tuple[UInt8[np.ndarray, "n c h w"], list[Placement]]:
        """Bring images into the form of those that were fitted."""
        check_is_fitted(self, "model_")
        placements = None
        if arrays.are_pictures(X):
            X, placements = arrays.fit_pictures(X, self.image_shape_)
        images = self._images(X, reset=False)
        height, width = self.image_shape_[:2]
        unmoved = [Placement((width, height), 1.0, 0.0, 0.0)] * len(images)
        return arrays.to_model(images, self.polarity_), placements or unmoved

    def _images(self, X: Any, *, reset: bool) -> UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"]:
        """Check arrays as scikit-learn does, and turn them into bytes."""
        rows, shape = arrays.to_rows(X)
        if not reset and shape not in (None, self.image_shape_):
            raise ValueError(f"X must hold images of shape {self.image_shape_}, as in fit, got {shape}")
        rows: Any = validate_data(self, rows, reset=reset)
        if reset:
            self.image_shape_ = arrays.choose_shape(self.image_shape, shape, rows.shape[1])
            self.range_ = arrays.find_range(rows)
        return arrays.to_images(arrays.to_bytes(rows, self.range_), self.image_shape_)

    # Keeping

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "AIR":
        """Make a fitted estimator of a trained model; it takes uint8, or floats from 0 to 1.

        Args:
            source: see `airjax.from_pretrained`.

        Raises:
            ValueError: the model is one of objects in 3D.
            RunError, CheckpointError, PretrainedError: see `airjax.from_pretrained`.
        """
        model, config, polarity = pretrained.from_pretrained(source)
        if config.objects != ModelConfig.objects:
            raise ValueError(f"the estimator takes models of patches, not of {config.objects}")
        shape = shape_of(*model.image_shape)
        settings = _only(_MODEL, dataclasses.asdict(config))
        own = {name: settings.pop(name) for name in cls().get_params(deep=False).keys() & settings.keys()}
        estimator = cls(**own, polarity=polarity, settings=settings, image_shape=shape)
        estimator.image_shape_, estimator.n_features_in_ = shape, math.prod(shape)
        estimator.range_, estimator.polarity_, estimator.seed_ = arrays.UNIT, polarity, 0
        estimator.model_, estimator.config_ = model, config
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        """Give what is pickled: of the model, plain settings and the bytes of a safetensors file."""
        state: Any = super().__getstate__()
        if "model_" not in state:
            return state
        weights = self.model_.image_shape, checkpoint.to_bytes(self.model_)
        return state | {"model_": weights, "config_": dataclasses.asdict(self.config_)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            shape, weights = state["model_"]
            config = record.from_json(ModelConfig, state["config_"])
            expected = eqx.filter_eval_shape(build_model, config, shape, key=jax.random.PRNGKey(0))
            model = checkpoint.from_bytes(weights, expected, Path("the pickled estimator"))
            state = state | {"model_": model, "config_": config}
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _only(names: set[str], given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in names & given.keys()}


def _features(found: infer.Found) -> Float32[np.ndarray, "n features"]:
    each = np.concatenate([found.presence[..., None], found.where, found.what], axis=-1)
    present = np.arange(each.shape[1]) < found.count[:, None]
    return np.where(present[..., None], each, np.float32(0)).reshape(len(each), -1)
