"""Tests of the TensorFlow engine: log-mel against librosa, augmentation, normalisation."""

import numpy as np
import pytest
import tensorflow as tf

from atbert_jax.input_pipeline.audio.spectrogram import CLIP_EPSILON, Spectrogram
from atbert_jax.input_pipeline.batching.log_mel import (
    Augmentation,
    augment_waveform,
    log_mel,
    normalize,
    random_mel_matrix,
    spec_augment,
)

ALL = [1000] * 4  # samples of `clip()`
SETTINGS = [
    {"n_fft": 512, "hop_length": 160, "n_mels": 40},
    {"n_fft": 1024, "hop_length": 320, "n_mels": 64, "f_min": 50.0, "f_max": 7000.0},
    {"n_fft": 1472, "hop_length": 736, "n_mels": 128},
    {"n_fft": 1838, "hop_length": 919, "n_mels": 48, "log_floor": 1e-10},
]


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_log_mel_is_librosas(
    signals, librosa_log_mel, assert_same_log_mel, settings, mel_scale, power
):
    spectrogram = Spectrogram(mel_scale=mel_scale, power=power, **settings)
    found = log_mel(tf.constant(signals), spectrogram).numpy()
    expected = librosa_log_mel(signals, spectrogram)
    assert_same_log_mel(found, expected, power)
    # Noise has no value far below the loudest: all of it is as exact.
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_log_mel_of_float64_is_librosas_however_quiet(
    signals, librosa_log_mel, settings, mel_scale, power
):
    spectrogram = Spectrogram(mel_scale=mel_scale, power=power, **settings)
    found = log_mel(tf.constant(signals, tf.float64), spectrogram).numpy()
    expected = librosa_log_mel(signals, spectrogram)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
