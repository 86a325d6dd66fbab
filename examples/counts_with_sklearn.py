"""Count and read digits with scikit-learn
=======================================

``python examples/counts_with_sklearn.py``

AIR as a step of a pipeline. Scenes of 50 x 50 pixels hold the digits that come with scikit-learn; nothing is
downloaded. A model that comes with airjax learned without labels and from other digits (MNIST's). First it counts the
digits of each scene. Then it turns scenes into features for a logistic regression. In these features a digit looks much
the same wherever it is, so 200 labels are enough to learn to read scenes of one digit, while pixels hardly help. On new
scenes it counted 99.0 % right and read 90.5 %, from pixels 13.7 % (guessing: 10 %), in about 10 seconds on one CPU
core.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from airjax.data import embedded_digits, multi_digits
from airjax.runs.plots import save_figure
from airjax.sklearn import AIR


def main() -> None:
    """Count without labels, then learn to read from few."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--scenes", type=int, default=1_000, help="new ones, for the scores")
    options = parser.parse_args()

    air = AIR.from_pretrained("multi-mnist")
    scenes = multi_digits(embedded_digits("held-out"), options.scenes, seed=2)
    print(f"0 to 2 digits counted right, without labels: {100 * air.score(scenes.images, scenes.counts):.1f} %")

    known = multi_digits(embedded_digits("train"), options.labels, seed=1, counts=(1,))
    new = multi_digits(embedded_digits("held-out"), options.scenes, seed=1, counts=(1,))
    frozen = FrozenEstimator(air)  # otherwise the pipeline would train it anew
    as_rows = FunctionTransformer(lambda images: images.reshape(len(images), -1))
    read = {}
    for name, features in ("AIR", frozen), ("pixels", as_rows):
        reader = make_pipeline(features, StandardScaler(), LogisticRegression(max_iter=1_000))
        reader.fit(known.images, known.labels[:, 0])
        read[name] = reader.score(new.images, new.labels[:, 0])
        print(f"one digit read right, from {options.labels} labels, by {name}: {100 * read[name]:.1f} %")
    figure = Figure(figsize=(4, 2), layout="constrained")
    figure.subplots().barh([f"from {name}" for name in read], list(read.values()), color="#9db8d9")
    figure.axes[0].set(xlim=(0, 1), xlabel="share of new scenes that are read right")
    save_figure(figure, Path("counts_with_sklearn.png"))


if __name__ == "__main__":
    main()
