"""Waveform -> MFCCs inside the jitted step, of what is real alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.fft import dct

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.frontend import spectra
from atbert_jax.models.taggers.tagger_frontend import decibels, power_spectrum

# Of `mfcc_statistics`: coefficients, window and step.
N_MFCC, N_FFT, HOP_LENGTH = 20, 2048, 512


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


def mfcc_statistics(waveform: jax.Array, samples: jax.Array, sample_rate: int) -> jax.Array:
    """The mean and deviation over time of MFCCs and their deltas, as the baseline describes clips.

    They are those of librosa's defaults for the real samples alone (see
    `evaluation.baseline.mfcc_statistics`).

    Args:
        waveform: (B, N), float32, in [-1, 1], silent behind what is real.
        samples: (B,), how many are real.
        sample_rate: In Hz.

    Returns:
        (B, 80), float32.
    """
    spectrogram = Spectrogram(sample_rate, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=128)
    behind = max(0, N_FFT - waveform.shape[1])
    padded = jnp.pad(waveform, [(0, 0), (N_FFT // 2, N_FFT // 2 + behind)])
    frames = (waveform.shape[1] + behind) // HOP_LENGTH + 1
    spectrum = spectra(padded, spectrogram.window, HOP_LENGTH, frames)
    power = spectrum.real**2 + spectrum.imag**2
    values = decibels(jnp.matmul(power, spectrogram.mel_matrix, precision="highest"), 1e-10)
    count = jnp.maximum(samples, N_FFT) // HOP_LENGTH + 1
    mask = (jnp.arange(frames) < count[:, None])[..., None]
    loudest = values.max(axis=(1, 2), keepdims=True, initial=-jnp.inf, where=mask)
    matrix = dct_matrix(spectrogram.n_mels, N_MFCC)
    found = jnp.matmul(jnp.maximum(values, loudest - 80.0), matrix, precision="highest")
    # Over nine frames; the first and the last real one stand for those that there are not.
    steps = np.arange(-4, 5)
    places = jnp.arange(frames)[:, None] + steps
    places = jnp.clip(places, 0, count[:, None, None] - 1)
    around = jax.vmap(lambda values, where: values[where])(found, places)
    deltas = jnp.einsum("btkc,k->btc", around, steps / (steps**2).sum(), precision="highest")
    parts = [
        moment(x, axis=1, where=mask) for x in (found, deltas) for moment in (jnp.mean, jnp.std)
    ]
    return jnp.concatenate(parts, axis=1).astype(jnp.float32)
