"""Waveform -> log-mel and its augmentation, as stateless TensorFlow ops on one example."""

import warnings

import numpy as np
import tensorflow as tf

from atbert_jax.input_pipeline.audio.spectrogram import CLIP_EPSILON, Spectrogram
from atbert_jax.input_pipeline.batching.augmentation import Augmentation

# That a random one is drawn from, evenly spaced; odd, so that none at all is one of them.
TRANSPOSITIONS = 17


def log_mel(
    waveform: tf.Tensor, spectrogram: Spectrogram, mel_matrix: tf.Tensor | None = None
) -> tf.Tensor:
    """Log-mel spectrogram of every segment.

    Args:
        waveform: (..., N), float32 or float64, in [-1, 1].
        spectrogram: Settings.
        mel_matrix: (n_fft // 2 + 1, F), such as `random_mel_matrix` draws; None is that of the
            settings.

    Returns:
        (..., F, T), float32; equal to librosa (see `Spectrogram`).
    """
    half = spectrogram.n_fft // 2
    rank = waveform.shape.rank
    padded = tf.pad(waveform, [[0, 0]] * (rank - 1) + [[half, half]])
    frames = tf.signal.frame(padded, spectrogram.n_fft, spectrogram.hop_length)
    spectrum = tf.signal.rfft(frames * tf.constant(spectrogram.window, frames.dtype))
    # Half the time of `tf.abs`, which guards against overflow.
    energy = tf.math.real(spectrum) ** 2 + tf.math.imag(spectrum) ** 2
    if spectrogram.power != 2:
        energy **= spectrogram.power / 2
    energy = tf.cast(energy, tf.float32)
    mel = tf.linalg.matmul(energy, spectrogram.mel_matrix if mel_matrix is None else mel_matrix)
    values = tf.linalg.matrix_transpose(tf.math.log(mel + spectrogram.log_floor))
    count = spectrogram.frame_count(waveform.shape[-1])
    missing = max(0, count - values.shape[-1])
    return tf.pad(
        values[..., :count], [[0, 0]] * rank + [[0, missing]], constant_values=spectrogram.silence
    )


def random_mel_matrix(
    spectrogram: Spectrogram, settings: Augmentation, seed: tf.Tensor
) -> tf.Tensor:
    """The mel matrix of a random transposition by at most `pitch_semitones`, or of none.

    Args:
        spectrogram: Settings.
        settings: Amounts.
        seed: (2,), int32; the same seed gives the same result.

    Returns:
        (n_fft // 2 + 1, F).
    """
    if not settings.pitch_semitones:
        return tf.constant(spectrogram.mel_matrix)
    amounts = np.linspace(-settings.pitch_semitones, settings.pitch_semitones, TRANSPOSITIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bands that stay empty, as they should
        banks = np.stack([spectrogram.transposed_mel_matrix(amount) for amount in amounts])
    number = tf.random.stateless_uniform([], seed, 0, len(banks), tf.int32)
    draw = tf.random.stateless_uniform([], tf.random.experimental.stateless_fold_in(seed, 1))
    transposed = draw < settings.pitch_probability
    return tf.gather(tf.constant(banks), tf.where(transposed, number, len(banks) // 2))


def augment_waveform(
    waveform: tf.Tensor, samples: tf.Tensor, settings: Augmentation, seed: tf.Tensor
) -> tf.Tensor:
    """Time shift, gain and noise; padding stays silent.

    Args:
        waveform: (S, N), the padded clip.
        samples: (S,), int32, how many of each segment are real.
        settings: Amounts.
        seed: (2,), int32; the same seed gives the same result.

    Returns:
        (S, N), float32.
    """
    keys = tf.unstack(tf.random.split(seed, 4))
    real = tf.sequence_mask(samples, waveform.shape[1])
    if settings.time_shift:
        sound = tf.boolean_mask(waveform, real)
        share = tf.random.stateless_uniform([], keys[0], -1.0, 1.0) * settings.time_shift
        shift = tf.cast(share * tf.cast(tf.size(sound), tf.float32), tf.int32)
        sound = tf.roll(sound, shift, 0)
        waveform = tf.tensor_scatter_nd_update(waveform, tf.where(real), sound)
    if settings.gain_db:
        level = tf.random.stateless_uniform([], keys[1], -settings.gain_db, settings.gain_db)
        waveform *= 10.0 ** (level / 20.0)
    if settings.noise_probability:
        draw = tf.random.stateless_uniform([2], keys[2])
        snr_db = settings.noise_snr_db + 30.0 * draw[0]
        # Over what is real, so that padding does not change the ratio.
        size = tf.cast(tf.reduce_sum(samples), tf.float32)
        rms = tf.sqrt(tf.math.divide_no_nan(tf.reduce_sum(waveform**2), size))
        amount = tf.where(draw[1] < settings.noise_probability, rms * 10.0 ** (-snr_db / 20.0), 0.0)
        noise = tf.random.stateless_normal(tf.shape(waveform), keys[3])
        waveform += amount * noise * tf.cast(real, tf.float32)
    return waveform


def _band_mask(length: int, size: float, shape: list[int], seed: tf.Tensor) -> tf.Tensor:
    """1 where kept: one random band of at most `size * length` is 0 in the last axis."""
    keys = tf.unstack(tf.random.split(seed, 2))
    widest = int(size * length)
    width = tf.random.stateless_uniform(shape, keys[0], 0, widest + 1, tf.int32)
    start = tf.random.stateless_uniform(shape, keys[1])
    first = tf.cast(start * tf.cast(length - width + 1, tf.float32), tf.int32)[..., None]
    index = tf.range(length)
    inside = (index >= first) & (index < first + width[..., None])
    return tf.cast(~inside, tf.float32)


def spec_augment(values: tf.Tensor, settings: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """SpecAugment (Park et al. 2019, section 2) without time warping.

    A frequency mask covers the same bands in all segments, as AVBert has it; masked cells get 0,
    which after normalisation is the mean.

    Args:
        values: (S, F, T), normalised log-mel.
        settings: Amounts.
        seed: (2,), int32.

    Returns:
        (S, F, T).
    """
    _, bands, frames = values.shape
    keys = tf.unstack(tf.random.split(seed, settings.frequency_masks + settings.time_masks + 1))
    for number in range(settings.frequency_masks):
        mask = _band_mask(bands, settings.frequency_mask_size, [], keys[number])
        values *= mask[None, :, None]
    for number in range(settings.time_masks):
        key = keys[settings.frequency_masks + number]
        mask = _band_mask(frames, settings.time_mask_size, [tf.shape(values)[0]], key)
        values *= mask[:, None, :]
    return values


def normalize(
    values: tf.Tensor, segment_mask: tf.Tensor, mean: np.ndarray | None, std: np.ndarray | None
) -> tf.Tensor:
    """(S, F, T) log-mel to zero mean and unit deviation.

    With statistics of a data set (F,) each band is normalised by its own; without (None), the clip
    is by its own mean and deviation over the real segments (S,), or over all where none is real.
    """
    if mean is None or std is None:
        real = tf.where(tf.reduce_any(segment_mask > 0), segment_mask, 1.0)
        weight = tf.reshape(real, [-1, 1, 1])
        centre, variance = tf.nn.weighted_moments(values, [0, 1, 2], weight)
        return (values - centre) / (tf.sqrt(variance) + CLIP_EPSILON)
    return (values - mean[:, None]) / std[:, None]
