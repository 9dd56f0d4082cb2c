"""Waveform -> MFCCs inside the jitted step, of what is real alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.fft import dct

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.taggers.tagger_frontend import decibels, power_spectrum


@functools.cache
def dct_matrix(bands: int, count: int) -> np.ndarray:
    """The first rows of the orthonormal DCT-II: (bands, count), float32."""
    return dct(np.eye(bands), type=2, norm="ortho", axis=0)[:count].T.astype(np.float32)


def mfcc(
    waveform: jax.Array, samples: jax.Array, spectrogram: Spectrogram, count: int, top_db: float
) -> tuple[jax.Array, jax.Array]:
    """Mel-frequency cepstral coefficients, as torchaudio defines them.

    The orthonormal DCT-II of mel bands in decibels, of which none is more than `top_db` below the
    loudest of the clip. Of HTK bands and a `log_floor` of 1e-10 they equal those that librosa makes
    of each segment without its padding (`htk=True, norm=None`, its ends mirrored by `np.pad`, and
    `power_to_db` with the reference 1): to 1e-4 computed in float64, to 1e-3 in float32, whose
    rounding of a spectrum decibels blow up where it is faint (librosa's own does the same).

    Args:
        waveform: (B, S, N), float32, in [-1, 1].
        samples: (B, S), how many of each segment are real.
        spectrogram: Of the bands; `log_floor` is the least power.
        count: Number of coefficients C, at most that of the bands.
        top_db: Range of a clip in decibels.

    Returns:
        (B, S, T, C) with T = N // hop_length + 1, and their mask (B, S, T), 1 = real: the first
        `samples // hop_length + 1` frames of each segment that has any.
    """
    frames = waveform.shape[-1] // spectrogram.hop_length + 1
    real = jnp.where(samples > 0, samples // spectrogram.hop_length + 1, 0)
    mask = jnp.arange(frames) < real[..., None]
    power = power_spectrum(
        waveform.reshape(-1, waveform.shape[-1]), spectrogram, samples.reshape(-1)
    )
    mel = jnp.matmul(power, spectrogram.mel_matrix, precision="highest")
    values = decibels(mel, spectrogram.log_floor).reshape(*mask.shape, -1)
    loudest = values.max(axis=(1, 2, 3), keepdims=True, initial=-jnp.inf, where=mask[..., None])
    values = jnp.maximum(values, loudest - top_db)
    matrix = dct_matrix(spectrogram.n_mels, count)
    return jnp.matmul(values, matrix, precision="highest"), mask.astype(jnp.float32)
