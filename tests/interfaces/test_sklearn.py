"""The scikit-learn face: its contract, its laws, and the company it keeps."""

import io
import pickle

import commands
import jax
import jaxtyping
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from airjax.data import embedded_digits, multi_digits
from airjax.inference import metrics
from airjax.interfaces import doctor
from airjax.runs.checkpoint import CheckpointError
from airjax.sklearn import AIR

SMALL = {
    "window": 2,
    "hidden": 2,
    "embed_channels": 0,
    "embed_hidden": 0,
    "head_hidden": 2,
    "patch_hidden": 2,
    "attention": 0,
    "compose": "add",
    "scale_sd": 0.1,
    "count_ratio": 0.1,
    "learn_count": False,
    "batch": 2,
    "chunk": 2,
}


def tiny(**changes):
    """Make an estimator that hardly learns, and by which nothing is left to the look of the images."""
    settings = {
        "max_objects": 1,
        "background_model": "none",
        "polarity": "light",
        "scale": 0.5,
        "sd": 0.3,
        "code_size": 2,
        "steps": 2,
        "posterior_samples": 1,
        "settings": SMALL,
    }
    return AIR(**settings | changes)


def small(**changes):
    """Make one whose objects may be two, and whose posteriors are not all alike."""
    return tiny(max_objects=2, posterior_samples=3, random_state=1, **changes)


@pytest.mark.slow
@parametrize_with_checks([tiny()])
def test_scikit_learns_contract_holds(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def counts():
    return np.arange(66) % 3


@pytest.fixture(scope="module")
def images(counts):
    """Scenes of 8 x 8 pixels with none, one or two bright squares."""
    rng = np.random.default_rng(0)
    images = np.zeros((66, 8, 8), np.uint8)
    for image, n in zip(images, counts):
        for y, x in rng.integers(0, 6, (n, 2)):
            image[y : y + 3, x : x + 3] = rng.integers(100, 256)
    return images


@pytest.fixture(scope="module")
def fitted(images):
    return small().fit(images)


@pytest.fixture(scope="module")
def scenes():
    return multi_digits(embedded_digits("held-out"), 80, seed=0)


@pytest.fixture(scope="module")
def counter():
    return AIR.from_pretrained("multi-mnist").set_params(posterior_samples=2)


def all_of(estimator, images):
    """Tell everything of images that is an array."""
    methods = estimator.transform, estimator.predict_proba, estimator.score_samples, estimator.reconstruct
    return [estimator.predict(images), *(method(images) for method in methods)]


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one, other)


# Fitting


@pytest.mark.slow
def test_a_clone_is_blank_and_learns_the_very_same(fitted, images):
    blank = clone(fitted)
    assert blank.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        blank.predict(images)
    assert_same(all_of(blank.fit(images), images), all_of(fitted, images))


def test_the_random_state_fixes_everything(fitted, images):
    other = clone(fitted).set_params(random_state=2).fit(images)
    assert other.seed_ != fitted.seed_
    assert (other.score_samples(images) != fitted.score_samples(images)).all()
    generators = [clone(fitted).set_params(random_state=np.random.RandomState(1)).fit(images) for _ in range(2)]
    assert {one.seed_ for one in generators} == {fitted.seed_}


@pytest.mark.parametrize(
    "same",
    [
        lambda x: x / 255,
        lambda x: (x / 255).astype(np.float32),
        lambda x: 40 * (x / 127.5 - 1),
        lambda x: x.astype(int),
        lambda x: x.reshape(66, 64),
        list,
        lambda x: x.tolist(),
        lambda x: [Image.fromarray(one) for one in x],
        lambda x: [Image.fromarray(one).convert("RGBA") for one in x],
    ],
    ids=["doubles", "floats", "another range", "integers", "rows", "arrays", "numbers", "pictures", "RGBA"],
)
def test_it_does_not_matter_how_images_come(fitted, images, same):
    given = same(images)
    other = small(image_shape=(8, 8)).fit(given)
    assert_same(jax.tree.leaves(other.model_), jax.tree.leaves(fitted.model_))
    np.testing.assert_array_equal(other.predict_proba(given), fitted.predict_proba(images))
    low, high = other.range_
    expected = low + (high - low) * fitted.reconstruct(images)
    np.testing.assert_allclose(other.reconstruct(given), expected, rtol=1e-5, atol=1e-5 * (high - low))


def test_dark_objects_are_light_ones_inverted(fitted, images):
    dark = small(polarity="dark").fit(255 - images)
    assert_same(jax.tree.leaves(dark.model_), jax.tree.leaves(fitted.model_))
    np.testing.assert_array_equal(dark.transform(255 - images), fitted.transform(images))
    np.testing.assert_allclose(dark.reconstruct(255 - images), 1 - fitted.reconstruct(images), atol=1e-6)


