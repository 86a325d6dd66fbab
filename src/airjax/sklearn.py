"""The scikit-learn face: `AIR` as an estimator that is fitted on images, without labels.

    counts = AIR().fit(images).predict(images)

Images are, wherever they are asked for, any of

- arrays [n, h, w] (grey) or [n, h, w, 3] (in colour), or lists of such images of one size;
- arrays [n, pixels] of images in rows, which are taken for squares unless `image_shape` says what they are;
- lists of Pillow's pictures of any size and mode, each of which is fitted, whole and undistorted, into one size
  (`airjax.images.fit`).

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
from typing import Any, NamedTuple, no_type_check

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float32, Int32, Shaped, UInt8
from PIL import Image
from sklearn.base import BaseEstimator, DensityMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from airjax import arrays, checkpoint, doctor, inference, loop, pretrained, run, train
from airjax.build import build_model
from airjax.config import MAX_SEED, ComposeKind, GroundKind, ModelConfig, PolarityKind, TrainConfig
from airjax.images import Fitted, Placement, fit, plain, stack
from airjax.model import AIR as Model

BATCH = 64
"""Images that are inferred at once; always as many, so that results don't depend on how many there are."""
LANES = 1_600
"""Trajectories that are sampled at once."""
_MODEL = {field.name for field in dataclasses.fields(ModelConfig)}
_TRAIN = {field.name for field in dataclasses.fields(TrainConfig)} - {"seed"}
_logger = logging.getLogger(__name__)


class Object(NamedTuple):
    """An object that was found.

    Attributes:
        box: corners x0, y0, x1, y1 in the image's pixels (of a picture, its own), tight around what the object changes;
            NaN where it changes nothing.
        window: those of its attention window.
        presence: probability that there are as many objects, q(n >= t | x).
        code: its appearance, z_what.
    """

    box: Float32[np.ndarray, "4"]
    window: Float32[np.ndarray, "4"]
    presence: float
    code: Float32[np.ndarray, " d"]


class _Seen(NamedTuple):
    """Images as the model sees them; of pictures, also where they lie in them."""

    images: UInt8[np.ndarray, "n c h w"]
    placements: list[Placement] | None


