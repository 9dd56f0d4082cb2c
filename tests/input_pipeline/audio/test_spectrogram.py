"""Tests of the spectrogram's definition: its checks, its window, its mel bank, its frames."""

import math
import re

import numpy as np
import pytest
import scipy.signal

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sample_rate", 0),
        ("n_fft", -2),
        ("n_fft", 1023),
        ("hop_length", 0),
        ("n_mels", 0),
        ("power", 0),
        ("log_floor", 0.0),
        ("frames", -1),
        ("mel_scale", "bark"),
        ("f_min", -1.0),
        ("f_max", 8001.0),
    ],
)
def test_refuses_and_names_the_field(field, value):
    with pytest.raises(ValueError, match=rf"{field}.*{re.escape(str(value))}"):
        Spectrogram(**{field: value})


def test_bands_need_room():
    with pytest.raises(ValueError, match=r"f_min=4000\.0 and f_max=4000\.0"):
        Spectrogram(f_min=4000.0, f_max=4000.0)


@pytest.mark.parametrize(
    ("samples", "frames", "n_fft", "hop_length"),
    [(94_080, 128, 1472, 736), (22_050, 24, 1838, 919), (88_200, 128, 1380, 690)],
)
def test_rule_of_atbert(samples, frames, n_fft, hop_length):
    spectrogram = Spectrogram.for_frames(samples, frames, sample_rate=22_050, mel_scale="htk")
    assert (spectrogram.n_fft, spectrogram.hop_length) == (n_fft, hop_length)
    assert spectrogram.mel_scale == "htk"
    # Here the rule gives the frames by itself, nothing is cut or padded.
    assert samples // hop_length + 1 == frames == spectrogram.frame_count(samples)


def test_rule_of_atbert_can_fall_short():
    spectrogram = Spectrogram.for_frames(22_050, 220, sample_rate=22_050)
    assert 22_050 // spectrogram.hop_length + 1 == 219
    assert spectrogram.frame_count(22_050) == 220


def test_frame_count_of_centred_frames():
    spectrogram = Spectrogram(n_fft=1024, hop_length=320)
    assert [spectrogram.frame_count(n) for n in (0, 319, 320, 16_000)] == [1, 1, 2, 51]


@pytest.mark.parametrize("n_fft", [512, 1472, 1838])
def test_window_is_the_periodic_hann(n_fft):
    window = Spectrogram(n_fft=n_fft).window
    np.testing.assert_allclose(window, scipy.signal.get_window("hann", n_fft), rtol=0, atol=1e-15)


def test_htk_bank_is_triangles_of_height_one():
    """The closed form: edges evenly spaced in mel = 2595 log10(1 + f / 700)."""
    spectrogram = Spectrogram(
        sample_rate=22_050, n_fft=1472, n_mels=20, f_min=50.0, f_max=8000.0, mel_scale="htk"
    )
    ends = [2595 * math.log10(1 + f / 700) for f in (50.0, 8000.0)]
    edges = 700 * (10 ** (np.linspace(*ends, 22) / 2595) - 1)
    expected = np.stack(
        [
            np.interp(np.arange(737) * 22_050 / 1472, edges[band : band + 3], [0, 1, 0])
            for band in range(20)
        ],
        axis=1,
    )
    assert spectrogram.mel_matrix.dtype == np.float32
    np.testing.assert_allclose(spectrogram.mel_matrix, expected, rtol=0, atol=1e-6)


def test_slaney_bank_is_triangles_of_equal_area():
    matrix = Spectrogram(n_fft=16_384, n_mels=20).mel_matrix
    np.testing.assert_allclose(matrix.sum(axis=0) * 16_000 / 16_384, 1, rtol=1e-3)


def test_top_frequency_and_silence():
    assert Spectrogram().top_frequency == 8000
    assert Spectrogram(f_max=5000.0).top_frequency == 5000
    assert Spectrogram(log_floor=1e-6).silence == pytest.approx(math.log(1e-6), abs=1e-6)
