"""Waveform -> log-mel inside the jitted step; the twin of `input_pipeline.batching.log_mel`."""

import jax
import jax.numpy as jnp
import numpy as np

from atbert_jax.input_pipeline.audio.spectrogram import CLIP_EPSILON, Spectrogram
from atbert_jax.input_pipeline.contract import Contract


def spectra(
    waveform: jax.Array, window: np.ndarray, hop: int, count: int, n_fft: int | None = None
) -> jax.Array:
    """The discrete Fourier transform of windowed frames.

    Args:
        waveform: (..., N), padded already.
        window: (W,).
        hop: Samples from the start of a frame to that of the next.
        count: T, how many frames.
        n_fft: Samples of a transform, which silence fills up; None is W.

    Returns:
        (..., T, n_fft // 2 + 1), complex.
    """
    starts = jnp.arange(count) * hop
    frames = waveform[..., starts[:, None] + jnp.arange(len(window))]
    return jnp.fft.rfft(frames * window.astype(frames.dtype), n_fft)


def log_mel(waveform: jax.Array, spectrogram: Spectrogram) -> jax.Array:
    """Log-mel spectrogram of every segment.

    Args:
        waveform: (..., N), float32 (or float64, with `jax_enable_x64`), in [-1, 1].
        spectrogram: Settings; the mel matrix is theirs.

    Returns:
        (..., F, T), float32; equal to librosa (see `Spectrogram`).
    """
    half, hop = spectrogram.n_fft // 2, spectrogram.hop_length
    samples = waveform.shape[-1]
    padded = jnp.pad(waveform, [(0, 0)] * (waveform.ndim - 1) + [(half, half)])
    magnitude = jnp.abs(spectra(padded, spectrogram.window, hop, samples // hop + 1))
    energy = magnitude if spectrogram.power == 1 else magnitude**spectrogram.power
    energy = energy.astype(jnp.float32)
    mel = jnp.matmul(energy, spectrogram.mel_matrix, precision="highest")
    values = jnp.swapaxes(jnp.log(mel + spectrogram.log_floor), -1, -2)
    count = spectrogram.frame_count(samples)
    missing = max(0, count - values.shape[-1])
    return jnp.pad(
        values[..., :count],
        [(0, 0)] * waveform.ndim + [(0, missing)],
        constant_values=spectrogram.silence,
    )


def prepare(batch: dict[str, jax.Array], contract: Contract) -> dict[str, jax.Array]:
    """A batch with `waveform` (B, S, N) gets its normalised `log_mel` (B, S, F, T) instead.

    A batch that has no `waveform` is returned as it is.
    """
    if "waveform" not in batch:
        return batch
    batch = dict(batch)
    values = log_mel(batch.pop("waveform"), contract.spectrogram)
    mean, std = contract.normalization.arrays(contract.spectrogram.n_mels)
    if mean is None:
        mask = batch["segment_mask"]
        # A clip without a real segment counts with all: it is silent and becomes 0.
        mask = jnp.where(mask.any(-1, keepdims=True), mask, 1)
        weight = jnp.broadcast_to(mask[..., None, None], values.shape)
        axes = (-3, -2, -1)
        centre = jnp.average(values, axes, weight, keepdims=True)
        variance = jnp.average((values - centre) ** 2, axes, weight, keepdims=True)
        batch["log_mel"] = (values - centre) / (jnp.sqrt(variance) + CLIP_EPSILON)
    else:
        batch["log_mel"] = (values - mean[:, None]) / std[:, None]
    return batch
