"""What is wrong ends a command in one line that names the place and the way out."""

import json
import sys

import pytest

from atbert_jax import command
from tests.commands import one_line, run, train, write_manifest

pytestmark = pytest.mark.slow


def test_missing_column(music, tmp_path):
    path = write_manifest(music, "no_path.csv", lambda rows: ["file" + rows[0][4:], *rows[1:]])
    line = one_line(train(path, tmp_path / "run"))
    assert "no_path.csv" in line
    assert "path" in line


def test_unknown_config_field(music, tmp_path):
    line = one_line(train(music / "tracks.csv", tmp_path / "run", "--config.train.stepz=3"))
    assert "stepz" in line


def test_unknown_word_of_a_config(tmp_path):
    line = one_line(run("atbert_jax.train", "--config=tagger:musicn", f"--workdir={tmp_path}"))
    assert line.startswith("error: config word='musicn' is none of fcn, crnn, musicnn")
    assert line.endswith("did you mean 'musicnn'?")


def test_empty_split(music, tmp_path):
    path = write_manifest(music, "no_val.csv", lambda rows: [r for r in rows if ",val" not in r])
    line = one_line(train(path, tmp_path / "run", "--config.data.val_fraction=0"))
    assert "val" in line
    assert "config.data" in line


def test_label_of_the_test_split_alone(music, tmp_path):
    path = write_manifest(
        music, "odd.csv", lambda rows: [*rows[:-1], rows[-1].replace(",high,", ",unheard,")]
    )
    line = one_line(train(path, tmp_path / "run"))
    assert "unheard" in line
    assert "test" in line


def test_unreadable_files_are_named_and_survived(music, tmp_path):
    (music / "broken.wav").write_text("no sound")
    path = write_manifest(
        music, "broken.csv", lambda rows: [*rows, "broken.wav,a broken tone,low,train"]
    )
    result = train(path, tmp_path / "run", "--config.data.max_bad_share=0.5")
    assert not result.returncode, result.stderr
    row = json.loads((tmp_path / "run" / "bad_records.jsonl").read_text().splitlines()[0])
    assert row["path"].endswith("broken.wav")
    assert "Format not recognised" in row["reason"]


def test_not_a_checkpoint(tmp_path):
    line = one_line(run("atbert_jax.predict", f"--checkpoint={tmp_path}", "some.wav"))
    assert str(tmp_path) in line
    assert "--workdir" in line


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "--embeddings={}/all.npz", "some.wav"),
        ("predict", "--taggram={}/pictures", "some.wav"),
        ("evaluate", "--output={}/report"),
        ("pseudo_label", "--output={}/pseudo.jsonl", "{}.csv"),
        ("convert", "albert", "nowhere", "{}/albert"),
    ],
)
def test_an_output_that_cannot_be_written_is_known_before_the_work(tmp_path, command):
    """Before anything is read of the model, which is not there."""
    (tmp_path / "file").touch()
    (tmp_path / "file.csv").write_text("path\n0.wav\n")
    verb, *arguments = (each.format(tmp_path / "file") for each in command)
    model = [] if verb == "convert" else ["--checkpoint=nowhere"]
    line = one_line(run(f"atbert_jax.{verb}", *model, *arguments))
    assert str(tmp_path / "file") in line
    assert "nowhere" not in line


def test_a_missing_flag_is_named():
    assert "checkpoint" in one_line(run("atbert_jax.predict", "some.wav"))


class Leaver:
    """Says something that nobody can catch."""

    def __init__(self, last_words: str) -> None:
        self.last_words = last_words

    def __del__(self) -> None:
        raise RuntimeError(self.last_words)


def test_reads_that_end_behind_one_that_failed_say_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "unraisablehook", command.show_unraisable)
    Leaver("Event loop is closed")
    assert capsys.readouterr().err == ""
    Leaver("something else")
    assert "RuntimeError: something else" in capsys.readouterr().err
