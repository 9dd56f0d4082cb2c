"""What sounds go through in training: polarity, filters, an echo and a room, in TensorFlow."""

import numpy as np
import tensorflow as tf

from atbert_jax.input_pipeline.batching.augmentation import Augmentation

# Cut-off frequencies in Hz, as the Music Tagging Transformer was trained (Won et al. 2021).
LOW_PASS, HIGH_PASS = (2200.0, 4000.0), (200.0, 1200.0)
# Delays in seconds, of which one is drawn, and how loud the echo is.
DELAYS, ECHO = np.arange(0.2, 0.451, 0.05), 0.5
# Seconds until a room's sound has lost 60 dB, and its largest share of the power.
DECAY, WET = (0.2, 0.8), 0.5


def apply(
    waveform: tf.Tensor,
    samples: tf.Tensor,
    settings: Augmentation,
    sample_rate: int,
    seed: tf.Tensor,
) -> tf.Tensor:
    """The effects on each segment by itself, with the same draws for all segments of a clip.

    Filters, echo and room are one multiplication of the spectrum. What they leave behind a
    segment's end, or the clip's, is cut off; padding stays silent.

    Args:
        waveform: (S, N), the padded clip.
        samples: (S,), int32, how many of each segment are real.
        settings: The share of the clips that each is done to.
        sample_rate: In Hz.
        seed: (2,), int32; the same seed gives the same result.

    Returns:
        (S, N), float32.
    """
    keys = tf.unstack(tf.random.split(seed, 5))
    draws = tf.unstack(tf.random.stateless_uniform([4], keys[0]))
    if settings.polarity_probability:
        waveform = tf.where(draws[0] < settings.polarity_probability, -waveform, waveform)
    done = {
        low_or_high_pass: (settings.filter_probability, draws[1], keys[1]),
        echo: (settings.delay_probability, draws[2], keys[2]),
        room: (settings.reverb_probability, draws[3], keys[3]),
    }
    wanted = {effect: rest for effect, rest in done.items() if rest[0]}
    if not wanted:
        return waveform
    size = waveform.shape[-1]
    # Silence behind it keeps its end from coming round to its beginning.
    tail = int(sample_rate * max(DELAYS[-1] + 0.001, DECAY[1]))
    length = 2 ** int(np.ceil(np.log2(size + tail)))
    response = tf.ones(length // 2 + 1, tf.complex64)
    for effect, (share, draw, key) in wanted.items():
        response *= tf.cond(
            draw < share,
            lambda effect=effect, key=key: effect(length, sample_rate, key),
            lambda: tf.ones(length // 2 + 1, tf.complex64),
        )
    spectrum = tf.signal.rfft(waveform, [length]) * response
    return tf.signal.irfft(spectrum, [length])[:, :size] * tf.sequence_mask(
        samples, size, tf.float32
    )


def low_or_high_pass(length: int, sample_rate: int, key: tf.Tensor) -> tf.Tensor:
    """The response (length // 2 + 1,) of a Butterworth filter of second order, without its phase.

    12 dB for each octave behind a random cut-off.
    """
    draws = tf.random.stateless_uniform([2], key)
    low = LOW_PASS[0] + draws[0] * (LOW_PASS[1] - LOW_PASS[0])
    high = HIGH_PASS[0] + draws[0] * (HIGH_PASS[1] - HIGH_PASS[0])
    frequency = tf.constant(np.fft.rfftfreq(length, 1 / sample_rate), tf.float32)
    ratio = tf.where(draws[1] < 0.5, frequency / low, high / tf.maximum(frequency, 1e-3))
    return tf.cast(tf.math.rsqrt(1.0 + ratio**4), tf.complex64)


def echo(length: int, sample_rate: int, key: tf.Tensor) -> tf.Tensor:
    """The response of the mean of a sound and of its echo, which is half as loud."""
    number = tf.random.stateless_uniform([], key, 0, len(DELAYS), tf.int32)
    delays = np.round(DELAYS * sample_rate).astype(np.int32)
    impulse = tf.one_hot(0, length) + ECHO * tf.one_hot(tf.gather(delays, number), length)
    return tf.signal.rfft(impulse / 2)


def room(length: int, sample_rate: int, key: tf.Tensor) -> tf.Tensor:
    """The response of a sound and its reverberation, exponentially decaying noise (Moorer 1979).

    The power of an impulse stays; a random share of it, up to a half, is the room's.
    """
    keys = tf.unstack(tf.random.split(key, 2))
    draws = tf.random.stateless_uniform([2], keys[0])
    decay = DECAY[0] + draws[0] * (DECAY[1] - DECAY[0])
    count = int(DECAY[1] * sample_rate)
    time = tf.range(count, dtype=tf.float32) / sample_rate
    # 60 dB are a factor of 1000.
    tail = tf.random.stateless_normal([count], keys[1]) * tf.exp(-np.log(1000.0) * time / decay)
    tail /= tf.norm(tail)
    wet = WET * draws[1]
    impulse = tf.sqrt(1.0 - wet) * tf.one_hot(0, length)
    return tf.signal.rfft(impulse + tf.sqrt(wet) * tf.pad(tail, [[1, length - count - 1]]))