def test_log_mel_of_real_clips(real_clips, librosa_log_mel, assert_same_log_mel, mel_scale, power):
    spectrogram = Spectrogram(mel_scale=mel_scale, power=power)
    found = log_mel(tf.constant(real_clips), spectrogram).numpy()
    expected = librosa_log_mel(real_clips, spectrogram)
    assert_same_log_mel(found, expected, power)
    precise = log_mel(tf.constant(real_clips, tf.float64), spectrogram).numpy()
    np.testing.assert_allclose(precise, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("log_floor", [1e-10, 1e-6, 1e-3])
def test_silence_is_the_log_floor(log_floor):
    spectrogram = Spectrogram(log_floor=log_floor)
    found = log_mel(tf.zeros([2, 3000]), spectrogram).numpy()
    np.testing.assert_array_equal(found, found[0, 0, 0])
    # Logarithms of libraries differ by the last bit of a float32.
    np.testing.assert_allclose(found[0, 0, 0], np.log(log_floor), rtol=1.2e-7)
    np.testing.assert_allclose(spectrogram.silence, np.log(log_floor), rtol=1.2e-7)


@pytest.mark.parametrize(
    ("samples", "frames"), [(94_080, 128), (22_050, 24), (88_200, 128), (22_050, 220), (8000, 300)]
)
def test_frames_are_met(librosa_log_mel, samples, frames):
    spectrogram = Spectrogram.for_frames(samples, frames, sample_rate=22_050, n_mels=8)
    waveform = np.random.default_rng(0).normal(0, 0.1, (1, samples)).astype(np.float32)
    found = log_mel(tf.constant(waveform), spectrogram).numpy()
    assert found.shape == (1, 8, frames)
    given = samples // spectrogram.hop_length + 1
    expected = librosa_log_mel(waveform, spectrogram)[..., :frames]
    np.testing.assert_allclose(found[..., :given], expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found[..., given:], spectrogram.silence)


def test_more_frames_than_wanted_are_cut():
    waveform = tf.random.stateless_normal([1, 16_000], [0, 0])
    whole = log_mel(waveform, Spectrogram(hop_length=320))
    found = log_mel(waveform, Spectrogram(hop_length=320, frames=40))
    np.testing.assert_array_equal(found, whole[..., :40])


def clip(segments: int = 4, samples: int = 1000) -> tf.Tensor:
    return tf.random.stateless_normal([segments, samples], [1, 2]) * 0.1


def seeds(count: int) -> list[tf.Tensor]:
    return [tf.constant([7, number]) for number in range(count)]


def test_no_augmentation_changes_nothing():
    settings = Augmentation()
    np.testing.assert_array_equal(augment_waveform(clip(), ALL, settings, [0, 1]), clip())
    np.testing.assert_array_equal(spec_augment(clip()[None], settings, [0, 1]), clip()[None])


def test_augmentation_follows_the_seed():
    settings = Augmentation(
        time_shift=1.0, gain_db=6.0, noise_probability=1.0, frequency_masks=1, time_masks=1
    )
    for augment in (
        lambda seed: augment_waveform(clip(), ALL, settings, seed).numpy(),
        lambda seed: spec_augment(clip(4, 900)[:, None] + tf.ones([30, 1]), settings, seed).numpy(),
    ):
        results = [augment(seed) for seed in seeds(4)]
        for number, seed in enumerate(seeds(4)):
            np.testing.assert_array_equal(augment(seed), results[number])
            assert not any(np.array_equal(results[number], r) for r in results[:number])


@pytest.mark.parametrize("samples", [(1000, 1000, 1000, 0), (1000, 1000, 400, 0), (700, 800, 9, 8)])
def test_time_shift_rolls_what_is_real(samples):
    real = np.arange(1000) < np.array(samples)[:, None]
    waveform, total = clip().numpy() * real, sum(samples)
    sound, shifts = waveform[real], []
    for seed in seeds(20):
        found = augment_waveform(waveform, samples, Augmentation(time_shift=0.1), seed).numpy()
        np.testing.assert_array_equal(found[~real], 0)
        shift = int(np.flatnonzero(found[real] == sound[0])[0])
        np.testing.assert_array_equal(found[real], np.roll(sound, shift))
        shifts.append((shift + total // 2) % total - total // 2)
    assert max(np.abs(shifts)) <= total / 10
    assert min(shifts) < -total / 30
    assert max(shifts) > total / 30


def test_gain_is_one_factor_within_its_range():
    levels = []
    for seed in seeds(20):
        found = augment_waveform(clip(), ALL, Augmentation(gain_db=6.0), seed)
        ratio = (found / clip()).numpy()
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
        levels.append(20 * np.log10(ratio[0, 0]))
    assert max(np.abs(levels)) <= 6
    assert min(levels) < -2
    assert max(levels) > 2


def test_noise_is_white_at_its_ratio_and_leaves_padding_silent():
    samples = [3000, 0, 0, 0]
    real = np.arange(4000) < np.array(samples)[:, None]
    waveform = clip(4, 4000).numpy() * real
    settings = Augmentation(noise_snr_db=10.0, noise_probability=1.0)
    ratios = []
    for seed in seeds(20):
        noise = augment_waveform(waveform, samples, settings, seed).numpy() - waveform
        np.testing.assert_array_equal(noise[~real], 0)
        noise = noise[real]
        ratios.append(10 * np.log10((waveform[real] ** 2).mean() / (noise**2).mean()))
        neighbours = np.corrcoef(noise[:-1], noise[1:])[0, 1]
        assert abs(neighbours) < 5 / np.sqrt(3000)
    # The power of 3000 samples of noise is within 0.5 dB of what was drawn.
    assert 9.5 < min(ratios) < 15
    assert 35 < max(ratios) < 40.5


def test_noise_comes_as_often_as_asked():
    settings = Augmentation(noise_probability=0.3)
    noisy = tf.data.Dataset.range(400).map(
        lambda number: augment_waveform(
            clip(1, 50), [50], settings, tf.stack([tf.cast(3, tf.int64), number])
        )
    )
    noisy = np.stack(list(noisy.as_numpy_iterator()))
    share = (noisy != clip(1, 50).numpy()).any(axis=(1, 2)).mean()
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 400)


def test_augmentation_of_a_clip_without_sound_is_silence():
    settings = Augmentation(time_shift=0.5, gain_db=6.0, noise_probability=1.0)
    found = augment_waveform(tf.zeros([4, 100]), [0] * 4, settings, [0, 1])
    np.testing.assert_array_equal(found, np.zeros((4, 100)))


def bands(masked: np.ndarray) -> tuple[int, int]:
    """Number of masked places in a row of bools, and of separate bands of them."""
    edges = np.diff(np.concatenate([[0], masked.astype(int), [0]]))
    return int(masked.sum()), int((edges == 1).sum())


def test_frequency_mask_is_one_band_across_segments():
    settings = Augmentation(frequency_masks=1, frequency_mask_size=0.25)
    widths = set()
    for seed in seeds(60):
        found = spec_augment(tf.ones([3, 20, 15]), settings, seed).numpy()
        np.testing.assert_array_equal(found, np.broadcast_to(found[:1, :, :1], found.shape))
        width, number = bands(found[0, :, 0] == 0)
        assert number <= 1
        widths.add(width)
    assert widths == {0, 1, 2, 3, 4, 5}


def test_time_mask_is_one_band_in_each_segment():
    settings = Augmentation(time_masks=1, time_mask_size=0.2)
    widths, differ, covered = set(), 0, np.zeros(15, bool)
    for seed in seeds(60):
        found = spec_augment(tf.ones([3, 20, 15]), settings, seed).numpy()
        np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1], found.shape))
        for segment in found[:, 0] == 0:
            width, number = bands(segment)
            assert number <= 1
            widths.add(width)
            covered |= segment
        differ += not np.array_equal(found[0], found[1])
    assert widths == {0, 1, 2, 3}
    assert differ > 30
    assert covered.all()


