"""Chunks of clips, as they are read: exact, once, and of the length that decoding finds."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline.audio.decoding import read
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from tests.noise import RATE, noise, record


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("seconds", [1.0, 2.5, 59.0, 61.0])
def test_evenly_spaced_chunks_are_exact_slices(tmp_path, rate, seconds):
    """Of clips that are read whole and of those that are not, whatever their rate."""
    path = tmp_path / "clip.wav"
    sound = np.cumsum(np.random.default_rng(0).normal(0, 1e-3, round(seconds * rate)))
    soundfile.write(path, sound.astype(np.float32), rate, "FLOAT")
    reader = Reader(16_000, Segmenting(segments=2, seconds=0.75, chunks=16))
    clip = read(path, 16_000)
    hop = max(0, len(clip) - 24_000) // 16
    count = reader.segmenting.count(reader.duration(record(path)), 16_000)
    assert count == (16 if hop else 1)
    padded = np.pad(clip, (0, 24_000))
    for chunk in range(count):
        waveform, samples = reader.segments(record(path), chunk)
        expected = padded[chunk * hop : chunk * hop + 24_000].reshape(2, 12_000)
        np.testing.assert_allclose(waveform, expected, rtol=0, atol=2e-6)
        real = np.clip(len(clip) - chunk * hop - np.array([0, 12_000]), 0, 12_000)
        np.testing.assert_array_equal(samples, real)


def test_overlapping_chunks_are_read_once_by_many_threads(tmp_path, opened):
    path = tmp_path / "clip.wav"
    soundfile.write(path, noise(30.0), RATE, "FLOAT")
    reader = Reader(RATE, Segmenting(segments=1, seconds=29.0, chunks=16))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda chunk: reader.segments(record(path), chunk)[0], range(16)))
    assert opened == ["clip.wav"]
    for chunk, waveform in enumerate(found):
        begin = chunk * 1000
        np.testing.assert_array_equal(waveform[0], noise(30.0)[begin : begin + 29 * RATE])


def test_the_length_of_an_mp3_is_counted_for_chunks(tmp_path):
    """Its header is not believed: here one that announces a tenth more."""
    path = tmp_path / "clip.mp3"
    soundfile.write(path, noise(20.0), RATE, format="MP3")
    whole, content = read(path, RATE), path.read_bytes()
    place = content.index(b"Xing" if b"Xing" in content else b"Info") + 8
    frames = round(1.1 * int.from_bytes(content[place : place + 4], "big"))
    path.write_bytes(content[:place] + frames.to_bytes(4, "big") + content[place + 4 :])
    assert soundfile.info(path).frames > 1.05 * len(whole)
    reader = Reader(RATE, Segmenting(segments=1, seconds=4.0))
    assert reader.duration(record(path)) == len(whole) / RATE
    assert reader.duration(record(path), position=0.5) == len(whole) / RATE
    last = reader.segments(record(path), reader.segmenting.count(len(whole) / RATE, RATE) - 1)[0]
    rest = len(whole) % (4 * RATE) or 4 * RATE
    np.testing.assert_allclose(last[0, :rest], whole[-rest:], atol=1e-5)
