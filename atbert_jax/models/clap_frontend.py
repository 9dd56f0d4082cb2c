"""What CLAP hears with: log-mels in decibels of ten seconds, and of long clips four views.

Equal to transformers' `ClapFeatureExtractor`, except where that one draws at random: in evaluation
each crop of a long clip lies in the middle of where it may. That one also marks one clip of a batch
without a long one as long, by lot; here a clip is long if it is.

That one transforms in float64. Of float64 waveforms all bands are equal to 1e-4 dB, of float32
those down to 70 dB below the loudest; what is 100 dB below, as bands that a recording at 16 kHz
does not have, differs by up to 0.4 dB.
"""

import jax
import jax.numpy as jnp

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.encoded import fold
from atbert_jax.models.frontend import spectra

# Crops of a long clip, beside the view of all of it.
CROPS = 3


def repeated(waveform: jax.Array, samples: jax.Array, least: int) -> jax.Array:
    """Clips that are too short again and again, as often as they fit, and then silence.

    Args:
        waveform: (N, L).
        samples: (N,), of each that are sound.
        least: Samples that a clip should have, at most L.

    Returns:
        (N, L); clips of `least` samples or more unchanged.
    """
    count = jnp.maximum(samples.astype(jnp.int32), 1)[:, None]
    index = jnp.arange(waveform.shape[1])
    filled = jnp.where(count < least, count * (least // count), count)
    places = jnp.where(count < least, index % count, index)
    return jnp.where(index < filled, jnp.take_along_axis(waveform, places, axis=1), 0)


def decibels(waveform: jax.Array, samples: jax.Array, spectrogram: Spectrogram) -> jax.Array:
    """Mel bands of powers in decibels, at least those of `log_floor`; the edges are mirrored.

    Args:
        waveform: (N, L), float32 or float64.
        samples: (N,), more than half a window: where the clips end, and are mirrored.
        spectrogram: Settings.

    Returns:
        (N, T, F), float32; T is L // hop_length + 1, and what is behind a clip's end is no part
        of it.
    """
    half, hop = spectrogram.n_fft // 2, spectrogram.hop_length
    length = waveform.shape[1]
    last = samples.astype(jnp.int32)[:, None] - 1
    index = jnp.abs(jnp.arange(-half, length + half))
    index = jnp.clip(jnp.where(index > last, 2 * last - index, index), 0, length - 1)
    padded = jnp.take_along_axis(waveform, index, axis=1)
    power = jnp.abs(spectra(padded, spectrogram.window, hop, length // hop + 1)) ** 2
    mel = jnp.matmul(power, spectrogram.mel_matrix, precision="highest")
    return (10 * jnp.log10(jnp.maximum(mel, spectrogram.log_floor))).astype(jnp.float32)


def four_views(
    log_mel: jax.Array, frames: jax.Array, size: int, key: jax.Array | None
) -> jax.Array:
    """Each clip as a whole, shrunk to `size` frames, and crops of its first, second and last third.

    Args:
        log_mel: (N, T, F).
        frames: (N,), of each that are sound, `size` or more.
        size: Frames of a view.
        key: Draws where the crops lie; None = evaluation, in the middle of where they may.

    Returns:
        (N, 4, size, F). Of a clip of `size` frames all four are the same.
    """
    frames = frames.astype(jnp.int32)
    # Bilinear, by the middles of frames, in integers: float32 would misplace late frames.
    places = (2 * jnp.arange(size, dtype=jnp.int32) + 1) * frames[:, None] - size
    first, share = jnp.divmod(jnp.maximum(places, 0), 2 * size)
    share = (share / (2 * size))[..., None]
    second = jnp.minimum(first + 1, frames[:, None] - 1)
    views = [_frames(log_mel, first) * (1 - share) + _frames(log_mel, second) * share]
    # The places that a crop can begin at, in three parts, the first ones larger by one.
    room = frames - size + 1
    for part in range(CROPS):
        count = room // CROPS + (room % CROPS > part)
        begin = part * (room // CROPS) + jnp.minimum(room % CROPS, part)
        share = 0.5
        if key is not None:
            share = jax.random.uniform(fold(key, part), frames.shape)
        # A part without a place is that of the beginning.
        start = jnp.where(count > 0, begin + jnp.floor(share * count).astype(jnp.int32), 0)
        views.append(_frames(log_mel, start[:, None] + jnp.arange(size)))
    return jnp.stack(views, axis=1).astype(log_mel.dtype)


def _frames(log_mel: jax.Array, index: jax.Array) -> jax.Array:
    """The frames (N, K, F) of log-mels (N, T, F) at (N, K)."""
    return jnp.take_along_axis(log_mel, index[..., None], axis=1)
