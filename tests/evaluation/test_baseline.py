"""The baseline learns what is easy, and survives what is empty, short, silent or missing."""

import librosa
import numpy as np
import pytest

from atbert_jax.evaluation import baseline

RATE = 16000


def clip(noisy, seed, seconds=0.5):
    """A clip of noise, or of a sine with a little noise."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=int(RATE * seconds)).astype(np.float32)
    pitch = rng.uniform(200, 400)
    tone = np.sin(2 * np.pi * pitch * np.arange(len(noise)) / RATE).astype(np.float32)
    return 0.3 * noise if noisy else 0.3 * tone + 0.01 * noise


@pytest.fixture(scope="module")
def described():
    kinds = np.arange(40) % 2
    rows = baseline.features((clip(kind, i) for i, kind in enumerate(kinds)), RATE)
    return rows, np.eye(2)[kinds]


def test_statistics_are_librosas():
    waveform = clip(True, 0)
    mfcc = librosa.feature.mfcc(y=waveform, sr=RATE, n_mfcc=20)
    delta = librosa.feature.delta(mfcc, mode="nearest")
    expected = [mfcc.mean(axis=1), mfcc.std(axis=1), delta.mean(axis=1), delta.std(axis=1)]
    found = baseline.mfcc_statistics(waveform, RATE)
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("samples", [0, 1, 511, 2048, 4000])
def test_short_and_silent_clips_are_described(samples):
    for waveform in (np.zeros(samples, np.float32), clip(True, 1)[:samples]):
        found = baseline.mfcc_statistics(waveform, RATE)
        assert found.shape == (80,)
        assert np.isfinite(found).all()


def test_single_label_separates_noise_from_tones(described):
    rows, targets = described
    scores = baseline.fit_and_score(rows[:20], targets[:20], rows[20:], "single_label")
    assert (scores.argmax(axis=1) == targets[20:].argmax(axis=1)).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-12)
    again = baseline.fit_and_score(rows[:20], targets[:20], rows[20:], "single_label")
    np.testing.assert_array_equal(scores, again)


def test_single_label_scores_an_unseen_class_zero(described):
    rows, targets = described
    wider = np.insert(targets, 1, 0.0, axis=1)
    scores = baseline.fit_and_score(rows[:20], wider[:20], rows[20:], "single_label")
    assert scores.shape == (20, 3)
    assert (scores[:, 1] == 0).all()
    assert (scores.argmax(axis=1) == wider[20:].argmax(axis=1)).all()


def test_single_label_with_one_class_in_training(described):
    rows, _ = described
    scores = baseline.fit_and_score(rows, np.tile([0, 1, 0], (40, 1)), rows[:3], "single_label")
    np.testing.assert_array_equal(scores, np.tile([0, 1, 0], (3, 1)))


@pytest.mark.filterwarnings("error")
def test_multi_label_survives_constant_tags(described):
    rows, targets = described
    tags = np.column_stack([targets, np.zeros(40), np.ones(40)])
    scores = baseline.fit_and_score(rows[:20], tags[:20], rows[20:], "multi_label")
    np.testing.assert_array_equal(scores > 0.5, tags[20:] > 0.5)
    np.testing.assert_array_equal(scores[:, 2:], tags[20:, 2:])


@pytest.mark.parametrize("targets", [1, 2])
def test_regression_recovers_a_line(targets):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 3))
    truth = rows @ rng.normal(size=(3, targets)) + 5
    scores = baseline.fit_and_score(rows[:1500], truth[:1500], rows[1500:], "regression")
    np.testing.assert_allclose(scores, truth[1500:], atol=0.02)


def test_bad_input_is_one_clear_line(described):
    rows, targets = described
    with pytest.raises(ValueError, match="unknown task 'ranking'"):
        baseline.fit_and_score(rows, targets, rows, "ranking")
    with pytest.raises(ValueError, match="of the same, non-empty, clips"):
        baseline.fit_and_score(rows[:3], targets, rows, "single_label")
    with pytest.raises(ValueError, match="no clips to describe"):
        baseline.features([], RATE)
    with pytest.raises(ValueError, match=r"clip 1: .*not finite"):
        baseline.features([np.zeros(9), np.full(9, np.nan)], RATE)
    with pytest.raises(ValueError, match=r"clip 0: .*mono.*\(2, 9\)"):
        baseline.features([np.zeros((2, 9))], RATE)
