#!/usr/bin/env bash
# Atari games in ale-py take a seed, and repeat actions at random (0.25) so that episodes differ. But a seed reaches
# nothing else: with the action "do nothing" at every step, four seeds give the same 120 frames, bit for bit, in all of
# five games. Frames for training that are collected so are one episode, however many seeds were used.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check ale-py==0.12.1 gymnasium==1.4.0 numpy==2.2.6
"$folder/env/bin/python" - 2>/dev/null <<'PYTHON'
import hashlib
from importlib.metadata import version

import ale_py
import gymnasium

gymnasium.register_envs(ale_py)
print(f"ale-py {version('ale-py')}, gymnasium {version('gymnasium')}")


def frames(game, seed, act):
    """Hash the frames of 120 steps."""
    env = gymnasium.make(f"ALE/{game}-v5", repeat_action_probability=0.25)
    digest = hashlib.sha256(env.reset(seed=seed)[0].tobytes())
    for step in range(120):
        digest.update(env.step(act(env, step))[0].tobytes())
    return digest.hexdigest()[:8]


for game in ("Asterix", "Pong", "Freeway", "SpaceInvaders", "MsPacman"):
    idle = {frames(game, seed, lambda env, step: 0) for seed in range(4)}
    busy = {frames(game, seed, lambda env, step: step // 4 % env.action_space.n) for seed in range(4)}
    print(f"{game}: four seeds, {len(idle)} episode without actions, {len(busy)} with the same actions in turn")
    assert len(idle) == 1 and len(busy) > 1
PYTHON
