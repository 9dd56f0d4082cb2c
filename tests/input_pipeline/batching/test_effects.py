"""What each effect does to a sound, by its definition."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import signal

from atbert_jax.input_pipeline.batching import effects
from atbert_jax.input_pipeline.batching.augmentation import Augmentation

RATE, SAMPLES = 8000, 6000
NOISE = np.random.default_rng(0).normal(0, 0.1, (3, SAMPLES)).astype(np.float32)
ALL = (SAMPLES,) * 3


def seeds(count: int) -> list[tf.Tensor]:
    return [tf.constant([3, number]) for number in range(count)]


def apply(seed, waveform=NOISE, samples=ALL, **settings) -> np.ndarray:
    settings = Augmentation(**{f"{name}_probability": p for name, p in settings.items()})
    return effects.apply(tf.constant(waveform), samples, settings, RATE, seed).numpy()


def test_without_effects_nothing_changes():
    np.testing.assert_array_equal(apply([0, 1]), NOISE)


@pytest.mark.parametrize("name", ["polarity", "filter", "delay", "reverb"])
def test_effects_follow_the_seed_come_as_often_as_asked_and_keep_silence(name):
    found = [apply(seed, **{name: 0.5}) for seed in seeds(60)]
    np.testing.assert_array_equal(apply(seeds(8)[7], **{name: 0.5}), found[7])
    done = [np.abs(x - NOISE).max() > 1e-5 for x in found]
    assert 15 < sum(done) < 45
    samples = (SAMPLES, 4000, 0)
    real = np.arange(SAMPLES) < np.array(samples)[:, None]
    for seed in seeds(4):
        padded = apply(seed, NOISE * real, samples, **{name: 1.0})
        np.testing.assert_array_equal(padded[~real], 0)
        np.testing.assert_allclose(padded[0], apply(seed, **{name: 1.0})[0], atol=1e-6)


def test_polarity_turns_over():
    for seed in seeds(3):
        np.testing.assert_array_equal(apply(seed, polarity=1.0), -NOISE)


def test_an_echo_is_a_delayed_copy():
    found_delays = set()
    for seed in seeds(40):
        found = apply(seed, delay=1.0)
        echo = 2 * found - NOISE
        delay = int(np.flatnonzero(np.abs(echo[0]) > 1e-3)[0])
        assert delay % 400 == 0  # 50 ms
        expected = 0.5 * np.pad(NOISE, [(0, 0), (delay, 0)])[:, :SAMPLES]
        np.testing.assert_allclose(echo, expected, atol=1e-5)
        found_delays.add(delay // 400)
    assert found_delays == {4, 5, 6, 7, 8, 9}


def test_filters_have_the_power_response_of_butterworth():
    """SciPy's analogue filter of the same order at the cut-off where this one has lost 3 dB."""
    kinds = set()
    for seed in seeds(12):
        response = np.abs(effects.low_or_high_pass(4096, RATE, seed).numpy())
        frequency = np.fft.rfftfreq(4096, 1 / RATE)
        kind = "low" if response[0] > 0.5 else "high"
        cut = frequency[np.abs(response - np.sqrt(0.5)).argmin()]
        low, high = effects.LOW_PASS if kind == "low" else effects.HIGH_PASS
        assert low - 1 <= cut <= high + 1
        b, a = signal.butter(2, 2 * np.pi * cut, kind, analog=True)
        expected = np.abs(signal.freqs(b, a, 2 * np.pi * frequency)[1])
        np.testing.assert_allclose(response, expected, atol=5e-3)
        kinds.add(kind)
    assert kinds == {"low", "high"}


def test_a_room_decays_and_keeps_the_power():
    impulse = np.zeros((1, SAMPLES), np.float32)
    impulse[0, 100] = 1.0
    for seed in seeds(6):
        found = apply(seed, impulse, [SAMPLES], reverb=1.0)[0]
        np.testing.assert_allclose(found[:100], 0, atol=1e-5)
        assert found[100] ** 2 >= 0.4
        tail = found[101:]
        energy = [(part**2).sum() for part in np.split(tail[:5600], 7)]  # of 0.1 s each
        assert (np.diff(energy) < 0).all()
        assert (found**2).sum() == pytest.approx(1.0, abs=1e-4)
