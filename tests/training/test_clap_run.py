"""A CLAP learns from pairs, and starts from a converted one, whole or in part."""

import dataclasses

import jax
import numpy as np
import pytest

from atbert_jax.configs import atbert_finetune, clap_finetune, clap_pretrain, tagger
from atbert_jax.input_pipeline.contract import Contract, Labels
from atbert_jax.models.keys import Keys
from atbert_jax.parallel import sharding
from atbert_jax.training import converted as starting_weights
from atbert_jax.training import optimizer, run_folder, transfer
from atbert_jax.training.checkpoint import CheckpointError, Checkpoints
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import fresh, lay_out, split
from atbert_jax.training.step import make_train_step
from atbert_jax.weights import engine
from tests import clap_folders, tiny
from tests.models import clap_sizes

ROWS, RATE, STEPS = 4, 8000, 12
# Two stages of one layer each: the picture is as large as ever, and each layer costs seconds.
SHORT = {
    **clap_sizes.CHANGES,
    "model.layers": 1,
    "clap.depths": (1, 1),
    "clap.heads": (1, 2),
    "clap.projection": 16,
    "optimizer.learning_rate": 0.03,
    "optimizer.schedule": "constant",
    "optimizer.warmup_steps": 0,
}


def make_contract() -> Contract:
    """Half a second at 8 kHz."""
    contract = clap_sizes.contract(fused=False)
    spectrogram = dataclasses.replace(
        contract.spectrogram, sample_rate=RATE, n_fft=256, hop_length=128, f_max=4000.0
    )
    segmenting = dataclasses.replace(contract.segmenting, seconds=0.5)
    return dataclasses.replace(contract, spectrogram=spectrogram, segmenting=segmenting)


def tones() -> dict[str, np.ndarray]:
    """A tone for each text; one is shorter than the others, and one row has no clip."""
    batch = tiny.make_batch(ROWS)
    time = np.arange(RATE // 2) / RATE
    pitches = np.array([200, 700, 1500, 3000])[:, None]
    samples = np.array([[4000], [4000], [1500], [0]])
    waveform = 0.5 * np.sin(2 * np.pi * pitches * time) * (np.arange(time.size) < samples)
    ids = np.random.default_rng(1).integers(5, clap_sizes.VOCABULARY, (ROWS, clap_sizes.TOKENS))
    return {
        "waveform": waveform[:, None].astype(np.float32),
        "samples": samples.astype(np.int32),
        "segment_mask": (samples > 0).astype(np.float32),
        "token_ids": ids.astype(np.int32),
        "token_mask": np.ones(ids.shape, np.float32),
        **{name: batch[name] for name in ("labels", "label_mask", "record", "valid")},
    }


def start(config, contract) -> tuple:
    """The mesh, the optimizer, the learner and a state of random arrays."""
    mesh = sharding.make_mesh(config.sharding)
    updates = optimizer.build(config.optimizer, STEPS)
    learner = tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)))
    _, params, statistics = split(learner)
    return mesh, updates, learner, fresh(params, statistics, updates, learner.frozen)


