"""The trunk: shapes, masks, padding, gradients of every parameter, and its number types."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax import models
from atbert_jax.models.keys import Keys
from atbert_jax.objectives.views import VIEWS, encode_views
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import split
from tests import tiny

HIDDEN = 16
FUSIONS = ("early", "mid", "late")
# Adding the same to every key changes no attention, so the bias of the keys has no gradient.
NO_GRADIENT = {"model/encoders/shared/layers/0/key/bias"}


def build(**changes) -> nnx.Module:
    return models.build(tiny.make_config(**changes), tiny.make_contract(), rngs=Keys(0))


@pytest.fixture(scope="module", params=FUSIONS)
def encode(request):
    """All three views of a batch, in evaluation, wherever the modalities meet."""
    definition, state = nnx.split(
        tiny.make_module(lambda: build(**{"model.fusion": request.param}))
    )
    run = jax.jit(
        lambda state, batch: encode_views(nnx.merge(definition, state), batch, VIEWS, None)
    )
    return functools.partial(run, state)


def test_shapes_and_masks(encode):
    batch = tiny.make_batch(3)
    batch["segment_mask"][0], batch["token_mask"][1] = 0, 0
    views = encode(batch)
    segments, tokens = tiny.SEGMENTS, tiny.TOKENS
    assert views["audio"].hidden.shape == (3, segments + 1, HIDDEN)
    assert views["text"].hidden.shape == (3, tokens, HIDDEN)
    assert views["audio_text"].hidden.shape == (3, segments + 1 + tokens, HIDDEN)
    audio, text = views["audio"].mask, views["text"].mask
    np.testing.assert_array_equal(audio[:, 1:], batch["segment_mask"])
    # The start of sequence goes with the clip: without a clip all of the stream is masked.
    np.testing.assert_array_equal(audio[:, 0], [0, 1, 1])
    np.testing.assert_array_equal(text, batch["token_mask"])
    both = np.concatenate([audio, text], axis=1)
    np.testing.assert_array_equal(views["audio_text"].mask[:, 1:], both[:, 1:])
    assert all(np.isfinite(view.hidden).all() for view in views.values())


def test_a_missing_modality_changes_nothing_in_the_other(encode):
    batch, garbage = tiny.make_batch(3), tiny.make_batch(3, seed=1)
    without_text = batch | {"token_mask": np.zeros((3, tiny.TOKENS), np.float32)}
    other_text = without_text | {"token_ids": garbage["token_ids"]}
    expected, views = encode(without_text)["audio_text"], encode(other_text)["audio_text"]
    real = expected.mask > 0
    np.testing.assert_allclose(views.hidden[real], expected.hidden[real], atol=1e-6)
    without_audio = batch | {"segment_mask": np.zeros((3, tiny.SEGMENTS), np.float32)}
    other_audio = without_audio | {"log_mel": 10 * garbage["log_mel"]}
    expected, views = encode(without_audio)["audio_text"], encode(other_audio)["audio_text"]
    real = expected.mask > 0
    np.testing.assert_allclose(views.hidden[real], expected.hidden[real], atol=1e-6)


@pytest.mark.parametrize("real", [1, 2])
def test_padding_and_company_change_no_answer(encode, real):
    one = {name: value[:1] for name, value in tiny.make_batch(1).items()}
    one["token_mask"][:, 4:] = 0
    alone = one | {
        "log_mel": one["log_mel"][:, :real],
        "segment_mask": np.ones((1, real), np.float32),
    }
    expected = encode(alone)
    batch = tiny.make_batch(3, seed=2)
    for name, value in one.items():
        batch[name][1] = value[0]
    batch["log_mel"][1, real:] = 1000.0
    batch["segment_mask"][1] = np.arange(tiny.SEGMENTS) < real
    views = encode(batch)
    for view, wanted in expected.items():
        values = views[view].hidden[1][views[view].mask[1] > 0]
        np.testing.assert_allclose(values, wanted.hidden[0][wanted.mask[0] > 0], atol=1e-5)


def test_order_of_the_segments_matters(encode):
    batch = tiny.make_batch(3)
    batch["segment_mask"][:] = 1
    flipped = batch | {"log_mel": batch["log_mel"][:, ::-1]}
    summaries, others = (encode(x)["audio"].hidden[:, 0] for x in (batch, flipped))
    assert np.abs(summaries - others).max() > 1e-3


def _without_gradient(**changes) -> set[str]:
    """Names of the parameters that the training loss of one batch does not reach."""
    config, contract = tiny.make_config(**changes), tiny.make_contract()
    learner = tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)))
    definition, params, statistics = split(learner)

    def loss(params, batch):
        learner = nnx.merge(definition, params, statistics)
        losses, _ = learner.losses(learner.prepare(batch, jax.random.key(0)), jax.random.key(1))
        return sum(value for value, _ in losses.values())

    arrays = tiny.named(jax.jit(jax.grad(loss))(params, tiny.make_batch(8)))
    sizes = {name: np.abs(value).max() for name, value in arrays.items()}
    # What is left of the keys' bias is rounding.
    return {name for name, size in sizes.items() if size < 1e-6 * max(sizes.values())}


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("sharing", ["layers", "all", "factorized"])
def test_correct_pair_trains_every_parameter(fusion, sharing):
    without = _without_gradient(
        **{
            "objectives.correct_pair": 1.0,
            "model.fusion": fusion,
            "model.sharing": sharing,
            "model.rank": 4,
        }
    )
    assert all(name.endswith(("layers/0/key/bias", "key/up/bias")) for name in without)


@pytest.mark.parametrize("view", ["audio", "text"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_one_modality_is_heard_without_the_other(fusion, view):
    """Its summary depends on all of it: no view is a constant, of early fusion neither."""
    model = tiny.make_module(lambda: build(**{"model.fusion": fusion}))
    batch, other = tiny.make_batch(2), tiny.make_batch(2, seed=1)
    batch["segment_mask"][:], batch["token_mask"][:] = 1, 1
    field = {"audio": "log_mel", "text": "token_ids"}[view]
    changed = batch | {field: np.concatenate([batch[field][:, :-1], other[field][:, -1:]], axis=1)}
    hear = tiny.one_program(lambda given: encode_views(model, given, (view,), None)[view].hidden)
    first, second = (hear(given)[:, 0] for given in (batch, changed))
    assert (np.abs(first - second).max(axis=1) > 1e-4).all()


def test_late_fusion_is_a_linear_map_of_both_summaries():
    model = tiny.make_module(lambda: build(**{"model.fusion": "late"}))
    encode = tiny.one_program(lambda batch: encode_views(model, batch, VIEWS, None))
    views = encode(tiny.make_batch(3))
    summaries = [views[view].hidden[:, 0] for view in ("audio", "text")]
    join = tiny.one_program(lambda x: model.joint_norm(model.joint_projection(x)))
    expected = join(np.concatenate(summaries, axis=1))
    np.testing.assert_allclose(views["audio_text"].hidden[:, 0], expected, atol=1e-6)
    rest = [views["audio"].hidden[:, 1:], views["text"].hidden]
    np.testing.assert_array_equal(views["audio_text"].hidden[:, 1:], np.concatenate(rest, axis=1))


def test_mid_fusion_hands_a_single_stream_through():
    model = tiny.make_module(build)
    batch = tiny.make_batch(2)
    audio = tiny.one_program(lambda batch: model.encode_audio(batch, None))(batch)
    assert model.fuse(audio, None, None) is audio


def test_the_mean_of_the_segments_reaches_the_start():
    plain, pooled = (
        tiny.make_module(lambda mean=mean: build(**{"model.mean_start": mean}))
        for mean in (False, True)
    )
    batch = tiny.make_batch(3)
    features, mask = tiny.one_program(lambda batch: plain.embed_audio(batch, None))(batch)
    mean = (features * mask[..., None]).sum(1) / mask.sum(1)[:, None]
    definition, state = nnx.split(plain)

    @tiny.one_program
    def encode(start, batch):
        model = nnx.merge(definition, state, copy=True)
        model.audio_start[...] = start
        return model.encode_audio(batch, None).hidden

    start = np.asarray(pooled.audio_start[...])
    # A start of one's own for each clip.
    expected = [encode(start + mean[row], batch)[row] for row in range(3)]
    found = tiny.one_program(lambda batch: pooled.encode_audio(batch, None).hidden)(batch)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_unknown_fusion_is_refused_with_the_choices():
    with pytest.raises(
        ValueError, match=r"config\.model\.fusion='both' is none of early, mid, late"
    ):
        build(**{"model.fusion": "both"})


@pytest.mark.parametrize(
    ("views", "unused"),
    [
        (("audio",), ("word_", "text_", "joint_", "modality_")),
        (("text",), ("audio_", "joint_", "modality_")),
    ],
)
def test_classification_trains_what_its_views_use(views, unused):
    found = _without_gradient(**{"objectives.classification": 1.0, "classification.views": views})
    prefixes = tuple(f"model/{prefix}" for prefix in unused)
    assert {name for name in found if not name.startswith(prefixes)} == NO_GRADIENT
    for prefix in prefixes:  # the names are those of parameters
        assert any(name.startswith(prefix) for name in found)


def test_one_encoder_serves_audio_text_and_both():
    config = tiny.make_config()
    config.model.update({"hidden": 768, "heads": 12, "ffn": 3072, "layers": 12})
    model = nnx.eval_shape(lambda: models.build(config, tiny.make_contract(), rngs=Keys(0)))
    assert tiny.count(model.encoders) == 7_087_872
    arrays = tiny.named(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    attention = [name for name, array in arrays.items() if array.shape == (768, 768)]
    assert len(attention) == 4  # query, key, value and output; once
    assert all(name.startswith("encoders/shared/layers/0/") for name in attention)


def test_bfloat16_computes_low_and_keeps_high():
    batch, outputs = tiny.make_batch(3), {}
    for dtype in ("float32", "bfloat16"):
        module = tiny.make_module(functools.partial(build, **{"model.dtype": dtype}))
        definition, params, statistics = split(module)

        @jax.jit
        def run(batch, definition=definition, params=params, statistics=statistics):
            model = nnx.merge(definition, params, statistics)
            views = encode_views(model, batch, VIEWS, jax.random.key(0))
            return {name: view.hidden for name, view in views.items()}, split(model)[1:]

        outputs[dtype], after = run(batch)
        assert {x.dtype for x in jax.tree.leaves(after)} == {jnp.dtype("float32")}
        assert {x.dtype for x in outputs[dtype].values()} == {jnp.dtype(dtype)}
    for view, expected in outputs["float32"].items():
        difference = np.abs(outputs["bfloat16"][view].astype(np.float32) - expected)
        assert 0 < difference.mean() < 0.1, view


def test_an_unknown_model_is_refused_with_the_choices():
    config = tiny.make_config(**{"model.name": "albert"})
    with pytest.raises(ValueError, match=r"config\.model\.name='albert' is none of atbert"):
        models.build(config, tiny.make_contract(), rngs=Keys(0))
