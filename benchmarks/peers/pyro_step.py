"""Time training steps of Pyro's AIR example, with the flags of its tutorial; run it with Pyro's Python.

    python pyro_step.py CHECKOUT SCENES.npz --steps 20

CHECKOUT is a checkout of pyro-ppl/pyro, which must also be importable. Prints one JSON object.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

MODEL = dict(
    num_steps=3,
    x_size=50,
    window_size=28,
    z_what_size=50,
    rnn_hidden_size=256,
    encoder_net=[200],
    decoder_net=[200],
    predict_net=[200],
    bl_predict_net=[200],
    decoder_output_use_sigmoid=True,
    decoder_output_bias=-2.0,
    scale_prior_sd=0.2,
    use_masking=True,
    use_baselines=True,
)
"""python main.py -blr 0.1 --z-pres-prior 0.01 --scale-prior-sd 0.2 --predict-net 200 --bl-predict-net 200
--decoder-output-use-sigmoid --decoder-output-bias -2; everything else has the defaults of main.py."""
Z_PRES_RATIO = 0.01
RATE, BASELINE_RATE = 1e-4, 0.1


def presence_probabilities(ratio: float, steps: int) -> list[float]:
    """Convert p(n) proportional to ratio^n to the probability of each further object, as in the example's prior."""
    weights = ratio ** np.arange(steps + 1)
    tails = weights[::-1].cumsum()[::-1]
    return list(tails[1:] / tails[:-1])


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    arguments = parser.parse_args()
    sys.path[:0] = [str(arguments.checkout), str(arguments.checkout / "examples" / "air")]
    import pyro
    import torch
    from air import AIR  # the example's module
    from pyro.infer import SVI, TraceGraph_ELBO

    cuda = arguments.device == "gpu"
    pyro.set_rng_seed(0)
    images = torch.from_numpy(np.load(arguments.scenes, allow_pickle=False)["images"].astype(np.float32) / 255)
    images = images.cuda() if cuda else images
    air = AIR(use_cuda=cuda, **MODEL)
    rates = lambda name: {"lr": BASELINE_RATE if "bl_" in name else RATE}
    svi = SVI(air.model, air.guide, pyro.optim.Adam(rates), loss=TraceGraph_ELBO())
    presence = presence_probabilities(Z_PRES_RATIO, MODEL["num_steps"])

    def step() -> float:
        start = time.perf_counter()
        svi.step(images, batch_size=arguments.batch, z_pres_prior_p=lambda t: presence[t])
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    first = step()
    for _ in range(4):
        step()
    seconds = [step() for _ in range(arguments.steps)]
    versions = {"torch": torch.__version__, "pyro": pyro.__version__}
    print(json.dumps({"step_ms": [1e3 * s for s in seconds], "first_step_s": first, "versions": versions}))


if __name__ == "__main__":
    main()