@pytest.mark.slow
def test_what_is_left_open_is_set_by_the_look_of_the_images(scenes, caplog, monkeypatch):
    monkeypatch.setattr(AIR, "_train", lambda *_: None)
    estimator = AIR(settings={"window": 5}).fit(255 - scenes.images)
    proposed, config = doctor.propose_for(255 - scenes.images).settings, estimator.config_
    assert estimator.polarity_ == proposed["polarity"] == "dark"
    same = [name for name in proposed if getattr(config, name, None) == proposed[name]]
    assert {*same} >= {
        "max_objects",
        "scale",
        "scale_sd",
        "background_model",
        "compose",
        "attention",
        "sd",
        "count_ratio",
    }
    assert config.window == 5
    assert "AIR may be the wrong tool: 80 pictures are few" in caplog.text


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_objects": 0}, "max_objects must be at least 1, got 0"),
        ({"background_model": "grass"}, "background_model must be one of none, constant, mean, smooth, .*, got grass"),
        ({"polarity": "grey"}, "polarity must be one of light, dark, got grey"),
        ({"scale": -1.0}, "scale must be positive and finite, got -1.0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"posterior_samples": 0}, "posterior_samples must be at least 1, got 0"),
        ({"settings": {"depth": 3}}, "settings must name settings of .* that are no parameters, got depth"),
        ({"settings": {"sd": 0.3, "seed": 1}}, "settings must name settings of .*, got sd, seed"),
        ({"settings": {"batch": 0}}, "batch must be at least 1, got 0"),
        ({"image_shape": (8, 4)}, r"image_shape must be the shape of images, got \(8, 4\) for \(8, 8\)"),
        (
            {"image_shape": (4, 8, 2)},
            r"images must be of shape \(height, width\) or \(height, width, 3\), got \(4, 8, 2",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused(images, monkeypatch, settings, sentence):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is outside of tests
    estimator = tiny(**settings)
    with pytest.raises(ValueError, match=sentence):
        estimator.fit(images)
    with pytest.raises(NotFittedError):
        estimator.predict(images)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: x[:, :4], r"X must hold images of shape \(8, 8\), as in fit, got \(4, 8\)"),
        (lambda x: x.reshape(33, 128), "X has 128 features, but AIR is expecting 64 features"),
        (lambda x: x.astype(int), "X must hold uint8 or values from 0 to 1 as in fit, got values from 0 to 255"),
        (lambda x: np.where(x > 0, np.nan, 0.0), "Input X contains NaN"),
        (lambda x: [Image.fromarray(one.astype(np.float32)) for one in x], "picture 0 has 32 bits a value"),
        (lambda x: x[:0], "Found array with 0 sample"),
    ],
)
def test_images_unlike_those_fitted_are_refused(fitted, images, change, sentence):
    assert images.max() == 255
    with pytest.raises(ValueError, match=sentence):
        fitted.predict(change(images))


def test_rows_that_make_no_square_are_told_of(images):
    with pytest.warns(UserWarning, match="63 features, which make no square: the last of 8 x 8 pixels stay black"):
        estimator = small().fit(images.reshape(66, 64)[:, :63])
    images = images.copy()
    images[:, 7, 7] = 0
    assert_same(jax.tree.leaves(estimator.model_), jax.tree.leaves(small().fit(images).model_))


# What is found


def test_features_are_those_of_the_objects(counter, scenes):
    features, objects = counter.transform(scenes.images).reshape(80, 3, 54), counter.objects(scenes.images)
    counts = counter.predict(scenes.images)
    assert [len(found) for found in objects] == counts.tolist()
    assert {*counts} >= {0, 1, 2}
    for rows, found in zip(features, objects):
        assert not rows[len(found) :].any()
        for row, one in zip(rows, found):
            width, x, y = np.exp(row[1]), row[2], row[3]
            corners = 25 * np.array([x + 1 - width, y + 1 - width, x + 1 + width, y + 1 + width])
            np.testing.assert_allclose(one["window"], np.clip(corners, 0, 50), atol=2e-3)
            np.testing.assert_allclose([one["presence"], *one["code"]], row[[0, *range(4, 54)]], atol=1e-6)


def test_features_have_names(fitted, images):
    names = fitted.get_feature_names_out()
    assert names.tolist()[:7] == [f"object0_{x}" for x in ["presence", "log_scale", "x", "y", "code0", "code1"]] + [
        "object1_presence"
    ]
    assert len(names) == fitted.transform(images).shape[1] == 12
    table = clone(fitted).set_output(transform="pandas").fit(images).transform(images)
    assert table.columns.tolist() == names.tolist()


@pytest.mark.slow
def test_an_image_alone_is_seen_as_among_others(counter, scenes):
    everything = all_of(counter, scenes.images)
    assert len(np.unique(everything[3])) > 40
    order = np.random.default_rng(0).permutation(80)
    assert_same(all_of(counter, scenes.images[order]), [values[order] for values in everything])
    assert_same(all_of(counter, scenes.images[79:]), [values[79:] for values in everything])


def test_the_score_is_the_bound_or_with_counts_their_accuracy(fitted, images, counts):
    assert fitted.score(images) == pytest.approx(fitted.score_samples(images).mean())
    assert fitted.score(images, counts) == np.mean(fitted.predict(images) == counts)