class AIR(DensityMixin, TransformerMixin, BaseEstimator):
    """Attend, Infer, Repeat: count, locate and describe the objects of images.

    A model of the density of images whose latent variable is discrete, as a Gaussian mixture is one: `predict` tells
    the count, `predict_proba` its posterior, `score` the (bound on the) log-density. Hence the mixin: a classifier
    would need labels, a clusterer would give every image one of arbitrary labels.

    Whatever is None is set by the look of the images (`airjax doctor`), and so are `scale_sd`, `count_ratio` and
    `learn_count` unless `settings` has them.

    Args:
        max_objects: N, the largest count.
        window: side of glimpses and patches, in pixels.
        attention: features that windows are placed by, seen around what is not yet explained; 0: none.
        ground: what lies behind the objects: none (black), constant, mean or linear.
        compose: whether objects `add` to what is behind or lie `over` it.
        polarity: whether objects are `light` or `dark`, compared with the ground; dark ones are inverted.
        scale: median of the prior on a window's side, as a fraction of the image's.
        sd: standard deviation of the normal likelihood; bounds for different ones can't be compared.
        code_size: dimensions of an object's code.
        steps: gradient steps.
        batch: images in a step, at most; all, if there are fewer.
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
        classes_: the counts 0, ..., N.
        image_shape_: (height, width) or (height, width, 3) of images.
        n_features_in_: values an image.
        range_: values of black and white.
        polarity_: whether objects are light or dark.
        seed_: drawn from `random_state`.
    """

    @no_type_check  # scikit-learn demands that it take anything and leave complaints to fit
    def __init__(
        self,
        max_objects: int | None = None,
        *,
        window: int | None = None,
        attention: int | None = None,
        ground: GroundKind | None = None,
        compose: ComposeKind | None = None,
        polarity: PolarityKind | None = None,
        scale: float | None = None,
        sd: float | None = None,
        code_size: int = 50,
        steps: int = 2_000,
        batch: int | None = None,
        learning_rate: float = 1e-3,
        settings: Mapping[str, Any] | None = None,
        image_shape: Sequence[int] | None = None,
        posterior_samples: int = 100,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ):
        self.max_objects = max_objects
        self.window = window
        self.attention = attention
        self.ground = ground
        self.compose = compose
        self.polarity = polarity
        self.scale = scale
        self.sd = sd
        self.code_size = code_size
        self.steps = steps
        self.batch = batch
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
            airjax.train.NotFiniteError: the bound is no longer finite.
        """
        del y
        look = None
        if arrays.are_pictures(X):
            X = [plain(one, f"picture {i}") for i, one in enumerate(X)]
            look = doctor.propose_for(X)
            X = _stacked(_fitted(X, self._canvas(look)))
        rows = self._rows(X, reset=True)
        self.range_ = arrays.find_range(rows)
        images = arrays.to_images(arrays.to_bytes(rows, self.range_), self.image_shape_)
        given = self._given(look or doctor.propose_for(images))
        self.polarity_ = given["polarity"]
        self.seed_ = int(check_random_state(self.random_state).randint(MAX_SEED, dtype=np.uint32))
        self.config_, training = self._configs(given, len(images))
        self.model_ = self._train(self._shown(images), training)
        self.classes_ = np.arange(self.config_.max_objects + 1)
        return self

    def _canvas(self, look: doctor.Report) -> tuple[int, ...]:
        """Choose the shape that pictures are fitted into."""
        if self.image_shape is not None:
            return arrays.check_shape(self.image_shape)
        side = look.settings["canvas"]
        return (side, side, 3) if look.settings["channels"] == 3 else (side, side)

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
        return look.settings | {name: value for name, value in own.items() if value is not None} | settings

    def _configs(self, given: Mapping[str, Any], images: int) -> tuple[ModelConfig, TrainConfig]:
        pick = lambda names: {name: given[name] for name in names & given.keys()}
        of_training = pick(_TRAIN) | {"seed": self.seed_, "batch": min(given["batch"], images)}
        return ModelConfig(**pick(_MODEL)), TrainConfig(**of_training)

    def _train(self, images: UInt8[np.ndarray, "n c h w"], training: TrainConfig) -> Model:
        state = train.start_ground(train.init(self.config_, training, images.shape[1:]), images)
        for chunk in loop.chunks(images, self.config_, training, state, progress=self.verbose):
            state = chunk.state
        return state.model

    # What is found

    def transform(self, X: Any) -> Float32[np.ndarray, "n features"]:
        """Describe each image by N times (presence, log scale, x, y, code); absent objects are zeros.

        Returns:
            N (1 + 3 + d) features an image, in the order of `get_feature_names_out`.
        """
        return np.concatenate([_features(found) for found, _ in self._found(X)])

    def get_feature_names_out(self, input_features: Any = None) -> Shaped[np.ndarray, " features"]:
        """Name the features that `transform` makes; names of pixels change nothing."""
        check_is_fitted(self)
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

    def objects(self, X: Any) -> list[list[Object]]:
        """Find the objects of each image, in the order in which they are attended to."""
        return [
            [_object(found, i, t, None if places is None else places[i]) for t in range(count)]
            for found, places in self._found(X)
            for i, count in enumerate(found.count)
        ]

    def reconstruct(self, X: Any) -> Float32[np.ndarray, "n h w"] | Float32[np.ndarray, "n h w 3"]:
        """Draw each image anew from what was found in it, as float32 in the range of values that was fitted."""
        drawn = [found.canvases[np.arange(len(found.count)), found.count] for found, _ in self._found(X)]
        pixels = np.clip(np.concatenate(drawn), 0, 1)
        pixels = 1 - pixels if self.polarity_ == "dark" else pixels
        low, high = self.range_
        return np.float32(low) + np.float32(high - low) * _channels_last(pixels)

    def _found(self, X: Any) -> Iterator[tuple[inference.Found, list[Placement] | None]]:
        """Infer image by image, in batches of one size: what is found doesn't depend on how many there are."""
        images, placements = self._see(X)
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            yield inference.find(self.model_, images[part], batch=BATCH), placements and placements[part]

    def _bounds(self, X: Any, samples: int) -> inference.Bounds:
        """Sample with a key for each image that is made of its pixels, so that its place doesn't matter either."""
        images = self._see(X).images
        keys = np.array([(self.seed_, zlib.crc32(image.tobytes())) for image in images], np.uint32)
        batch = min(BATCH, max(1, LANES // samples))
        return inference.bound_each(self.model_, images, samples=samples, keys=keys, batch=batch)

    # Images

    def _see(self, X: Any) -> _Seen:
        """Bring images into the form of those that were fitted."""
        check_is_fitted(self)
        placements = None
        if arrays.are_pictures(X):
            fitted = _fitted([plain(one, f"picture {i}") for i, one in enumerate(X)], self.image_shape_)
            placements, X = [one.placement for one in fitted], _stacked(fitted)
        rows = self._rows(X, reset=False)
        images = arrays.to_images(arrays.to_bytes(rows, self.range_), self.image_shape_)
        return _Seen(self._shown(images), placements)

    def _shown(self, images: np.ndarray) -> UInt8[np.ndarray, "n c h w"]:
        return inference.channels_first(255 - images if self.polarity_ == "dark" else images)

    def _rows(self, X: Any, *, reset: bool) -> Shaped[np.ndarray, "n p"]:
        """Check arrays, as scikit-learn does, and turn images into rows."""
        X, shape = arrays.stack(X), None
        if len(getattr(X, "shape", ())) > 2:
            shape = tuple(X.shape[1:])
            X = np.asarray(X).reshape(len(X), math.prod(shape))
        X = validate_data(self, X, reset=reset)
        if reset:
            self.image_shape_ = self._choose_shape(shape, X.shape[1])
        elif shape not in (None, self.image_shape_):
            raise ValueError(f"X must hold images of shape {self.image_shape_}, as in fit, got {shape}")
        return X

    def _choose_shape(self, shape: tuple[int, ...] | None, features: int) -> tuple[int, ...]:
        """Choose the shape of images of so many values that came in this shape, or in rows."""
        if self.image_shape is None:
            return arrays.square(features) if shape is None else arrays.check_shape(shape)
        expected = arrays.check_shape(self.image_shape)
        if shape not in (None, expected) or math.prod(expected) != features:
            came = f"rows of {features}" if shape is None else shape
            raise ValueError(f"image_shape must be the shape of images, got {expected} for {came}")
        return expected

    # Keeping

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "AIR":
        """Make a fitted estimator of a trained model; it takes uint8, or floats from 0 to 1.

        Args:
            source: see `airjax.from_pretrained`.

        Raises:
            RunError, CheckpointError, PretrainedError: see `airjax.from_pretrained`.
        """
        trained = pretrained.from_pretrained(source)
        config = dataclasses.asdict(trained.config)
        channels, *sides = trained.model.image_shape
        shape = tuple(sides) if channels == 1 else (*sides, channels)
        names = cls().get_params(deep=False).keys() & config.keys()
        estimator = cls(
            **{name: config.pop(name) for name in names},
            polarity=trained.polarity,
            settings=config,
            image_shape=shape,
        )
        estimator.model_, estimator.config_, estimator.polarity_ = trained
        estimator.classes_ = np.arange(trained.config.max_objects + 1)
        estimator.image_shape_, estimator.n_features_in_ = shape, math.prod(shape)
        estimator.range_, estimator.seed_ = arrays.UNIT, 0
        return estimator

    def save(self, folder: str | Path) -> None:
        """Write the model as config.json and model.safetensors, for `from_pretrained` here and of airjax.

        The range of values isn't kept with it.

        Raises:
            FileExistsError: the folder holds a model already.
        """
        check_is_fitted(self)
        pretrained.write(pretrained.Trained(self.model_, self.config_, self.polarity_), Path(folder))

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        state = dict(state)
        if "model_" in state:
            state["model_"] = (state["model_"].image_shape, checkpoint.to_bytes(state["model_"]))
            state["config_"] = dataclasses.asdict(state["config_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "model_" in state:
            shape, weights = state["model_"]
            state["config_"] = config = run.from_json(ModelConfig, state["config_"])
            expected = eqx.filter_eval_shape(build_model, config, shape, key=jax.random.PRNGKey(0))
            state["model_"] = checkpoint.from_bytes(weights, expected, Path("the pickled estimator"))
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _fitted(pictures: Sequence[Image.Image], shape: Sequence[int]) -> list[Fitted]:
    channels = 3 if len(shape) == 3 else 1
    return [fit(one, (channels, shape[0], shape[1])) for one in pictures]


def _stacked(fitted: Sequence[Fitted]) -> UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"]:
    return _channels_last(stack(fitted))


def _channels_last(images: np.ndarray) -> np.ndarray:
    """Undo `inference.channels_first`."""
    return images[:, 0] if images.shape[1] == 1 else np.moveaxis(images, 1, -1)


def _features(found: inference.Found) -> Float32[np.ndarray, "n features"]:
    each = np.concatenate([found.presence[..., None], found.where, found.what], axis=-1)
    present = np.arange(each.shape[1]) < found.count[:, None]
    return np.where(present[..., None], each, np.float32(0)).reshape(len(each), -1)


def _object(found: inference.Found, i: int, t: int, placement: Placement | None) -> Object:
    box, window = found.boxes[i, t], found.windows[i, t]
    if placement is not None:
        box, window = placement.to_picture(np.stack([box, window])).astype(np.float32)
    return Object(box, window, float(found.presence[i, t]), found.what[i, t])
