"""Files of weights that lie about themselves: refused with a sentence, in no more memory than they have bytes."""

import hashlib
import json
import struct

import commands
import pytest

from airjax.runs.pretrained import PretrainedError, load


def archive(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HOSTILE = {
    "empty": b"",
    "short": b"\0" * 7,
    "a header of no end": archive({}, length=2**63),
    "a header longer than the file": archive({}, length=1_000),
    "no JSON": archive(b"{" * 100),
    "deep": archive(b"[" * 100_000),
    "a list": archive([]),
    "no arrays": archive({}),
    "another array": archive({"a": ONE}, b"\0" * 4),
    "an unknown dtype": archive({"a": ONE | {"dtype": "F7"}}, b"\0" * 4),
    "a huge shape": archive({"a": ONE | {"shape": [2**40, 2**40]}}, b"\0" * 4),
    "a negative shape": archive({"a": ONE | {"shape": [-1]}}, b"\0" * 4),
    "offsets beyond the end": archive({"a": ONE | {"data_offsets": [0, 2**40]}}, b"\0" * 4),
    "offsets that overlap": archive({"a": ONE, "b": ONE}, b"\0" * 4),
    "offsets backwards": archive({"a": ONE | {"data_offsets": [4, 0]}}, b"\0" * 4),
    "a pickle": b"\x80\x04N.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_weights_with_a_right_hash_are_checked(tmp_path, tiny_config, kind):
    folder = tmp_path / "model"
    commands.exported(folder, tiny_config, (1, 12, 12))
    (folder / "model.safetensors").write_bytes(HOSTILE[kind])
    content = json.loads((folder / "config.json").read_text())
    content["sha256"] = hashlib.sha256(HOSTILE[kind]).hexdigest()
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(PretrainedError, match=r"model\.safetensors"):
        load(folder)