def test_boxes_are_in_the_pictures_own_pixels(counter, scenes):
    """One digit, seen whole, without the black above it, and three times as large."""
    image = np.pad(scenes.images[np.flatnonzero(scenes.counts == 1)[0]][10:40, 10:40], 10)
    wide = Image.fromarray(image[10:40])
    large = Image.fromarray(image).resize((150, 150), Image.Resampling.NEAREST)
    (whole,), (cut,), (enlarged,) = counter.objects([Image.fromarray(image), wide, large])
    assert whole == counter.objects(image[None])[0][0]
    assert cut["box"] == pytest.approx(np.subtract(whole["box"], [0, 10, 0, 10]))
    assert cut["code"] == whole["code"]
    assert enlarged["box"] == pytest.approx(np.multiply(whole["box"], 3), abs=3)


def test_a_pretrained_model_counts_and_locates(counter, scenes):
    assert counter.score(scenes.images, scenes.counts) >= 0.9
    posterior = counter.predict_proba(scenes.images)
    np.testing.assert_allclose(posterior.sum(1), 1, rtol=1e-5)
    assert np.mean(counter.classes_[posterior.argmax(1)] == scenes.counts) >= 0.9
    boxes = np.full((80, 3, 4), np.nan, np.float32)
    for row, found in zip(boxes, counter.objects(scenes.images)):
        row[: len(found)] = np.reshape([one["box"] for one in found], (-1, 4))
    assert metrics.mean_iou(scenes.boxes, boxes) > 0.75
    assert clone(counter).get_params() == counter.get_params()


# The company it keeps


class Watchful(pickle.Unpickler):
    """Take note of all that a pickle needs to be read."""

    needed: tuple = ()

    def find_class(self, module, name):
        self.needed = (*self.needed, f"{module}.{name}")
        return super().find_class(module, name)


@pytest.mark.slow
def test_a_pickle_keeps_everything_and_nothing_of_jax(counter, scenes):
    reader = Watchful(io.BytesIO(pickle.dumps(counter)))
    assert_same(all_of(reader.load(), scenes.images), all_of(counter, scenes.images))
    assert {name for name in reader.needed if not name.startswith(("copyreg.", "builtins."))} == {
        "airjax.interfaces.sklearn.AIR",
        "airjax.data.arrays.Range",
    }
    _, weights = counter.__getstate__()["model_"]
    assert len(safetensors.numpy.load(weights)) == len(jax.tree.leaves(counter.model_))
    assert pickle.loads(pickle.dumps(clone(counter))).get_params() == counter.get_params()


def test_a_pickle_with_weights_of_another_model_is_refused(fitted):
    state = fitted.__getstate__()
    for change in ({"code_size": 3}, {"hidden": 3}):
        with pytest.raises(CheckpointError, match="the pickled estimator"):
            AIR().__setstate__(state | {"config_": state["config_"] | change})


def test_a_pipeline_learns_from_the_features(images, counts, fitted):
    pipeline = make_pipeline(small(), StandardScaler(), LogisticRegression()).fit(images, counts)
    features = StandardScaler().fit_transform(fitted.transform(images))
    expected = LogisticRegression().fit(features, counts).predict_proba(features)
    np.testing.assert_allclose(pipeline.predict_proba(images), expected, rtol=1e-5)


def test_a_frozen_model_reads_digits_from_its_codes(counter):
    some, others = (multi_digits(embedded_digits(split), 150, seed=1, counts=(1,)) for split in ("train", "held-out"))
    pipeline = make_pipeline(FrozenEstimator(counter), StandardScaler(), LogisticRegression())
    pipeline.fit(some.images, some.labels[:, 0])
    assert pipeline.score(others.images, others.labels[:, 0]) > 0.7


@pytest.mark.slow
def test_settings_are_searched_by_the_accuracy_of_counts(images, counts):
    search = GridSearchCV(small(), {"sd": [0.3, 0.4]}, cv=2).fit(images, counts)
    assert search.best_estimator_.config_.sd == search.best_params_["sd"]
    for fold, half in enumerate((slice(0, 33), slice(33, 66))):
        learned = small().fit(np.delete(images, half, axis=0))
        assert search.cv_results_[f"split{fold}_test_score"][0] == learned.score(images[half], counts[half])


def test_settings_are_searched_by_the_bounds_of_pictures(images):
    pictures = [Image.fromarray(one) for one in images[:8]]
    search = GridSearchCV(small(image_shape=(8, 8)), {"sd": [0.3, 0.4]}, cv=2).fit(pictures)
    learned = small().fit(images[4:8])
    assert search.cv_results_["split0_test_score"][0] == learned.score(images[:4])


def test_airjax_is_imported_without_it_and_without_matplotlib():
    code = "import sys, airjax; print([x for x in sys.modules if 'sklearn' in x or 'matplotlib' in x])"
    program = (commands.PYTHON, "-c", code)
    said = commands.spawn(program=program)
    assert said.out.strip() == "[]", said.err
