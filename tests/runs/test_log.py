import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest

from airjax.runs.log import MetricsLog, read_metrics


def _run(folder, steps, start_step=None):
    with MetricsLog(folder, start_step) as log:
        for step in steps:
            log.write(step, {"elbo": step / 3, "accuracy": jnp.float32(0.1)})


def _events(folder):
    """Read TensorBoard's records: length, its checksum, a protocol buffer, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted((folder / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def test_a_line_holds_the_step_and_the_numbers(tmp_path):
    _run(tmp_path / "run", [0, 10])
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert lines[0] == '{"step": 0, "elbo": 0.0, "accuracy": 0.10000000149011612}'
    assert read_metrics(tmp_path / "run") == [json.loads(line) for line in lines]
    assert [record["step"] for record in read_metrics(tmp_path / "run")] == [0, 10]


def test_lines_are_there_before_the_log_is_closed(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(1, {"a": 1})
        assert read_metrics(tmp_path) == [{"step": 1, "a": 1.0}]


def test_non_finite_numbers_become_null(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(1, {"a": float("nan"), "b": np.inf, "c": jnp.array(-jnp.inf), "d": 2})
    assert read_metrics(tmp_path) == [{"step": 1, "a": None, "b": None, "c": None, "d": 2.0}]


def test_a_value_called_step_is_refused(tmp_path):
    with MetricsLog(tmp_path) as log, pytest.raises(ValueError, match="'step'"):
        log.write(1, {"step": 2})


@pytest.mark.parametrize("half", ["", '{"step": 7, "el', '{"step": 7', "\0\0\0", '{"step": 3, "a": "\xff'])
def test_a_resumed_log_equals_an_uninterrupted_one(tmp_path, half):
    _run(tmp_path / "whole", range(9))
    _run(tmp_path / "resumed", range(7))
    with open(tmp_path / "resumed" / "metrics.jsonl", "ab") as file:
        file.write(half.encode("latin-1"))
    _run(tmp_path / "resumed", range(5, 9), start_step=4)
    whole, resumed = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "resumed"))
    assert whole == resumed


def test_a_run_from_the_beginning_starts_an_empty_file(tmp_path):
    _run(tmp_path, range(5))
    _run(tmp_path, range(2))
    assert [record["step"] for record in read_metrics(tmp_path)] == [0, 1]


def test_a_half_written_line_is_skipped_with_a_warning(tmp_path, caplog):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "a": 2.0}\n{"step": 2, "a"')
    assert read_metrics(tmp_path) == [{"step": 1, "a": 2.0}]
    assert "unreadable line" in caplog.text


def test_a_run_without_a_log_has_no_metrics(tmp_path):
    assert read_metrics(tmp_path) == []


def test_tensorboard_gets_numbers_and_pictures_and_hides_what_is_redone(tmp_path):
    _run(tmp_path, range(4))
    with MetricsLog(tmp_path, start_step=2) as log:
        log.write(3, {"elbo": 9.0, "bad": float("nan")})
        log.image(3, "scene", np.linspace(-1, 2, 12).reshape(3, 4))
        log.image(3, "colours", np.zeros((3, 4, 3), np.float32))
    events = list(_events(tmp_path))
    values = [(event.step, value) for event in events for value in event.summary.value]
    scalars = [(step, v.tag, v.simple_value) for step, v in values if v.HasField("simple_value")]
    assert scalars.count((3, "elbo", 9.0)) == 1
    assert not [tag for _, tag, _ in scalars if tag == "bad"]
    pictures = {v.tag: v.image for _, v in values if v.HasField("image")}
    assert {tag: (p.height, p.width) for tag, p in pictures.items()} == {"scene": (3, 4), "colours": (3, 4)}
    starts = [e.step for e in events if e.HasField("session_log") and e.session_log.status == e.session_log.START]
    assert starts == [0, 3]
