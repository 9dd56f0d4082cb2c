"""A page's answers, from a model that does all of it, about files of hostile names."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import atbert_jax
from tests import music_library, tones

HOSTILE = "<img src=x onerror=alert(1)> ${alert(2)} {{x}}.wav"


def write_sound(path: Path, seconds: float = 1.3) -> Path:
    rng = np.random.default_rng(len(path.name))
    sound = rng.uniform(-0.5, 0.5, round(seconds * tones.TONE_RATE))
    soundfile.write(path, sound, tones.TONE_RATE)
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> atbert_jax.Model:
    folder = tmp_path_factory.mktemp("whole")
    return atbert_jax.load(music_library.make_run(folder, alignment=1.0, classification=1.0))


@pytest.fixture(scope="session")
def index(model, tmp_path_factory) -> atbert_jax.Index:
    folder = tmp_path_factory.mktemp("music")
    for name in ("a.wav", "b.wav", HOSTILE):
        write_sound(folder / name)
    music_library.update(model.trained, folder / "lib", folder)
    return atbert_jax.Index(folder / "lib")
