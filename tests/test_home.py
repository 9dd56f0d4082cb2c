"""`~` in a path of the command line is the home folder, where shells leave it too."""

from pathlib import Path

import pytest

from atbert_jax import command
from atbert_jax.input_pipeline.manifest.config_splits import read_splits
from atbert_jax.input_pipeline.manifest.places import from_home


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_flags_and_arguments(home):
    given = [
        *("train", "--workdir=~/runs/x", "--config.data.manifest=~/a.csv,~/b.csv", "~/c.wav"),
        *(
            "--checkpoint",
            "~/runs",
            "--text=~/ what?",
            "--text",
            "~/ who?",
            "--output=a~/b",
            "a=~/b",
        ),
    ]
    assert command._with_homes(given) == [
        *("train", f"--workdir={home}/runs/x", f"--config.data.manifest={home}/a.csv,{home}/b.csv"),
        *(f"{home}/c.wav", "--checkpoint", f"{home}/runs", "--text=~/ what?", "--text", "~/ who?"),
        *("--output=a~/b", "a=~/b"),
    ]


def test_paths_of_other_commands(home):
    assert from_home("~/music") == home / "music"
    assert from_home("a/~") == Path("a/~")


def test_manifests_of_a_config(home, tone_config):
    (home / "t.csv").write_text("path,split\na.wav,train\nb.wav,val\n")
    config = tone_config("~/t.csv", **{"data.root": "~/audio"})
    parts, paths = read_splits(config.data)
    assert paths == [f"{home}/t.csv"]
    assert parts["train"][0][0].path == home.resolve() / "audio/a.wav"
