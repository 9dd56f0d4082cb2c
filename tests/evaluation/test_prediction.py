"""Answers for files of any length: the same ones each time, in bounded memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.extras import EXTRAS
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.training import trained
from tests import commands, tiny

RATE = 8000


@pytest.fixture
def model(tone_manifest, tone_config, tmp_path) -> trained.Trained:
    changes = {**tiny.MODEL, "objectives.classification": 1.0, "classification.views": ("audio",)}
    config = tone_config(tone_manifest(), normalization="none", **changes)
    tiny.save_run(tmp_path / "run", config)
    return trained.load(tmp_path / "run")


def noise(path: Path, seconds: float) -> Record:
    """A file that is written in blocks of at most a minute."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        left = round(seconds * RATE)
        while left:
            block = rng.uniform(-0.5, 0.5, min(left, 60 * RATE)).astype(np.float32)
            file.write(block)
            left -= len(block)
    return Record(path.name, path)


@pytest.mark.parametrize(("asked", "chunks"), [({"chunks": 16}, 16), ({"hop": 60.0}, 60)])
def test_an_hour_is_answered_in_bounded_memory(model, tmp_path, asked, chunks):
    record = noise(tmp_path / "hour.wav", 3600)
    predictor = Predictor(model.chunked(**asked))
    (warm,) = predictor.predict([noise(tmp_path / "second.wav", 1.0)])
    tracemalloc.start()
    (answer,) = predictor.predict([record])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.duration == 3600
    assert answer.chunk_scores.shape == (chunks, 2)
    assert sum(answer.fields["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    # The hour itself is 115 MB; its encodings and answers are small.
    assert peak < 20e6
    assert not warm.error


@pytest.mark.parametrize("asked", [{}, {"chunks": 16}, {"hop": 0.05}])
def test_a_file_shorter_than_the_input_is_padded(model, tmp_path, asked):
    record = noise(tmp_path / "short.wav", 0.2)
    padded = tmp_path / "padded.wav"
    sound, _ = soundfile.read(record.path)
    soundfile.write(padded, np.pad(sound, (0, round(0.05 * RATE))), RATE)
    short, same = Predictor(model.chunked(**asked)).predict([record, Record("padded", padded)])
    assert short.chunk_scores.shape == same.chunk_scores.shape == (1, 2)
    np.testing.assert_allclose(short.chunk_scores, same.chunk_scores, rtol=0, atol=1e-6)


def test_a_file_has_the_same_answer_wherever_it_stands(model, tmp_path):
    records = [noise(tmp_path / f"{n}.wav", seconds) for n, seconds in enumerate((2.3, 0.4, 15.1))]
    predictor = Predictor(model.chunked(chunks=5))
    alone = {record.id: next(predictor.predict([record])) for record in records}
    for order in ((0, 1, 2), (2, 0, 1), (1, 1, 0)):
        for answer in predictor.predict([records[n] for n in order]):
            expected = alone[answer.record.id]
            assert answer.fields == expected.fields
            np.testing.assert_array_equal(answer.chunk_scores, expected.chunk_scores)


def test_what_the_extras_bring_is_not_needed():
    """The core predicts and converts, also where something looks at all modules that are loaded."""
    code = f"""
from importlib.machinery import PathFinder
find, extras = PathFinder.find_spec, {sorted(EXTRAS)}
PathFinder.find_spec = lambda name, *rest: find(name, *rest) if name not in extras else None
from atbert_jax.evaluation import prediction, zero_shot
from atbert_jax.conversion import convert_folder
import inspect, librosa, sys
inspect.stack()
print(*set(extras).intersection(sys.modules))
"""
    result = commands.run(code=code)
    assert not result.returncode, result.stderr
    assert result.stdout == "\n"


def test_what_takes_seconds_to_import_is_left_out():
    code = (
        "import sys; from atbert_jax.evaluation import prediction;"
        "print(*{'sklearn', 'matplotlib', 'librosa', 'tensorflow'}.intersection(sys.modules))"
    )
    result = commands.run(code=code)
    assert result.stdout == "\n", result.stderr
