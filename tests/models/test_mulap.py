"""MuLaP's trunk: its sizes, the order of its layers, masks, missing modalities and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax import models
from atbert_jax.configs import mulap_pretrain
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models import transformer
from atbert_jax.models.co_attention import CoAttention
from atbert_jax.models.keys import Keys
from atbert_jax.objectives.views import VIEWS, encode_views
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import split
from tests import ear, tiny


@pytest.fixture(scope="module", autouse=True)
def installed():
    with pytest.MonkeyPatch.context() as patch:
        ear.install(patch)
        yield


def build(**changes) -> nnx.Module:
    config = tiny.make_config(**ear.MULAP | changes)
    return models.build(config, tiny.make_contract(), rngs=Keys(0))


@pytest.fixture(scope="module")
def encode():
    """All three views of a batch in evaluation."""
    definition, state = nnx.split(tiny.make_module(build))
    run = jax.jit(
        lambda state, batch: encode_views(nnx.merge(definition, state), batch, VIEWS, None)
    )
    return functools.partial(run, state)


# Of the published model: widths of text, audio and co-attention, and what is of no use there.
TEXT, AUDIO, WIDTH = 768, 256, 1024
UNUSED = {
    "token types, of which one text has one": 2 * TEXT,
    "maps in two co-attentions that nothing goes through": 2
    * (WIDTH * AUDIO + AUDIO + WIDTH * TEXT + TEXT),
    "positions of 213 frames, where there are 7": (213 - 7) * AUDIO,
    "positions of 512 tokens, where there are 64": (512 - 64) * TEXT,
}


def test_the_published_size_but_for_what_is_of_no_use_there():
    config = mulap_pretrain.get_config("base")
    settings = config.spectrogram.to_dict()
    settings.pop("frames")
    contract = tiny.make_contract(
        vocabulary=30_522,
        max_tokens=config.text.max_tokens,
        segmenting=Segmenting(**config.segmenting),
        spectrogram=Spectrogram(**settings),
    )
    learner = nnx.eval_shape(lambda: Learner(config, contract, rngs=Keys(0)))
    trunk, heads = learner.model, learner.objectives
    parts = {
        "audio_cnn": 472_450,
        "text_encoder": (30_522 + 64 + 2) * TEXT + 6 * 7_087_872,
        "audio_encoder": 6 * 789_760,
        "co_attention": 2 * (3_151_872 + 1_051_648 + 5_250_048),
        "audio_pooler": (AUDIO + 1) * WIDTH,
        "text_pooler": (TEXT + 1) * WIDTH,
    }
    assert {name: tiny.count(getattr(trunk, name)) for name in parts} == parts
    embedding = (1506 + 1) * AUDIO + 7 * AUDIO + 2 * AUDIO
    assert tiny.count(trunk) == sum(parts.values()) + embedding
    assert {name: tiny.count(head) for name, head in heads.items()} == {
        "correct_pair": 2_050,
        "masked_audio": 453_346,
        "masked_language": 622_650,
    }
    assert tiny.count(learner) + sum(UNUSED.values()) == 95_151_264
    assert sum(UNUSED.values()) == 2_497_536


def test_the_layers_come_in_the_published_order(monkeypatch):
    places = {"mulap.text_places": (4, 5), "mulap.audio_places": (0, 1)}
    layers = {"model.layers": 6, "mulap.audio.layers": 6}
    model = tiny.make_module(lambda: build(**places, **layers))
    names = {id(layer): f"text {n}" for n, layer in enumerate(model.text_encoder.encoder.layers)}
    names |= {id(layer): f"audio {n}" for n, layer in enumerate(model.audio_encoder.layers)}
    names |= {id(block): f"both {n}" for n, block in enumerate(model.co_attention)}
    said = []

    def bind(layer, group):
        return lambda x, mask, key: (said.append(names[id(layer)]), x)[1]

    def attend(block, audio, text, key):
        said.append(names[id(block)])
        return audio, text

    monkeypatch.setattr(transformer.EncoderLayer, "bind", bind)
    monkeypatch.setattr(CoAttention, "__call__", attend)
    batch = ear.make_batch(2)

    def heard(run) -> list[str]:
        said.clear()
        streams.append(run())
        return list(said)

    streams = []
    assert heard(lambda: model.encode_text(batch, None)) == [f"text {n}" for n in range(4)]
    assert heard(lambda: model.encode_audio(batch, None)) == []
    text, audio = streams
    found = heard(lambda: model.fuse_streams(audio, text, None))
    assert [name for name in found if not name.startswith("audio")] == [
        *["both 0", "text 4", "both 1", "text 5"]
    ]
    rest = [f"audio {n}" for n in range(1, 6)]
    assert [n for n in found if not n.startswith("text")] == ["both 0", "audio 0", "both 1", *rest]
    # By itself each stream has all of its layers, and nothing of the other.
    assert heard(lambda: model.fuse(audio, None, None)) == ["audio 0", *rest]
    assert heard(lambda: model.fuse(None, text, None)) == ["text 4", "text 5"]


def test_without_co_attention_the_streams_meet_in_the_summary_alone():
    model = tiny.make_module(lambda: build(**{"mulap.co_attention": False}))
    assert tiny.count(model.co_attention) == 0
    batch = ear.make_batch(2)

    @tiny.one_program
    def run(batch):
        streams = model.encode_audio(batch, None), model.encode_text(batch, None)
        return model.fuse_streams(*streams, None), streams

    for found, given in zip(*run(batch), strict=True):
        np.testing.assert_array_equal(found.hidden, given.hidden)


@pytest.mark.parametrize("fusion", ["mul", "sum"])
def test_the_summary_is_made_of_both_poolers(fusion):
    model = tiny.make_module(lambda: build(**{"mulap.fusion": fusion}))
    batch = ear.make_batch(3)
    batch["segment_mask"][1], batch["token_mask"][2] = 0, 0

    @tiny.one_program
    def run(batch):
        streams = model.encode_audio(batch, None), model.encode_text(batch, None)
        fused = model.fuse_streams(*streams, None)
        poolers = model.audio_pooler, model.text_pooler
        pooled = [pool(x.hidden[:, 0]) for pool, x in zip(poolers, fused, strict=True)]
        return model.fuse(*streams, None), pooled

    found, pooled = run(batch)
    assert found.hidden.shape == (3, 1, 8)
    np.testing.assert_array_equal(found.mask, np.ones((3, 1)))
    audio, text = map(np.tanh, pooled)
    both = audio * text if fusion == "mul" else audio + text
    expected = np.stack([both[0], text[1], audio[2]])
    np.testing.assert_allclose(found.hidden[:, 0], expected, atol=1e-6)


def test_padding_and_company_change_no_answer(encode):
    batch, garbage = ear.make_batch(4), ear.make_batch(4, seed=1)
    chunks, tokens = batch["segment_mask"][..., None] > 0, batch["token_mask"] > 0
    assert not chunks.all()
    assert not tokens.all()
    other = batch | {
        "waveform": np.where(chunks, batch["waveform"], 10 * garbage["waveform"]),
        "token_ids": np.where(tokens, batch["token_ids"], garbage["token_ids"]),
    }
    expected, views = encode(batch), encode(other)
    alone = encode({name: value[:1].repeat(4, axis=0) for name, value in batch.items()})
    for view, wanted in expected.items():
        np.testing.assert_allclose(views[view].hidden, wanted.hidden, atol=1e-6)
        np.testing.assert_allclose(alone[view].hidden[0], wanted.hidden[0], atol=1e-6)


@pytest.mark.parametrize(("lost", "view"), [("token_mask", "audio"), ("segment_mask", "text")])
def test_a_row_without_one_modality_is_what_the_other_says_alone(encode, lost, view):
    batch = ear.make_batch(3)
    batch[lost][1] = 0
    views = encode(batch)
    together, alone = (views[name].hidden[:, 0] for name in ("audio_text", view))
    np.testing.assert_allclose(together[1], alone[1], atol=1e-6)
    assert np.abs(together[0] - alone[0]).max() > 1e-3
    nothing = batch | {name: np.zeros_like(batch[name]) for name in ("token_mask", "segment_mask")}
    assert all(np.isfinite(found.hidden).all() for found in encode(nothing).values())


def test_each_modality_is_heard_through_the_other():
    """The state of every chunk and word depends on the other stream."""
    model = tiny.make_module(build)
    batch, other = ear.make_batch(2), ear.make_batch(2, seed=1)
    batch["segment_mask"][:], batch["token_mask"][:] = 1, 1

    @tiny.one_program
    def fuse(batch):
        return model.fuse_streams(
            model.encode_audio(batch, None), model.encode_text(batch, None), None
        )

    for field, place in (("waveform", 1), ("token_ids", 0)):
        before, after = (fuse(given)[place] for given in (batch, batch | {field: other[field]}))
        assert (np.abs(before.hidden - after.hidden).max(axis=-1) > 1e-5).all()


def test_the_objectives_train_every_parameter():
    """No dead ones, but for what no attention can tell: the bias of its keys."""
    learner = tiny.make_module(
        lambda: Learner(
            tiny.make_config(**ear.MULAP | ear.OBJECTIVES), tiny.make_contract(), rngs=Keys(0)
        )
    )
    definition, params, statistics = split(learner)
    batch = ear.make_batch(6)
    batch["segment_mask"][:] = 1

    @jax.jit
    @jax.grad
    def gradients(params, batch):
        learner = nnx.merge(definition, params, statistics)
        prepared = learner.prepare(batch, jax.random.key(3))
        losses, _ = learner.losses(prepared, jax.random.key(1))
        return sum(total / jnp.maximum(weight, 1) for total, weight in losses.values())

    found = tiny.named(gradients(params, batch))
    without = {name for name, array in found.items() if np.abs(array).max() < 1e-9}
    assert all(name.endswith("key/bias") for name in without), without
    assert all(np.isfinite(array).all() for array in found.values())


def test_every_layer_starts_with_values_of_its_own():
    places = {"mulap.text_places": (1, 1), "mulap.audio_places": (0, 1)}
    model = nnx.jit(lambda: build(**places))()
    for first, second in (
        model.text_encoder.encoder.layers,
        model.audio_encoder.layers,
        model.co_attention,
    ):
        pairs = zip(
            *(
                tiny.named(nnx.to_pure_dict(nnx.state(x, nnx.Param))).items()
                for x in (first, second)
            ),
            strict=True,
        )
        for (name, one), (_, other) in pairs:
            if name.endswith("kernel"):
                assert np.abs(one - other).max() > 0.01, name
    table = np.asarray(model.word_embeddings.embedding[...])
    assert table.std() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "cat"}, r"config\.mulap\.fusion='cat' is none of mul, sum"),
        ({"heads": 3}, r"mulap\.heads=3 does not divide config\.mulap\.width=8"),
        ({"text_places": (3,)}, r"text_places=\(3,\) must be ascending numbers from 0 to 2"),
        ({"audio_places": (1, 0)}, r"audio_places=\(1, 0\) must be ascending"),
        ({"text_places": (0, 1)}, r"places of the same co-attentions: give as many of both"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: build(**{f"mulap.{name}": x for name, x in changes.items()}))


def test_it_hears_with_a_tagger():
    with pytest.raises(ValueError, match="audio_encoder='resnet' is none of crnn, "):
        nnx.eval_shape(lambda: build(**{"model.audio_encoder": "resnet"}))
