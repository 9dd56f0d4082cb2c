"""Tests of the contract: what is written beside the weights is read back as it was."""

import copy
import json
import random

import numpy as np
import pytest

from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.contract import FILE, Contract, ContractError, Labels, Normalization
from tests import trial


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


def without_checksum(folder) -> dict:
    """What a file of an earlier version held."""
    values = json.loads((folder / FILE).read_text(encoding="utf-8"))
    del values["checksum"], values["format"]
    return values


def test_older_ones_have_consecutive_chunks(tmp_path):
    contract().save(tmp_path)
    values = without_checksum(tmp_path)
    del values["segmenting"]["hop"], values["segmenting"]["chunks"]
    (tmp_path / FILE).write_text(json.dumps(values), encoding="utf-8")
    assert Contract.load(tmp_path) == contract()


def test_older_ones_have_the_special_tokens_of_an_albert(tmp_path):
    contract().save(tmp_path)
    values = without_checksum(tmp_path)
    del values["special_tokens"], values["mask_token"]
    (tmp_path / FILE).write_text(json.dumps(values), encoding="utf-8")
    assert Contract.load(tmp_path) == contract()


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("labels",), None, "labels is None"),
        (("labels", "names"), "abc", "labels.names is 'abc'"),
        (("labels", "names"), [1], r"labels.names is 1"),
        (("spectrogram", "n_fft"), "1472", "spectrogram.n_fft is '1472'"),
        (("spectrogram", "n_fft"), True, "spectrogram.n_fft is True"),
        (("spectrogram", "n_mels"), 0, "n_mels"),
        (("segmenting", "segment"), 3, "segmenting.segment is no field"),
        (("normalization", "kind"), "batch", "normalization='batch' is none of"),
        (("features",), {"hop_length": []}, "features.hop_length is"),
        (("tasks",), [{"names": {}}], "tasks.names is"),
        (("vocabulary",), 2.5, "vocabulary is 2.5"),
    ],
)
def test_what_is_no_contract_is_named(tmp_path, place, value, reason):
    contract().save(tmp_path)
    values = inner = without_checksum(tmp_path)
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    (tmp_path / FILE).write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(
        ContractError, match=rf"contract.json: is no contract \(.*{reason}.*copy it"
    ):
        Contract.load(tmp_path)


def mutants(values: dict, count: int) -> list[dict]:
    """The same with one value or one name changed."""
    rng, found = random.Random(0), []
    for _ in range(count):
        inner = mutant = copy.deepcopy(values)
        while True:
            name = rng.choice(list(inner))
            if not isinstance(inner[name], dict) or not inner[name] or rng.random() < 0.1:
                break
            inner = inner[name]
        value = rng.choice([None, True, -1, 0, 1e300, "", "x", [], [None], {}, {"x": 1}])
        if rng.random() < 0.3:
            inner[f"{name}x"] = inner.pop(name)
        else:
            inner[name] = value
        found.append(mutant)
    return found


def test_mutants_without_a_checksum_are_contracts_or_refused_by_name(tmp_path):
    contract().save(tmp_path)
    found = []
    for mutant in mutants(without_checksum(tmp_path), 200):
        (tmp_path / FILE).write_text(json.dumps(mutant), encoding="utf-8")
        found.append(trial.outcome(lambda: Contract.load(tmp_path), ContractError))
    refused = [each for each in found if not isinstance(each, Contract)]
    assert len(refused) > 100
    assert not [each for each in refused if not each.startswith(f"refused: {tmp_path / FILE}: is")]


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
