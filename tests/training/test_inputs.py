"""What makes no difference to a model: how much padding a batch has, where log-mels are made."""

import jax
import numpy as np
import pytest

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.batching import batches
from atbert_jax.input_pipeline.batching.bad_records import BadRecords
from atbert_jax.input_pipeline.batching.batches import Batches
from atbert_jax.models import frontend
from atbert_jax.models.keys import Keys
from atbert_jax.parallel import sharding
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import split
from atbert_jax.training.step import make_evaluation_step
from tests import tiny


def cut(batch: dict[str, np.ndarray], segments: int, tokens: int) -> dict[str, np.ndarray]:
    """A batch without the padding that it must have behind these lengths."""
    batch = dict(batch)
    for name, length in {
        **dict.fromkeys(("log_mel", "samples", "segment_mask"), segments),
        **dict.fromkeys(("token_ids", "token_mask"), tokens),
    }.items():
        if name.endswith("mask"):
            assert not batch[name][:, length:].any()
            assert batch[name][:, length - 1].any()
        batch[name] = batch[name][:, :length]
    return batch


def test_a_cut_batch_is_worth_as_much_as_the_padded_one():
    """Loss, gradient and running statistics of an ATBERT, in one program for each shape."""
    setup = tiny.Setup(**{"objectives.correct_pair": 1.0, "optimizer.warmup_steps": 1})
    batch = tiny.make_batch(8)
    batch["segment_mask"][:, 2] = batch["samples"][:, 2] = 0
    batch["token_mask"][:, 4:] = 0
    padded, short = setup.put(batch), setup.put(cut(batch, 2, 4))
    (state, metrics), (other, wanted) = (setup.step(setup.state(), x) for x in (short, padded))
    for name, value in wanted.items():
        assert float(metrics[name]) == pytest.approx(float(value), abs=1e-5, rel=1e-5), name
    for one, same in zip(*map(jax.tree.leaves, (state.statistics, other.statistics)), strict=True):
        np.testing.assert_allclose(one, same, rtol=0, atol=1e-5)
    # A shape that was there before compiles nothing.
    setup.step(state, short)
    assert setup.step.func._cache_size() == 2


def test_log_mels_of_host_and_device_are_the_same_to_a_model(tmp_path, tone_manifest, tone_config):
    """From the manifest to the answers, with statistics of the data set and bands of noise."""
    manifest = tone_manifest(6, 2, 1, seconds=(0.7, 0.3, 1.2))
    changes = {"objectives.classification": 1.0, "augmentation.noise_probability": 1.0}
    changes |= {**tiny.MODEL, "classification.views": ("audio",)}
    config = tone_config(manifest, **changes)
    data = dataset.load(
        config, tmp_path, measure=lambda data: batches.measure_normalization(config, data)
    )
    host = next(Batches(config, data, BadRecords(None)).train("train", 8))
    config.data.input = "waveform"
    device = next(Batches(config, data, BadRecords(None)).train("train", 8))
    prepared = jax.jit(lambda batch: frontend.prepare(batch, data.contract))(device)
    np.testing.assert_allclose(prepared["log_mel"], host["log_mel"], rtol=0, atol=1e-4)
    learner = tiny.make_module(lambda: Learner(config, data.contract, rngs=Keys(0)))
    definition, params, statistics = split(learner)
    mesh = sharding.make_mesh(config.sharding)
    everywhere = jax.tree.map(lambda _: sharding.replicated(mesh), params)
    evaluate = make_evaluation_step(definition, mesh, everywhere)
    answers = [evaluate(params, statistics, sharding.put(each, mesh)) for each in (host, device)]
    for one, other in zip(*map(jax.tree.leaves, answers), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
