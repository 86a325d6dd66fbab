"""The least a training step must cost: its arithmetic and the optimiser's traffic, counted by hand.

Per image and step of inference, a matrix product of m x k by k x n takes 2 m k n operations forward, and as many again
for the gradient of each factor. docs/performance.md derives the numbers below.
"""

from airjax.config import Config

ADAM_BYTES = 28
"""Bytes per float32 parameter: Adam reads weight, gradient and two moments, and writes weight and moments (7 x 4)."""


def dense(inputs: int, outputs: int, *, input_gradient: bool = True) -> int:
    """Count the operations of a linear layer for one vector: forward, gradient of weights, gradient of inputs."""
    return 2 * inputs * outputs * (3 if input_gradient else 2)


def resampling(side: int, window: int, *, image_gradient: bool) -> int:
    """Count the operations of reading a window from, or writing one to, an image.

    Forward, each value and each slope takes two products and a sum of neighbours, along x and then along y. Backward,
    products with the hat functions carry the gradient to x (always) and on to the image (if it is needed).
    """
    between, samples = side * window, window * window
    sparse = 2 * 3 * (between + samples) + 2 * (between + samples)
    return sparse + 2 * window * between + (2 * side * between if image_gradient else 0)


def operations(config: Config, *, side: int = 50, channels: int = 1) -> int:
    """Count the floating-point operations of one training step."""
    model = config.model
    pixels, patch, latents = channels * side * side, channels * model.window**2, 3 + model.code_size
    features, embed = pixels, 0
    if model.embed_channels:
        quarter, eighth = -(-side // 4), -(-side // 8)
        first, second = model.embed_channels, 2 * model.embed_channels
        embed += quarter**2 * dense(64 * channels, first, input_gradient=False) + eighth**2 * dense(16 * first, second)
        features = eighth**2 * second
    wide = model.embed_hidden or 4 * model.hidden
    embed += dense(features, wide, input_gradient=bool(model.embed_channels))
    embed += dense(wide, 4 * model.hidden) if model.embed_hidden else 0
    one = dense(model.hidden + latents, 4 * model.hidden)
    one += dense(model.hidden, model.head_hidden) + dense(model.head_hidden, 7)
    one += dense(patch, model.patch_hidden) + dense(model.patch_hidden, 2 * model.code_size)
    one += dense(model.code_size, model.patch_hidden) + dense(model.patch_hidden, patch)
    read = resampling(side, model.window, image_gradient=model.residual_glimpses)
    write = resampling(model.window, side, image_gradient=True)
    return config.train.batch * (embed + model.max_objects * (one + channels * (read + write)))


def seconds(config: Config, parameters: int, flops_per_s: float, bytes_per_s: float) -> dict[str, float]:
    """Compute the least seconds of a step from counts and measured rates."""
    arithmetic = operations(config) / flops_per_s
    optimiser = ADAM_BYTES * parameters / bytes_per_s
    return {"arithmetic": arithmetic, "optimiser": optimiser, "total": arithmetic + optimiser}
