"""Batches that carry the waveform itself, and labels in a given order."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.batching.bad_records import BadRecords
from atbert_jax.input_pipeline.batching.batches import Batches
from atbert_jax.input_pipeline.batching.log_mel import log_mel
from atbert_jax.input_pipeline.manifest.records import ManifestError

AUGMENTED = {
    "augmentation.time_shift": 0.2,
    "augmentation.gain_db": 6.0,
    "augmentation.noise_probability": 0.5,
    "augmentation.polarity_probability": 0.5,
    "augmentation.delay_probability": 0.5,
}


@pytest.fixture
def make(tone_manifest, tone_config, tmp_path):
    manifest = tone_manifest(5, 2, 1, seconds=(0.7, 0.3, 1.2))

    def build(**changes) -> Batches:
        config = tone_config(manifest, **{"normalization": "none"} | changes)
        return Batches(config, dataset.load(config, tmp_path), BadRecords(None))

    return build


def test_waveforms_are_those_that_the_log_mels_are_made_of(make):
    """In training with all augmentation of waveforms, and in evaluation."""
    mels, waves = (make(**AUGMENTED, **{"data.input": kind}) for kind in ("log_mel", "waveform"))
    for streams in (
        [itertools.islice(each.train("train", 4, 2), 3) for each in (mels, waves)],
        [each.evaluation("val", 4) for each in (mels, waves)],
    ):
        for one, other in zip(*streams, strict=True):
            assert other["waveform"].shape == (4, 2, 2000)
            assert one.keys() - {"log_mel"} == other.keys() - {"waveform"}
            for name in one.keys() - {"log_mel"}:
                np.testing.assert_array_equal(one[name], other[name], err_msg=name)
            expected = log_mel(tf.constant(other["waveform"]), mels.dataset.contract.spectrogram)
            np.testing.assert_allclose(one["log_mel"], expected, atol=1e-5)


def test_effects_belong_to_training(make):
    plain, waves = (
        make(**changes, **{"data.input": "waveform", "augmentation.random_crop": False})
        for changes in ({}, {"augmentation.polarity_probability": 1.0})
    )
    one, other = (next(each.train("train", 4))["waveform"] for each in (plain, waves))
    np.testing.assert_array_equal(other, -one)
    one, other = (next(each.evaluation("train", 4))["waveform"] for each in (plain, waves))
    np.testing.assert_array_equal(other, one)


def test_waveforms_are_transposed(make):
    plain, waves = (
        make(**changes, **{"data.input": "waveform", "augmentation.random_crop": False})
        for changes in ({}, {"augmentation.pitch_semitones": 7.0})
    )
    one, other = (next(each.train("train", 4)) for each in (plain, waves))
    heard = [np.abs(np.fft.rfft(batch["waveform"][:, 0])).argmax(-1) for batch in (one, other)]
    np.testing.assert_array_equal(one["record"], other["record"])
    semitones = 12 * np.log2(heard[1] / heard[0])
    assert (np.abs(semitones) < 7.5).all()
    assert (np.abs(semitones) > 0.3).sum() >= 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data.input": "mfcc"},
            r"config.data.input='mfcc' is none of log_mel, waveform, frames",
        ),
        (
            {"data.input": "waveform", "augmentation.time_masks": 1},
            r"config.augmentation.time_masks changes log-mels, but config.data.input='wave",
        ),
    ],
)
def test_what_cannot_be_done_to_waveforms_is_refused(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_labels_stand_in_the_order_that_is_given(make):
    given = make(**{"data.labels": ("low", "none", "high")}).dataset
    assert given.contract.labels.names == ("low", "none", "high")
    found = make().dataset
    assert found.contract.labels.names == ("high", "low")
    theirs, ours = given.split("train").labels, found.split("train").labels
    np.testing.assert_array_equal(theirs[:, [2, 0]], ours)
    np.testing.assert_array_equal(theirs[:, 1], 0)
    with pytest.raises(ManifestError, match=r"config.data.labels does not name low, which the man"):
        make(**{"data.labels": ("high", "none")})
