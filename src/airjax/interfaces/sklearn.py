"""The scikit-learn interface: `AIR` as an estimator that is fitted on images, without labels.

    counts = AIR().fit(images).predict(images)

Every method takes images in any of these forms:

- arrays [n, h, w] (grey) or [n, h, w, 3] (colour), or lists of such images of one size;
- arrays [n, values] with one image per row, taken as squares unless `image_shape` gives their shape;
- lists of Pillow pictures of any size and mode; each is fitted, whole and undistorted, into one size
  (`airjax.data.images.letterbox`).

In uint8, black is 0 and white is 255. In other numbers, black is 0 and white is 1 if all values seen in `fit` lie
between; otherwise black is the smallest and white the largest of them. Later values slightly outside this range are
clipped; values outside by more than the whole range are refused. Pixels are stored with 8 bits.
"""

import dataclasses
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

from airjax.config import MAX_SEED, BackgroundModelKind, Config, DataConfig, ModelConfig, PolarityKind, TrainConfig
from airjax.data import arrays
from airjax.data.images import Placement, shape_of
from airjax.inference import infer
from airjax.interfaces import doctor
from airjax.interfaces.infer_files import to_own_pixels
from airjax.interfaces.settings import merge
from airjax.learning import loop, trainer
from airjax.models.base import Family
from airjax.models.build import build_model
from airjax.runs import checkpoint, pretrained, record

BATCH = 64
"""Images per batch of inference; always the same, so that results don't depend on the number of images."""
LANES = 1_600
"""Trajectories sampled at once."""
_MODEL = {field.name for field in dataclasses.fields(ModelConfig)} - {"objects"}  # always patches here
_OF_RUNS = {"seed", "checkpoint_every", "evaluate_every", "keep"}
_TRAIN = {field.name for field in dataclasses.fields(TrainConfig)} - _OF_RUNS


