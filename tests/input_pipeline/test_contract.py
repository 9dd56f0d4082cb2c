"""Tests of the contract: what is written beside the weights is read back as it was."""

import json

import numpy as np
import pytest

from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.contract import FILE, Contract, Labels, Normalization


def contract(**changes) -> Contract:
    values = {
        "spectrogram": Spectrogram(n_fft=1472, hop_length=736, mel_scale="htk", frames=128),
        "segmenting": Segmenting(3, 0.96, "spaced"),
        "normalization": Normalization("dataset", (0.1, -1 / 3), (1e-7, 2.0)),
        "max_tokens": 20,
        "vocabulary": 30_000,
        "labels": Labels("regression", ("valence", "arousal"), (0.5, 1 / 3), (1.0, 2.0)),
    }
    return Contract(**values | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalization": Normalization("clip"), "labels": Labels()},
        {"labels": Labels("single_label", ("låt", "노래", "a|b", ""))},
        {"special_tokens": (0, 100, 101, 102, 103), "mask_token": 103},
    ],
)
def test_comes_back_equal(tmp_path, changes):
    contract(**changes).save(tmp_path)
    found = Contract.load(tmp_path)
    assert found == contract(**changes)
    assert hash(found) == hash(contract(**changes))


def test_is_readable_json(tmp_path):
    contract(labels=Labels("single_label", ("låt",))).save(tmp_path)
    text = (tmp_path / FILE).read_text(encoding="utf-8")
    assert "låt" in text
    assert json.loads(text)["spectrogram"]["n_fft"] == 1472


def test_older_ones_have_consecutive_chunks(tmp_path):
    contract().save(tmp_path)
    values = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    del values["segmenting"]["hop"], values["segmenting"]["chunks"]
    (tmp_path / FILE).write_text(json.dumps(values), encoding="utf-8")
    assert Contract.load(tmp_path) == contract()


def test_older_ones_have_the_special_tokens_of_an_albert(tmp_path):
    contract().save(tmp_path)
    values = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    del values["special_tokens"], values["mask_token"]
    (tmp_path / FILE).write_text(json.dumps(values), encoding="utf-8")
    assert Contract.load(tmp_path) == contract()


def test_words_are_what_is_not_special():
    found = contract(vocabulary=8, special_tokens=(0, 3, 4), mask_token=3).is_word
    assert np.flatnonzero(found).tolist() == [1, 2, 5, 6, 7]


def test_a_folder_without_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}: no contract\.json here"):
        Contract.load(tmp_path)


def test_arrays_of_a_normalisation():
    assert Normalization("clip").arrays(3) == (None, None)
    for found, expected in zip(Normalization("none").arrays(3), ([0] * 3, [1] * 3), strict=True):
        np.testing.assert_array_equal(found, np.float32(expected))
        assert found.dtype == np.float32
    mean, std = Normalization("dataset", (1.0, 2.0), (3.0, 4.0)).arrays(2)
    np.testing.assert_array_equal([mean, std], [[1, 2], [3, 4]])
    assert mean.dtype == std.dtype == np.float32


def test_refuses_another_normalisation():
    with pytest.raises(ValueError, match="normalization='batch' is none of dataset, clip, none"):
        Normalization("batch")
