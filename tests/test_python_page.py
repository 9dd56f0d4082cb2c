"""The lines of docs/tutorials/python.md do what the page says, in a folder of tiny runs."""

import shutil
from pathlib import Path

import pytest

from atbert_jax import given_config
from atbert_jax.configs import atbert_finetune
from tests import documents, tiny, tones
from tests.test_model import make_run

PAGE = documents.ROOT / "docs" / "tutorials" / "python.md"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with all that the page names."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    labelled = make_run(tmp_path / "first", "run", classification=1.0)
    paired = make_run(tmp_path / "second", "run", correct_pair=1.0, alignment=1.0)
    shutil.copytree(labelled, tmp_path / "runs" / "genre")
    shutil.copytree(paired, tmp_path / "runs" / "pretrain")
    tracks = paired.parent / "tracks"
    for file in tracks.iterdir():
        shutil.copy(file, tmp_path)
    for name, source in {"one": 0, "two": 1, "three": 2, "song": 3}.items():
        # A file is what is in it, whatever its name says.
        shutil.copy(tracks / f"train{source}.wav", tmp_path / f"{name}.mp3")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_all_lines_run(here, monkeypatch, capsys):
    def small(_: str) -> object:
        config = atbert_finetune.get_config("tiny")
        config.update_from_flattened_dict(tiny.MODEL)
        config.scratch_twin = False
        config.data.threads, config.data.memory_mb = 2, 16
        config.train.update({"batch_size": 4, "evaluate_every": 2})
        return config

    monkeypatch.setattr(given_config, "_of_file", small)
    spaces = {}
    for block in documents.blocks(PAGE):
        if block.language == "python":
            text = block.text.replace('"train.steps": 200', '"train.steps": 2')
            exec(compile(text, str(PAGE), "exec"), spaces)
    assert spaces["scores"].shape == (2, 2)
    assert spaces["head"].labels == ("calm", "wild")
    assert "('calm', 'wild')" in capsys.readouterr().out
    assert spaces["best"]["loss"] > 0
    assert spaces["metrics"]["classification"]
    assert (here / "reports" / "mood" / "metrics.json").is_file()
    assert spaces["model"].trained.contract.spectrogram.sample_rate == tones.TONE_RATE