def test_it_learns_which_text_is_whose():
    config, contract = clap_pretrain.get_config("tiny"), make_contract()
    config.update_from_flattened_dict(SHORT)
    mesh, updates, learner, state = start(config, contract)
    layout = lay_out(config, contract, updates, mesh)
    step = make_train_step(config, split(learner)[0], updates, mesh, layout)
    before = jax.device_get(engine.flat(state.statistics))
    state = jax.device_put(state, layout.state)
    batch, losses = sharding.put(tones(), mesh), []
    for _ in range(STEPS):
        state, metrics = step(state, batch)
        assert np.isfinite(metrics["gradient_norm"])
        assert not metrics["nonfinite_steps"]
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-2:]) < 0.7 * np.mean(losses[:2])
    after = jax.device_get(engine.flat(state.statistics))
    for name, value in before.items():
        assert np.abs(after[name] - value).max() > 1e-3, name


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The folder of a run with fusion, which nothing here changes."""
    root = tmp_path_factory.mktemp("clap")
    clap_folders.convert(clap_folders.random_folder(root / "source", fused=True), root / "run")
    return root / "run"


@pytest.mark.parametrize(
    ("config", "trained", "left"),
    [
        (clap_pretrain.get_config("tiny"), 5, ""),
        (clap_finetune.get_config("tiny,linear_probe"), 0, "objectives/alignment/log_scale"),
    ],
    ids=["pairs", "labels"],
)
def test_training_starts_from_a_converted_one(converted, config, trained, left):
    config.update_from_flattened_dict(clap_sizes.CHANGES | {"clap.fused": True})
    contract, _ = run_folder.load_preprocessing(converted)
    contract = dataclasses.replace(contract, labels=Labels("single_label", tiny.LABELS))
    *_, state = start(config, contract)
    state, taken, said = transfer.start_from(state, converted, contract=contract)
    transfer.require_learned(state.frozen, taken)
    assert len(state.trained.get("model", {})) == trained
    ours = engine.flat(state.params, state.statistics)
    trees = Checkpoints(converted).restore_arrays(0)
    for name, array in engine.flat(trees["params"], trees["statistics"]).items():
        if name != left:
            np.testing.assert_array_equal(ours[name], array, err_msg=name)
    assert [line for line in said if "not used here" in line] == [
        f"  not used here: {left}"
    ] * bool(left)


def test_another_size_is_refused(converted):
    config = clap_pretrain.get_config("tiny")
    contract, _ = run_folder.load_preprocessing(converted)
    *_, state = start(config, contract)
    with pytest.raises(CheckpointError, match="use its model settings"):
        transfer.start_from(state, converted, contract=contract)


EARS = {**clap_sizes.CHANGES, "model.name": "atbert", "model.audio_encoder": "htsat"}
EARS |= {name: value for name, value in tiny.MODEL.items() if name not in clap_sizes.CHANGES}


def ears_config(folder, **changes: object):
    """Of an ATBERT that hears with the HTSAT of a run with fusion, frozen."""
    config = atbert_finetune.get_config("tiny")
    config.update_from_flattened_dict(EARS)
    tagger.hear(config, tagger.PUBLISHED["htsat"])
    config.spectrogram.mel_scale = "htk"
    config.init.audio = str(folder)
    config.optimizer.frozen = ("^model/audio_cnn/",)
    config.update_from_flattened_dict(changes)
    return config


def test_atbert_hears_with_a_converted_one(converted):
    """But for what hears crops, which stays behind."""
    config = ears_config(converted)
    contract = dataclasses.replace(
        clap_sizes.contract(fused=True), labels=Labels("single_label", tiny.LABELS)
    )
    *_, state = start(config, contract)
    state, taken, said = starting_weights.start_from(state, config, None)
    transfer.require_learned(state.frozen, taken)
    trees = Checkpoints(converted).restore_arrays(0)
    theirs = engine.flat(trees["params"], trees["statistics"])
    ours = engine.flat(state.params, state.statistics)
    heard = [name for name in ours if name.startswith("model/audio_cnn/")]
    assert len(heard) == len(taken) > 100
    for name in heard:
        source = name.replace("model/audio_cnn/encoder/", "model/audio_encoder/")
        np.testing.assert_array_equal(ours[name], theirs[source], err_msg=name)
    assert said[0] == f"from {converted}, step 0: {len(heard)} arrays taken over"
    assert "not used here: model/audio_cnn/encoder/patches/crops/bias, " in said[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"clap.patch_width": 96, "clap.depths": (2, 2, 6, 2)},
            r"set --config.clap.patch_width=8 --config.clap.depths='\(2,1,2,1,\)'",
        ),
        ({"spectrogram.mel_scale": "slaney"}, r"another front end \(mel_scale: 'htk' -> 'slaney'"),
        (
            {"model.audio_encoder": "fcn"},
            r"is a run of htsat, but config.model.audio_encoder='fcn'",
        ),
    ],
)
def test_ears_that_do_not_fit_are_refused(converted, changes, message):
    with pytest.raises(ValueError, match=message):
        starting_weights.find(ears_config(converted, **changes))