class AIR(DensityMixin, TransformerMixin, BaseEstimator):
    """Attend, Infer, Repeat: count, locate and describe the objects of images.

    Like a Gaussian mixture, AIR is a density model with a discrete latent variable: `predict` returns the count,
    `predict_proba` its posterior, `score` a bound on the log-density. This is why it is a density estimator here: a
    classifier would need labels, and a clusterer would assign arbitrary ones.

    Parameters that are None are chosen from the images (`airjax doctor`). So are `window`, `attention`, `compose`,
    `batch`, `scale_sd`, `count_ratio` and `learn_count`, unless `settings` contains them.

    Args:
        max_objects: N, the largest count.
        background_model: the background: none (black), constant, mean or linear.
        polarity: whether objects are `light` or `dark`, compared with the background; images of dark ones are inverted.
        scale: median of the prior on the side of a window, as a fraction of the image's side.
        sd: standard deviation of the normal likelihood; bounds for different values can't be compared.
        code_size: number of dimensions of an object's code.
        steps: gradient steps.
        learning_rate: Adam's peak rate.
        settings: other settings of `ModelConfig` and `TrainConfig`, by name.
        image_shape: (height, width) or (height, width, 3) of images in rows, and the shape that pictures are fitted
            into. None: for rows, the smallest square that holds one, padded with black; for pictures, chosen from them.
        posterior_samples: trajectories per image for `predict_proba`.
        random_state: fixes initial weights, order of images and all samples.
        verbose: whether to show a progress bar on stderr.

    Attributes:
        model_: the trained model (`airjax.AIR`).
        config_: the settings that it was built from.
        image_shape_: (height, width) or (height, width, 3) of images.
        n_features_in_: values per image.
        range_: the values of black and white.
        polarity_: whether objects are light or dark.
        seed_: drawn from `random_state`.
        tile_: width, in pixels of pictures, of the tiles that a trained model has learned from; None: of whole ones.
    """

    n_features_in_: int
    polarity_: PolarityKind
    tile_: int | None

    @no_type_check  # scikit-learn requires that it accepts anything and that only fit complains
    def __init__(
        self,
        max_objects: int | None = None,
        *,
        background_model: BackgroundModelKind | None = None,
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
        self.background_model = background_model
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
        """Train on images; `y` is ignored.

        Raises:
            ValueError: the images or a setting are not valid.
            airjax.learning.trainer.NotFiniteError: the bound or the weights are no longer finite.
        """
        del y
        look = None
        if arrays.are_pictures(X):
            look = doctor.propose_for(X)
            X, _ = arrays.letterbox_pictures(X, self._canvas(look))
        images = self._images(X, reset=True)
        given = self._given(look or doctor.propose_for(images))
        self.seed_ = int(check_random_state(self.random_state).randint(MAX_SEED, dtype=np.uint32))
        self.polarity_ = DataConfig(polarity=given["polarity"]).polarity
        own = {"seed": self.seed_, "batch": min(given["batch"], len(images))}
        config = Config(model=ModelConfig(**_only(_MODEL, given)), train=TrainConfig(**_only(_TRAIN, given) | own))
        self.config_ = config.model
        self.tile_ = None
        self.model_ = self._train(arrays.to_model(images, self.polarity_), config)
        return self

    def _canvas(self, look: doctor.Report) -> tuple[int, ...]:
        """Choose the shape that pictures are fitted into."""
        width, height, channels = (look.settings[name] for name in ("canvas", "height", "channels"))
        by_look = shape_of(channels, height or width, width)
        return by_look if self.image_shape is None else arrays.check_shape(self.image_shape)

    def _given(self, look: doctor.Report) -> dict[str, Any]:
        """Merge all settings; those given by the user override those chosen from the images."""
        own, settings = self.get_params(deep=False), dict(self.settings or {})
        if unknown := settings.keys() - ((_MODEL | _TRAIN) - own.keys()):
            raise ValueError(
                f"settings must name settings of ModelConfig or TrainConfig that are no parameters, "
                f"got {', '.join(sorted(unknown))}"
            )
        if self.posterior_samples < 1:
            raise ValueError(f"posterior_samples must be at least 1, got {self.posterior_samples}")
        return merge({name: value for name, value in own.items() if value is not None} | settings, look)

    def _train(self, images: UInt8[np.ndarray, "n c h w"], config: Config) -> Family:
        model, training = config.model, config.train
        state = trainer.init_from_data(trainer.init(model, training, images.shape[1:]), images)
        # Numpy arrays go to the device chunk by chunk, so that one compiled program serves any number of images.
        step = trainer.step_with(model)
        data = trainer.learn_from(model, training, images)
        for chunk in loop.chunks(data, training, step, state, progress=self.verbose):
            state = chunk.state
        return state.model

    @property
    def classes_(self) -> Shaped[np.ndarray, " counts"]:
        """List the counts 0, ..., N."""
        check_is_fitted(self, "model_")
        return np.arange(self.config_.max_objects + 1)

    # Results

    def transform(self, X: Any) -> Float32[np.ndarray, "n features"]:
        """Describe each image by (presence, log scale, x, y, code) of N objects; absent objects are zeros.

        Returns:
            N (1 + 3 + d) features per image, in the order of `get_feature_names_out`.
        """
        return np.concatenate([_features(found) for found, _ in self._found(X)])

    def get_feature_names_out(self, input_features: Any = None) -> Shaped[np.ndarray, " features"]:
        """Name the features that `transform` returns; `input_features` has no effect."""
        check_is_fitted(self, "model_")
        _check_feature_names_in(self, input_features, generate_names=False)
        each = ["presence", "log_scale", "x", "y", *(f"code{i}" for i in range(self.config_.code_size))]
        return np.array([f"object{t}_{name}" for t in range(self.config_.max_objects) for name in each], object)

    def predict(self, X: Any) -> Int32[np.ndarray, " n"]:
        """Count the objects of each image: the most probable count under q(n | x), as `airjax.find` chooses it."""
        return np.concatenate([found.count for found, _ in self._found(X)])

    def predict_proba(self, X: Any) -> Float32[np.ndarray, "n counts"]:
        """Estimate p(n | x) by importance sampling with `posterior_samples` trajectories per image."""
        return self._bounds(X, self.posterior_samples).count_posterior

    def score_samples(self, X: Any) -> Float32[np.ndarray, " n"]:
        """Estimate the evidence lower bound on log p(x), in nats, from one trajectory per image."""
        return self._bounds(X, 1).elbo

    def score(self, X: Any, y: Any = None) -> float:  # pyright: ignore[reportIncompatibleMethodOverride] (of a stub)
        """Compute the share of correct counts; without true counts `y`, the mean of `score_samples`."""
        if y is None:
            return float(np.mean(self.score_samples(X), dtype=np.float64))
        return float(accuracy_score(y, self.predict(X)))

    def objects(self, X: Any) -> list[list[dict[str, Any]]]:
        """Find the objects of each image, in the order in which they are attended to.

        Returns:
            For each image a list with one dictionary per object, as written by `airjax infer --json`: its `box` (x0,
            y0, x1, y1, tight around the pixels that it changes; None if it changes none) and attention `window`, in
            pixels of the image or picture, clipped at its edges; its `presence`, q(n >= t | x); its `code`.
        """
        return [
            [to_own_pixels(one, placements[i]) for one in infer.describe_objects(self.model_, found, i)]
            for found, placements in self._found(X)
            for i in range(len(placements))
        ]

    def reconstruct(self, X: Any) -> Float32[np.ndarray, "n h w"] | Float32[np.ndarray, "n h w 3"]:
        """Reconstruct each image from the objects found in it, in the range of values seen in `fit`."""
        drawn = [found.canvases[np.arange(len(found.count)), found.count] for found, _ in self._found(X)]
        return arrays.from_model(np.concatenate(drawn), self.polarity_, self.range_)

    def _found(self, X: Any) -> Iterator[tuple[infer.Found, list[Placement]]]:
        """Infer in batches of one size; add where the pixels of each original image are."""
        images, placements = self._see(X)
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            yield infer.find(self.model_, images[part], batch=BATCH), placements[part]

    def _bounds(self, X: Any, samples: int) -> infer.Bounds:
        """Sample with a key per image, made from its pixels, so that results don't depend on the order of images."""
        images, _ = self._see(X)
        keys = np.array([(self.seed_, zlib.crc32(image.tobytes())) for image in images], np.uint32)
        batch = min(BATCH, max(1, LANES // samples))
        return infer.bound_each(self.model_, images, samples=samples, keys=keys, batch=batch)

    # Images

    def _see(self, X: Any) -> tuple[UInt8[np.ndarray, "n c h w"], list[Placement]]:
        """Convert images to the form of those seen in `fit`."""
        check_is_fitted(self, "model_")
        placements = None
        if arrays.are_pictures(X) and getattr(self, "tile_", None):
            raise ValueError(
                f"X must hold tiles of shape {self.image_shape_}: `airjax infer` cuts pictures up and joins them"
            )
        if arrays.are_pictures(X):
            X, placements = arrays.letterbox_pictures(X, self.image_shape_)
        images = self._images(X, reset=False)
        height, width = self.image_shape_[:2]
        unmoved = [Placement((width, height), 1.0, 0.0, 0.0)] * len(images)
        return arrays.to_model(images, self.polarity_), placements or unmoved

    def _images(self, X: Any, *, reset: bool) -> UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"]:
        """Check arrays as scikit-learn does, and convert them to bytes."""
        rows, shape = arrays.to_rows(X)
        if not reset and shape not in (None, self.image_shape_):
            raise ValueError(f"X must hold images of shape {self.image_shape_}, as in fit, got {shape}")
        rows: Any = validate_data(self, rows, reset=reset)
        if reset:
            self.image_shape_ = arrays.choose_shape(self.image_shape, shape, rows.shape[1])
            self.range_ = arrays.find_range(rows)
        return arrays.to_images(arrays.to_bytes(rows, self.range_), self.image_shape_)

    # Storing

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "AIR":
        """Make a fitted estimator from a trained model; it takes uint8, or floats from 0 to 1.

        One that was trained on tiles takes arrays of their size alone.

        Args:
            source: see `airjax.from_pretrained`.

        Raises:
            ValueError: the model is one of objects in 3D, or compares pictures with a still background.
            RunError, CheckpointError, PretrainedError: see `airjax.from_pretrained`.
        """
        trained = pretrained.from_pretrained(source)
        model, config, polarity = trained[:3]
        if config.objects != ModelConfig.objects:
            raise ValueError(f"the estimator takes models of patches, not of {config.objects}")
        if trained.still is not None:
            raise ValueError("the model compares pictures with a still background, which `airjax infer` does")
        shape = shape_of(*model.image_shape)
        settings = _only(_MODEL, dataclasses.asdict(config))
        own = {name: settings.pop(name) for name in cls().get_params(deep=False).keys() & settings.keys()}
        estimator = cls(**own, polarity=polarity, settings=settings, image_shape=shape)
        estimator.image_shape_, estimator.n_features_in_ = shape, math.prod(shape)
        estimator.range_, estimator.polarity_, estimator.seed_ = arrays.UNIT, polarity, 0
        estimator.model_, estimator.config_, estimator.tile_ = model, config, trained.tile
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle; the model is stored as plain settings and the bytes of a safetensors file."""
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
    return np.where(found.present[..., None], each, np.float32(0)).reshape(len(each), -1)