def test_several_masks():
    settings = Augmentation(
        frequency_masks=2, frequency_mask_size=0.2, time_masks=3, time_mask_size=0.1
    )
    values = np.random.default_rng(0).uniform(1, 2, (2, 40, 50)).astype(np.float32)
    most = [0, 0]
    for seed in seeds(20):
        found = spec_augment(tf.constant(values), settings, seed).numpy()
        kept = found != 0
        np.testing.assert_array_equal(found[kept], values[kept])
        most = np.maximum(most, [bands(~kept.any(axis=(0, 2)))[0], bands(~kept[0].any(axis=0))[0]])
    # More than one mask can cover, at most what all can.
    assert 8 < most[0] <= 16
    assert 5 < most[1] <= 15


def test_normalisation_by_the_data_set():
    values = np.random.default_rng(0).normal(-5, 3, (2, 4, 6)).astype(np.float32)
    mean, std = np.float32([-5, -4, -3, -2]), np.float32([1, 2, 3, 4])
    found = normalize(tf.constant(values), tf.constant([1.0, 0.0]), mean, std)
    np.testing.assert_allclose(found, (values - mean[:, None]) / std[:, None], rtol=1e-6)


def test_normalisation_by_the_clip_sees_real_segments_only():
    values = np.random.default_rng(0).normal(-5, 3, (3, 4, 6)).astype(np.float32)
    mask = tf.constant([1.0, 1.0, 0.0])
    found = normalize(tf.constant(values), mask, None, None).numpy()
    expected = (values[:2] - values[:2].mean()) / (values[:2].std() + CLIP_EPSILON)
    np.testing.assert_allclose(found[:2], expected, rtol=0, atol=1e-5)
    values[2] = 1e6
    np.testing.assert_array_equal(normalize(tf.constant(values), mask, None, None)[:2], found[:2])


@pytest.mark.parametrize("mask", [[1.0, 1.0], [0.0, 0.0]])
def test_normalisation_of_silence_is_finite(mask):
    silence = tf.fill([2, 4, 6], np.log(np.float32(1e-6)))
    np.testing.assert_allclose(normalize(silence, tf.constant(mask), None, None), 0, atol=0.05)


@pytest.mark.parametrize("semitones", [-3.0, 2.0])
def test_a_transposed_bank_hears_a_tone_that_much_higher(semitones):
    spectrogram = Spectrogram(16_000, n_fft=2048, hop_length=512, n_mels=40, f_max=6000.0)
    time = np.arange(16_000) / 16_000

    def tone(pitch):
        return tf.constant(np.sin(2 * np.pi * pitch * time), tf.float32)

    bank = spectrogram.transposed_mel_matrix(semitones)
    low = log_mel(tone(900.0), spectrogram, bank).numpy()
    high = log_mel(tone(900.0 * 2 ** (semitones / 12)), spectrogram).numpy()
    np.testing.assert_array_equal(low.argmax(axis=0), high.argmax(axis=0))
    assert low.argmax(axis=0)[5] != log_mel(tone(900.0), spectrogram).numpy().argmax(axis=0)[5]


def test_transpositions_follow_the_seed_and_include_none():
    spectrogram = Spectrogram(16_000, n_mels=20)
    settings = Augmentation(pitch_semitones=2.0)
    banks = [random_mel_matrix(spectrogram, settings, seed).numpy() for seed in seeds(60)]
    same = random_mel_matrix(spectrogram, settings, list(seeds(60))[7]).numpy()
    np.testing.assert_array_equal(banks[7], same)
    assert len({bank.tobytes() for bank in banks}) > 10
    assert any((bank == spectrogram.mel_matrix).all() for bank in banks)
    rare = Augmentation(pitch_semitones=2.0, pitch_probability=0.25)
    drawn = [random_mel_matrix(spectrogram, rare, seed).numpy() for seed in seeds(60)]
    changed = [(bank != spectrogram.mel_matrix).any() for bank in drawn]
    assert 5 < sum(changed) < 28
    for bank, is_changed, often in zip(drawn, changed, banks, strict=True):
        assert not is_changed or (bank == often).all()
    plain = random_mel_matrix(spectrogram, Augmentation(), [0, 1])
    np.testing.assert_array_equal(plain, spectrogram.mel_matrix)
