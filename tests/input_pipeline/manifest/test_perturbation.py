"""Perturbations of the robustness set, against closed forms."""

import math

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline.audio.decoding import read
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.manifest.perturbation import (
    COMPANDERS,
    ROBUSTNESS,
    Compander,
    Perturbation,
)
from atbert_jax.input_pipeline.manifest.records import Record

RATE = 8000


def tone(frequency: float = 440.0, seconds: float = 2.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def pitch(waveform: np.ndarray) -> float:
    """Frequency of the highest peak, in Hz."""
    size = 2**18
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), size))
    return spectrum.argmax() * RATE / size


@pytest.mark.parametrize("tempo", [2**-0.5, 2**0.5])
def test_stretching_changes_the_length_and_not_the_pitch(tempo):
    found = Perturbation("stretch", tempo)(tone(), RATE, "")
    assert len(found) == round(2 * RATE / tempo)
    assert found.dtype == np.float32
    assert pitch(found) == pytest.approx(440, rel=0.01)


@pytest.mark.parametrize("semitones", [-1.0, 1.0])
def test_a_shift_changes_the_pitch_and_not_the_length(semitones):
    found = Perturbation("pitch", semitones)(tone(), RATE, "")
    assert len(found) == 2 * RATE
    assert pitch(found) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.01)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 1.0])
def test_noise_is_a_share_of_the_sound(share):
    waveform = tone(seconds=10)
    found = Perturbation("noise", share)(waveform, RATE, "a")
    noise = (found - (1 - share) * waveform) / (share or 1)
    if not share:
        np.testing.assert_array_equal(found, waveform)
        return
    # Its peak is that of the sound; it is white, normal, and the same for the same clip.
    assert np.abs(noise).max() == pytest.approx(waveform.max(), rel=1e-5)
    spectrum = np.abs(np.fft.rfft(noise))[1:] ** 2
    halves = np.split(spectrum[: len(spectrum) // 2 * 2], 2)
    assert halves[0].mean() == pytest.approx(halves[1].mean(), rel=0.1)
    assert (noise**4).mean() / (noise**2).mean() ** 2 == pytest.approx(3, rel=0.1)
    again, other = (Perturbation("noise", share)(waveform, RATE, key) for key in "ab")
    np.testing.assert_array_equal(found, again)
    assert np.abs(found - other).max() > 0.01 * share


def test_the_level_follows_with_its_time_constants():
    compander = Compander(attack=0.02, decay=0.5, points=((-90, -90), (0, 0)))
    # Full scale is assumed first; then it falls to a quiet sound, and rises to a loud one.
    waveform = np.repeat([0.1, -0.8], [4000, 800]).astype(np.float32)
    level = compander.level(waveform, RATE)
    steps = np.arange(1, 4001)
    falling = 0.1 + 0.9 * np.exp(-steps / (RATE * 0.5))
    np.testing.assert_allclose(level[:4000], falling, rtol=1e-6)
    rising = 0.8 + (falling[-1] - 0.8) * np.exp(-steps[:800] / (RATE * 0.02))
    np.testing.assert_allclose(level[4000:], rising, rtol=1e-6)


@pytest.mark.parametrize(
    ("preset", "decibels", "gain"),
    [
        # Halfway between -70 (out -70) and -60 (out -20), and 5 dB less.
        ("radio", -65, 20 - 5),
        ("radio", 0, -5),
        ("radio", -100, -5),
        ("film_standard", -56.5, 6),
        ("film_standard", -26, 0),
        ("film_standard", -10.5, -10),
        ("film_light", -60, 6),
        ("film_light", -50, 4.5),
        ("music_standard", -62.5, 12),
        ("music_light", -53, 6),  # halfway from +12 at -65 and -53 to 0 at -41
        ("music_light", 0, -11),
        ("speech", -50, 15),
        ("speech", -90, 0),
        ("speech", -110, 0),
    ],
)
def test_presets_at_points_by_hand(preset, decibels, gain):
    found = COMPANDERS[preset].factor(np.array([10 ** (decibels / 20)]))
    assert 20 * math.log10(found[0]) == pytest.approx(gain, abs=1e-9)


def test_a_sound_is_multiplied_by_the_factor_of_its_level():
    compander = COMPANDERS["music_standard"]
    waveform = 0.1 * tone(seconds=1.0)
    # The level is heard 0.1 s before the sound; at the end, the last one holds.
    level = compander.level(waveform, RATE)
    ahead = np.concatenate([level[800:], np.full(800, level[-1])])
    found = compander(waveform, RATE)
    np.testing.assert_allclose(found, waveform * compander.factor(ahead), rtol=1e-6, atol=1e-9)
    assert len(compander(waveform[:300], RATE)) == 300
    # A sudden loud sound after a quiet one is louder than there is room for.
    assert COMPANDERS["radio"](np.repeat([1e-4, 0.5], [5 * RATE, 10]), RATE).max() == 1


def test_the_set_is_read_as_it_is_written():
    assert len(ROBUSTNESS) == 12
    for entry in ROBUSTNESS:
        found = Perturbation.parse(str(entry))
        assert (found.kind, str(found)) == (entry.kind, str(entry))
        if entry.kind != "compress":
            assert found.amount == pytest.approx(entry.amount, rel=1e-5)


@pytest.mark.parametrize(
    "text",
    ["echo:1", "stretch", "stretch:0", "pitch:high", "pitch:nan", "noise:1.5", "compress:loud", ""],
)
def test_refuses_others(text):
    with pytest.raises(ValueError, match=f"no perturbation '{text}'; use stretch:<0.1 to 10>"):
        Perturbation.parse(text)


def test_a_clip_is_perturbed_as_a_whole_before_it_is_cut(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.tile(tone(seconds=3), 7), RATE, "FLOAT")
    stretch, noise = Perturbation("stretch", 2.0), Perturbation("noise", 0.4)
    reader = Reader(RATE, Segmenting(segments=1, seconds=4.0, chunks=3))
    record = Record("a", path, start=1.0, perturbation=stretch)
    assert reader.duration(record) == 10.0
    expected = stretch(read(path, RATE, 1.0), RATE, "")
    hop = (len(expected) - 4 * RATE) // 3
    for chunk in range(3):
        waveform, _ = reader.segments(record, chunk)
        np.testing.assert_array_equal(waveform[0], expected[chunk * hop : chunk * hop + 4 * RATE])
    # Noise is that of the clip, wherever it lies.
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / path.name
    other.write_bytes(path.read_bytes())
    found = [
        Reader(RATE, reader.segmenting).segments(Record("b", place, perturbation=noise), 1)[0]
        for place in (path, other)
    ]
    np.testing.assert_array_equal(*found)
