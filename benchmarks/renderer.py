"""Time the renderer of scenes3d: `python benchmarks/renderer.py`.

Prints one JSON object with milliseconds per image, as medians over rounds, in a batch of 64. It times drawing one
object on the table, with and without the gradient of a squared error with respect to position, rotation, size and
colour: for every kind, for all kinds at once, and for a scene of three objects of any kind with all its prefixes.
"""

import argparse
import json
import statistics
import sys

import jax
import jax.numpy as jnp
import numpy as np
from parts import seconds_of

from airjax import render3d

CAMERA, SETTING = render3d.orbit(0.3, 0.8, 4.5), render3d.daylight()


def poses_of(*shape: int) -> render3d.Pose:
    """Draw poses on the table."""
    draw = lambda low, high, *last: jnp.asarray(np.random.default_rng(0).uniform(low, high, shape + last), jnp.float32)
    return render3d.Pose(draw(-1, 1, 2), draw(0, 6, *()), draw(0.3, 0.5), draw(0, 1, 3))


def one_object(pose: render3d.Pose, kinds: tuple[render3d.Kind, ...], side: int) -> jax.Array:
    """Draw an object alone on the table, once as each of these kinds."""
    rays = CAMERA.rays((side, side))
    empty = render3d.empty_table(rays, SETTING, 1)
    return jax.vmap(lambda layer: empty.add(layer).image)(render3d.draw_each(rays, pose, SETTING, kinds))


def scene(pose: render3d.Pose, side: int) -> jax.Array:
    """Draw three objects whose kinds are only known at run time."""
    identities = (pose.rotation * 1e3).astype(int) % len(render3d.KINDS)
    return render3d.render(CAMERA, identities, pose, SETTING, (side, side))


def measure(draw, poses: render3d.Pose, rounds: int) -> dict[str, float]:
    """Time drawing a batch with and without gradients, in milliseconds per image."""
    loss = lambda pose: jnp.sum((draw(pose) - 0.5) ** 2)
    milliseconds = {}
    for name, function in (("forward", loss), ("with_gradient", jax.value_and_grad(loss))):
        batched = jax.jit(jax.vmap(function))
        seconds = seconds_of(lambda batched=batched: batched(poses), rounds)
        milliseconds[name] = 1e3 * statistics.median(seconds) / len(poses.size)
    return milliseconds


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    one, three = poses_of(options.batch), poses_of(options.batch, 3)
    result = {}
    for side in options.sides:
        kinds = {kind.name: (kind,) for kind in render3d.KINDS} | {"all kinds": render3d.KINDS}
        cases = {
            name: (lambda pose, kinds=kinds[name], side=side: one_object(pose, kinds, side), one) for name in kinds
        }
        cases["scene of three"] = (lambda pose, side=side: scene(pose, side), three)
        result[side] = {name: measure(draw, poses, options.rounds) for name, (draw, poses) in cases.items()}
    result |= {"batch": options.batch, "device": jax.devices()[0].device_kind}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
