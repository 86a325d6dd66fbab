"""Journals of unfinished jobs that are damaged: what is sound is kept, the rest is inferred again."""

import json

import pytest

from airjax.interfaces import formats, infer_files, output_files

pytestmark = pytest.mark.usefixtures("small_batches")


@pytest.fixture
def outputs(tmp_path):
    return output_files.Outputs(tmp_path / "k.json")


@pytest.fixture
def whole(inference, tmp_path):
    """The results of an inference that was not stopped."""
    outputs = output_files.Outputs(tmp_path / "whole" / "k.json")
    output_files.to_files(inference, outputs, progress=False)
    return outputs.coco.read_bytes(), formats.images_path(outputs.coco).read_bytes()


def damaged(content, kind, line):
    lines = content.splitlines(keepends=True)
    if kind == "bit":
        lines[line] = lines[line][:9] + bytes([lines[line][9] ^ 1]) + lines[line][10:]
    elif kind == "zeros":
        lines[line] = b"\0" * len(lines[line])
    elif kind == "digit":  # still JSON
        lines[line] = lines[line].replace(b"0", b"1", 1)
    elif kind == "lost":
        del lines[line]
    else:
        lines[line:] = [lines[line][: len(lines[line]) // 2]]
    return b"".join(lines)


@pytest.mark.parametrize("line", [3, 5, 10])
@pytest.mark.parametrize("kind", ["bit", "zeros", "digit", "lost", "cut"])
def test_a_damaged_batch_is_inferred_again(inference, outputs, stopped, whole, caplog, kind, line):
    stopped(outputs, 2)
    content = outputs.journal.read_bytes()
    assert content.count(b"\n") == 11
    outputs.journal.write_bytes(damaged(content, kind, line))
    output_files.to_files(inference, outputs, progress=False)
    assert (outputs.coco.read_bytes(), formats.images_path(outputs.coco).read_bytes()) == whole
    half_written = kind == "cut" or (kind, line) in [("lost", 10), ("zeros", 10)]
    assert ("is damaged" in caplog.text) == (not half_written)


@pytest.mark.parametrize("kind", ["bit", "zeros", "digit", "lost"])
def test_a_damaged_beginning_is_named_with_what_to_do(inference, outputs, stopped, whole, kind):
    stopped(outputs, 2)
    outputs.journal.write_bytes(damaged(outputs.journal.read_bytes(), kind, 0))
    with pytest.raises(ValueError, match=r"\.k\.json\.partial holds part of another inference.*--force"):
        output_files.to_files(inference, outputs, progress=False)
    output_files.to_files(inference, outputs, force=True, progress=False)
    assert outputs.coco.read_bytes() == whole[0]


@pytest.mark.parametrize("content", [b"", b'{"model": "'])
def test_a_journal_that_was_only_begun_is_begun_again(inference, outputs, whole, content):
    outputs.journal.write_bytes(content)
    output_files.to_files(inference, outputs, progress=False)
    assert outputs.coco.read_bytes() == whole[0]


def test_warnings_count_all_pictures_after_a_stop(inference, outputs, stopped, caplog):
    list(inference.batches())
    told = [record.getMessage() for record in caplog.records if " of 12 pictures " in record.getMessage()]
    told += [record.getMessage() for record in caplog.records if " of 11 pictures " in record.getMessage()]
    assert told
    stopped(outputs, 2)
    caplog.clear()
    output_files.to_files(inference, outputs, progress=False)
    assert [one for one in told if one not in caplog.text] == []


def test_a_journal_is_of_lines_of_json(inference, outputs, stopped):
    stopped(outputs, 2)
    lines = [json.loads(line) for line in outputs.journal.read_bytes().splitlines()]
    ends = [line for line in lines if "sha256" in line]
    assert [end["pictures"] for end in ends] == [infer_files.AHEAD] * 2
