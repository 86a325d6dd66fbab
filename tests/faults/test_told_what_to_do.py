"""Runs of other versions, and interruptions: the sentence says what can be done."""

import json

import commands
import pytest
from commands import call, refused

from airjax.interfaces import cli
from airjax.runs.record import RunError, read_record


def changed(run, folder, change):
    copy = commands.copied(run, folder / "run")
    content = json.loads((copy / "run.json").read_text())
    change(content)
    (copy / "run.json").write_text(json.dumps(content))
    return copy


def test_a_record_of_another_version_names_it(run, tmp_path, capsys):
    def later(content):
        content["versions"]["airjax"], content["commit"] = "9.8.7", "abc1234"
        content["config"]["model"]["not_yet_known"] = 1

    copy = changed(run, tmp_path, later)
    with pytest.raises(RunError, match=r"written by airjax 9\.8\.7 \(commit abc1234\), which can read it, and can't"):
        read_record(copy)
    assert refused(call(capsys, "evaluate", copy), "not_yet_known", "written by airjax 9.8.7")


def test_a_record_of_this_version_is_damaged(run, tmp_path):
    copy = changed(run, tmp_path, lambda content: content["config"]["model"].pop("hidden"))
    with pytest.raises(RunError, match="is damaged: it lacks hidden"):
        read_record(copy)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "x"], "run the same command again to go on from the last checkpoint"),
        (["infer", "x"], "the same command goes on after the pictures that are done"),
        (["evaluate", "x"], "interrupted\n"),
    ],
)
def test_an_interruption_tells_whether_the_same_command_goes_on(monkeypatch, capsys, words, told):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupt)
    monkeypatch.setattr(cli, "stand_ins", lambda *_: ())
    monkeypatch.setattr(cli.several, "join", lambda *_: None)
    assert cli.main(words) == 130
    assert told in capsys.readouterr().err
