"""A model, recordings to index, and what of them is heard."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.training import trained
from tests import tones
from tests.music_library import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("paired"), correct_pair=1.0, alignment=1.0)


@pytest.fixture(scope="module")
def model(run) -> trained.Trained:
    return trained.load(run)


@pytest.fixture
def music(tmp_path) -> Path:
    """Six recordings of one to four windows, of 0.5 s each."""
    folder, rng = tmp_path / "music", np.random.default_rng(0)
    (folder / "deep").mkdir(parents=True)
    for number, seconds in enumerate((0.4, 1.3, 0.5, 2.0, 0.9, 0.5)):
        name = f"deep/{number}.wav" if number % 2 else f"{number}.wav"
        sound = rng.uniform(-0.5, 0.5, round(seconds * tones.TONE_RATE))
        soundfile.write(folder / name, sound, tones.TONE_RATE)
    return folder


@pytest.fixture
def heard(monkeypatch) -> list[str]:
    """The names of the files that are embedded from here on."""
    names = []
    rows = Predictor._rows

    def noting(self, answer):
        names.append(answer.record.path.name)
        return rows(self, answer)

    monkeypatch.setattr(Predictor, "_rows", noting)
    return names
