"""Find out what stands on a table
===============================

``python examples/tables_in_3d.py``

A model that comes with airjax, trained without labels, looks once at unseen tables: how many objects are there, of
which kind is each, where does it stand and how is it turned? As p(x | z) is a renderer, the inferred table can be seen
from any side. As the renderer is differentiable, gradient descent on pixels sharpens the network's answer.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import airjax
from airjax.data.batches import channels_first
from airjax.data.tables import tables
from airjax.render3d.turntable import azimuths, draw_from, turntable
from airjax.runs import plots

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="crockery", help="a run's folder, or a trained model's name or folder")
parser.add_argument("--samples", type=int, default=100)
parser.add_argument("--steps", type=int, default=100, help="of gradient descent")
options = parser.parse_args()

# %%
# Tables with one, two or three objects, and one look at each.

model = airjax.load(options.model)
stage, side, TABLES = model.stage, model.image_shape[1], 6
laid = tables(stage, TABLES, seed=3, counts=(1, 2, 3), canvas=side)
images = channels_first(laid.images)
found = airjax.find(model, images, batch=TABLES)
for i in range(TABLES):
    there = [stage.kinds[label].name for label in laid.labels[i] if label >= 0]
    print(f"{', '.join(there)}: the model finds {found.count[i] or 'nothing'}")
    for what in found.what[i, : found.count[i]]:
        kind, (x, y), degrees = stage.kinds[int(what[3])], what[:2], np.degrees(what[2]) % 360
        turned = f", turned by {degrees:.0f} degrees" if kind.symmetry else ""  # a bowl looks the same from all sides
        print(f"    a {kind.name} at ({x:.2f}, {y:.2f}){turned}")

# %%
# p(n | x), by 100 explanations of each picture, weighed by how well they explain it.

weighed = airjax.bound(model, images, samples=options.samples, key=jax.random.PRNGKey(0), batch=TABLES)

# %%
# Gradient descent on the squared error of pixels moves positions and rotations, starting from the network's guess.
# Kinds and counts stay as they are.

azimuth = azimuths(stage, found.scene)
rate = optax.cosine_decay_schedule(0.02, options.steps)


@partial(jax.jit, static_argnums=0)
def sharpen(steps: int, image: jax.Array, count: jax.Array, what: jax.Array, azimuth: jax.Array):
    """Descend by `steps` steps of Adam: what stands there, and the squared errors on the way."""
    optimiser = optax.adam(rate)
    error = lambda what: jnp.mean((draw_from(stage, side, count, what, azimuth) - image) ** 2)

    def step(state, _):
        what, moments = state
        value, slope = jax.value_and_grad(error)(what)
        updates, moments = optimiser.update(slope.at[:, 3].set(0.0), moments)
        return (optax.apply_updates(what, updates), moments), value

    (what, _), errors = jax.lax.scan(step, (what, optimiser.init(what)), length=steps)
    return what, jnp.append(errors, error(what))


ends = [sharpen(options.steps, *table) for table in zip(images / 255.0, found.count, found.what, azimuth)]
sharper = np.stack([what for what, _ in ends])
first, last = np.mean([(errors[0], errors[-1]) for _, errors in ends], axis=0)
print(f"squared error of pixels: {first:.1e} by the network, {last:.1e} after descent")

# %%
# Rows: the table; the network's answer, drawn; the same after descent; that from the other side; p(n | x).

views = [
    turntable(stage, found.count, what, azimuth + turn, frames=1, side=96)[0]
    for what, turn in ((found.what, 0.0), (sharper, 0.0), (sharper, np.float32(np.pi)))
]
rows = ("table", "inferred", "sharpened", "from behind")
figure = Figure(figsize=(10, 8.6), layout="constrained")
axes = figure.subplots(len(rows) + 1, TABLES, sharey="row")
for row, name, pictures in zip(axes, rows, (images / 255.0, *views)):
    for place, picture in zip(row, pictures):
        place.imshow(np.clip(picture, 0.0, 1.0).transpose(1, 2, 0))
        place.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)
for place, p in zip(axes[-1], weighed.count_posterior):
    place.bar(range(len(p)), p, color="#9db8d9")
    place.set(xlabel="n", xticks=range(len(p)), ylim=(0, 1.05))
axes[-1, 0].set_ylabel("p(n | x)")
plots.save_figure(figure, Path("tables_in_3d.png"))
