"""Damaged files of every kind: cut, empty, or with flipped bits. They are read or refused in one sentence."""

import random

import pytest
from kinds import READ

from airjax.data.ahead import read_pictures
from airjax.data.reading import split

CHANGES = 12


def damaged(content, rng):
    """Yield the content emptied, cut at some places, and with one to three bits flipped, mostly near the beginning."""
    yield b""
    yield content[:1]
    for _ in range(CHANGES // 3):
        yield content[: rng.randrange(len(content))]
    for _ in range(CHANGES):
        changed = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            changed[min(int(rng.expovariate(4 / len(content))), len(content) - 1)] ^= 1 << rng.randrange(8)
        yield bytes(changed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", READ)
def test_whatever_is_damaged_there_is_a_picture_or_a_sentence(tmp_path, kind):
    name, content = READ[kind][:2]
    rng = random.Random(kind)
    for changed in damaged(content, rng):
        (tmp_path / split(name)[0]).write_bytes(changed)
        (read,) = read_pictures(tmp_path, [name], levels=(0.0, 255.0, 1.0), channels=(1,))
        if read.picture is None:
            assert read.problem
            assert "\n" not in read.problem
        else:
            assert min(read.picture.size) > 0
