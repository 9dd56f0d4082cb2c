"""Excerpts are small, play what the clip begins with, and are there for shards, too."""

import base64
import io

import numpy as np
import soundfile

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.reporting.excerpts import SECONDS, excerpt


def test_the_first_seconds_are_within_the_page(tmp_path):
    time = np.arange(20 * 44_100) / 44_100
    tone = 0.3 * np.sin(2 * np.pi * np.where(time < 10, 440, 880) * time)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, tone], axis=1), 44_100)
    for start, pitch in ((0.0, 440), (12.0, 880)):
        sound = excerpt(Record("a", tmp_path / "a.wav", start=start))
        assert sound.name == "a.wav"
        kind, _, encoded = sound.source.partition(",")
        assert kind == "data:audio/mpeg;base64"
        assert len(encoded) < 60_000
        heard, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)))
        assert abs(len(heard) / rate - SECONDS) < 0.1
        strongest = np.abs(np.fft.rfft(heard)).argmax() * rate / len(heard)
        assert abs(strongest - pitch) < 2


def test_what_cannot_be_read_has_its_name_alone(tmp_path):
    (tmp_path / "b.wav").write_bytes(b"no sound")
    sound = excerpt(Record("b", tmp_path / "b.wav"))
    assert (sound.name, sound.source) == ("b.wav", "")
