"""What a worker sums of log-mels is librosa's, in however many parts."""

import numpy as np

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.preparing import band_statistics
from atbert_jax.input_pipeline.preparing.band_statistics import BandSums, log_mel


def test_a_log_mel_of_a_worker_is_librosas(signals, librosa_log_mel, assert_same_log_mel):
    for settings in (Spectrogram(), Spectrogram(n_fft=512, hop_length=100, n_mels=40, power=1)):
        found = np.stack([log_mel(signal, settings) for signal in signals])
        expected = librosa_log_mel(signals.astype(np.float64), settings)
        assert_same_log_mel(found, expected, settings.power)


def test_a_long_clip_is_summed_in_parts(signals, monkeypatch):
    clip, spectrogram = signals[3], Spectrogram()
    parts = [BandSums.of(clip[at : at + 6000], spectrogram) for at in (0, 6000, 12_000)]
    monkeypatch.setattr(band_statistics, "BLOCK", 6000)
    found, expected = BandSums.of(clip, spectrogram), BandSums.sum(parts)
    assert found.frames == sum(log_mel(clip[:n], spectrogram).shape[1] for n in (6000, 6000, 4000))
    assert found.normalization == expected.normalization
