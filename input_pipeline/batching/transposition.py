"""Waveforms at another pitch and the same tempo, as stateless TensorFlow ops."""

import tensorflow as tf

from atbert_jax.input_pipeline.batching.augmentation import Augmentation

FRAME, HOP = 2048, 512  # samples, as librosa has them


def randomly_transpose(
    waveform: tf.Tensor, samples: tf.Tensor, settings: Augmentation, seed: tf.Tensor
) -> tf.Tensor:
    """A share of the clips at another pitch, with the same change in all segments of a clip.

    Args:
        waveform: (S, N), the padded clip.
        samples: (S,), int32, how many of each segment are real.
        settings: The largest change, and the share.
        seed: (2,), int32; the same seed gives the same result.

    Returns:
        (S, N), float32; padding stays silent.
    """
    if not settings.pitch_semitones:
        return waveform
    amount, draw = tf.unstack(tf.random.stateless_uniform([2], seed))
    semitones = settings.pitch_semitones * (2.0 * amount - 1.0)
    real = tf.sequence_mask(samples, waveform.shape[-1], tf.float32)
    return tf.cond(
        draw < settings.pitch_probability,
        lambda: transpose(waveform, semitones) * real,
        lambda: waveform,
    )


def transpose(waveform: tf.Tensor, semitones: tf.Tensor) -> tf.Tensor:
    """Slower by the ratio of the pitches, and then played back faster by it.

    Equal to `librosa.effects.pitch_shift` with its `res_type="scipy"`.

    Args:
        waveform: (S, N), float32.
        semitones: Scalar, up.

    Returns:
        (S, N).
    """
    ratio = 2.0 ** (semitones / 12.0)
    return _resample(_stretch(waveform, ratio), waveform.shape[-1])


def _stretch(waveform: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """(S, N) to (S, factor * N) of the same pitch, by a phase vocoder (Flanagan and Golden 1966).

    What the phase of a band turns by from one frame to the next is what it turned by there, where
    the new frame is between two old ones: its whole turns make no difference.
    """
    half, window = FRAME // 2, tf.signal.hann_window(FRAME)
    padded = tf.pad(waveform, [[0, 0], [half, half]])
    spectrum = tf.signal.stft(padded, FRAME, HOP)
    frames = spectrum.shape[1]
    spectrum = tf.pad(spectrum, [[0, 0], [0, 1], [0, 0]])
    place = tf.range(0.0, frames, 1.0 / factor)
    left = tf.cast(place, tf.int32)
    share = (place - tf.floor(place))[:, None]
    level, angle = tf.abs(spectrum), tf.math.angle(spectrum)
    turn = tf.gather(angle[:, 1:] - angle[:, :-1], left, axis=1)
    phase = angle[:, :1] + tf.cumsum(turn, axis=1, exclusive=True)
    new_level = (1.0 - share) * tf.gather(level, left, axis=1) + share * tf.gather(
        level, left + 1, axis=1
    )
    new = tf.complex(new_level * tf.cos(phase), new_level * tf.sin(phase))
    sound = tf.signal.overlap_and_add(tf.signal.irfft(new, [FRAME]) * window, HOP)
    windows = tf.broadcast_to(window**2, [tf.size(place), FRAME])
    weight = tf.signal.overlap_and_add(windows, HOP)
    length = tf.cast(tf.round(factor * waveform.shape[-1]), tf.int32)
    return tf.math.divide_no_nan(sound, weight)[:, half : half + length]


def _resample(sound: tf.Tensor, size: int) -> tf.Tensor:
    """(S, L) to (S, size) by the Fourier transform, cut off or padded with 0."""
    length, bins = tf.shape(sound)[-1], size // 2 + 1
    spectrum = tf.signal.rfft(sound)[:, :bins]
    spectrum = tf.pad(spectrum, [[0, 0], [0, bins - tf.shape(spectrum)[1]]])
    return tf.signal.irfft(spectrum, [size]) * tf.cast(size / length, tf.float32)
