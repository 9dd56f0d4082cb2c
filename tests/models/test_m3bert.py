"""M3BERT: its parameters, positions, masks and layers, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax import models, objectives
from atbert_jax.configs import m3bert_finetune
from atbert_jax.input_pipeline.audio.music_features import MusicFeatures
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.models.keys import Keys
from atbert_jax.models.m3bert import M3BERT, sinusoids
from atbert_jax.training.learner import Learner
from tests import tiny

FEATURES = MusicFeatures(n_chroma=2, n_mfcc=2, n_mels=5, n_cqt_chroma=4)  # 15 columns
FRAMES = 10


def make_contract(features: MusicFeatures = FEATURES):
    segmenting = Segmenting(1, FRAMES / features.frame_rate)
    return tiny.make_contract(segmenting=segmenting, features=features)


def make(**changes: object) -> M3BERT:
    config = tiny.make_config(**{"model.name": "m3bert", "model.layers": 3} | changes)
    return tiny.make_module(lambda: models.build(config, make_contract(), rngs=Keys(0)))


def make_batch(*lengths: int, frames: int = FRAMES) -> dict[str, np.ndarray]:
    """Clips of some frames each, padded with 0."""
    rng = np.random.default_rng(0)
    mask = np.arange(frames) < np.array(lengths)[:, None]
    values = rng.normal(size=(len(lengths), 64, FEATURES.size))[:, :frames] * mask[..., None]
    fields = {"frames": values, "frame_mask": mask, "segment_mask": mask[:, :1]}
    return {name: value.astype(np.float32) for name, value in fields.items()}


def heard(model: M3BERT, batch: dict[str, np.ndarray]):
    return tiny.one_program(model.encode_audio)(batch, None)


@pytest.mark.parametrize(("layers", "published"), [(3, 22.36), (4, 29.44), (12, 86.15)])
def test_parameters_are_as_many_as_published(layers, published):
    """Of the trunk and the head of masked acoustic modelling, in closed form."""
    config = tiny.make_config(
        **{
            "model.name": "m3bert",
            "model.hidden": 768,
            "model.heads": 12,
            "model.ffn": 3072,
            "model.layers": layers,
            "objectives.masked_acoustic": 1.0,
        }
    )
    contract = make_contract(MusicFeatures())

    def build() -> tuple:
        trunk = models.build(config, contract, rngs=Keys(0))
        return trunk, objectives.build(config, contract, trunk, rngs=Keys(0))

    trunk, heads = nnx.eval_shape(build)
    width, inner, columns, norm = 768, 3072, 324, 2 * 768
    layer = 4 * (width * width + width) + 2 * width * inner + inner + width + 2 * norm
    backbone = columns * width + width + norm + layers * layer
    head = width * width + width + norm + width * columns + columns
    assert (tiny.count(trunk), tiny.count(heads)) == (backbone, head)
    assert round((backbone + head) / 1e6, 2) == published
    assert head == 841_284
    if layers == 3:
        assert backbone == 21_514_752


def test_positions_are_sinusoids_in_turn():
    found = sinusoids(50, 6)
    for position in (0, 1, 49):
        for index in range(6):
            angle = position / 10_000 ** (2 * (index // 2) / 6)
            expected = np.cos(angle) if index % 2 else np.sin(angle)
            assert found[position, index] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("downsample", [1, 3])
def test_padding_changes_nothing(downsample):
    model = make(**{"m3bert.downsample": downsample})
    short, batch = make_batch(7, frames=7), make_batch(7, 10)
    expected = heard(model, short)
    for noise in (0.0, 100.0):
        padding = noise * (1 - batch["frame_mask"][..., None])
        found = heard(model, batch | {"frames": batch["frames"] + padding})
        length = expected.hidden.shape[1]
        np.testing.assert_allclose(found.hidden[:1, :length], expected.hidden, atol=1e-5)
        np.testing.assert_array_equal(found.mask[:1, :length], expected.mask)
        assert not found.mask[0, length:].any()


def test_the_summary_is_the_mean_of_the_real_states():
    found = heard(make(), make_batch(7, 10))
    for row, length in enumerate((7, 10)):
        mean = found.hidden[row, 1 : 1 + length].mean(axis=0)
        np.testing.assert_allclose(found.hidden[row, 0], mean, atol=1e-5)


def test_neighbouring_frames_are_stacked_and_a_rest_is_kept():
    model = make(**{"m3bert.downsample": 4})
    batch = make_batch(9, 10)
    stacked, mask = tiny.one_program(model.stack)(batch["frames"], batch["frame_mask"])
    assert stacked.shape == (2, 3, 4 * FEATURES.size)
    np.testing.assert_array_equal(mask, np.ones((2, 3)))
    flat = np.asarray(stacked).reshape(2, 12, FEATURES.size)
    np.testing.assert_array_equal(flat[:, :10], batch["frames"])
    assert not flat[:, 10:].any()
    assert heard(model, batch).hidden.shape == (2, 1 + 3, 16)


def test_a_silent_frame_is_a_frame():
    """A frame is there because it is, not because its features are not all 0."""
    model, batch = make(), make_batch(10)
    batch["frames"][:, 4] = 0
    found = heard(model, batch)
    np.testing.assert_array_equal(found.mask, np.ones((1, 11)))
    embedded = tiny.one_program(model.embed_audio)(batch, None).hidden[0, 4]
    embed = model.embeddings
    of_zeros = tiny.one_program(lambda x: embed.norm(embed.projection(x) + sinusoids(5, 16)[4]))
    expected = of_zeros(np.zeros(FEATURES.size, np.float32))
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


def test_a_frozen_trunk_with_a_sum_of_layers_has_no_dropout():
    config = tiny.make_config(
        **{
            "model.name": "m3bert",
            "model.layers": 2,
            "model.dropout": 0.5,
            "m3bert.select": "weighted",
            "data.input": "frames",
            "objectives.classification": 1.0,
            "classification.views": ("audio",),
            "optimizer.frozen": m3bert_finetune.get_config("tiny,frozen").optimizer.frozen,
        }
    )
    learner = tiny.make_module(lambda: Learner(config, make_contract(), rngs=Keys(0)))
    encode, batch = tiny.one_program(learner.model.encode_audio), make_batch(7, 10)
    still, trained = (encode(batch, key).hidden for key in (None, jax.random.key(0)))
    np.testing.assert_allclose(trained, still, atol=1e-6)


def test_layers_are_selected_or_summed():
    batch = make_batch(8, 10)
    layers = tiny.one_program(make().layers)(batch)
    assert layers.hidden.shape == (3, 2, 10, 16)
    expected = {
        "last": layers.hidden[2],
        "first": layers.hidden[0],
        "average": layers.hidden.mean(axis=0),
    }
    for select, states in expected.items():
        found = heard(make(**{"m3bert.select": select}), batch)
        np.testing.assert_allclose(found.hidden[:, 1:], states, atol=1e-5)
    model = make(**{"m3bert.select": "weighted"})
    model.layer_weights[...] = jnp.log(jnp.array([1.0, 2.0, 5.0]))
    own = tiny.one_program(model.layers)(
        batch
    ).hidden  # with one array more, they are filled otherwise
    found = heard(model, batch).hidden[:, 1:]
    np.testing.assert_allclose(found, (own[0] + 2 * own[1] + 5 * own[2]) / 8, atol=1e-5)


def test_a_clip_that_is_missing_is_masked():
    batch = make_batch(10, 10)
    batch["segment_mask"][0] = 0
    assert heard(make(), batch).mask.sum(axis=1).tolist() == [0, 11]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"m3bert.select": "best"}, "select='best' is none of last, first, average, weighted"),
        ({"m3bert.downsample": 0}, "downsample=0 must be 1 or more"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_it_needs_frames():
    config = tiny.make_config(**{"model.name": "m3bert"})
    with pytest.raises(ValueError, match="set --config"):
        models.build(config, tiny.make_contract(), rngs=Keys(0))
