"""What tells a job of inference from any other: its model, its pictures and its options."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from airjax.data.addresses import Place, state_of
from airjax.data.copies import content_of
from airjax.interfaces.infer_files import Inference, files_of


def describe_inference(inference: Inference) -> dict[str, Any]:
    """Describe a job so that it can be told from any other."""
    weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(inference.model))
    pictures, files = inference.pictures, files_of(inference.pictures.names)
    return {
        "model": hashlib.sha256(weights).hexdigest(),
        "pictures": _hash([str(pictures.root.resolve()), pictures.names]),
        "sizes or times of pictures": _hash([state_of(pictures.root / file) for file in files]),
        **inference.settings,
    }


def hash_of_batch(inference: Inference, index: int) -> str:
    """Return the hash of the content of a batch's files."""
    together = inference.together
    return hash_of_files(inference.pictures.root, inference.pictures.names[index * together : (index + 1) * together])


def hash_of_files(root: Place, names: Sequence[str]) -> str:
    """Return the hash of the content of the files of pictures."""
    return _hash([content_of(root / file) for file in files_of(names)])


def hash_of_several(hashes: Sequence[str]) -> str:
    """Return one hash of several."""
    return _hash(list(hashes))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
