"""The cross-modal transformer: parameters, masks, padding, positions, and what is missing."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.configs import crossmodal
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.models.crossmodal import CrossModal, sinusoids
from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.objectives.views import VIEWS, encode_views, possible
from atbert_jax.training.learner import Learner
from tests import tiny

EMOTIONS = ("공포", "놀람", "분노", "슬픔", "중립", "행복", "혐오")
RATE, LENGTH = 8000, 256
SETTINGS = {
    "model.name": "crossmodal",
    "data.input": "waveform",
    "objectives.classification": 1.0,
    "classification.head": "residual",
    "crossmodal.width": 16,
    "crossmodal.heads": 4,
    "crossmodal.layers": 2,
    "crossmodal.n_mfcc": 12,
}
NO_DROPOUT = {
    f"crossmodal.{name}": 0.0
    for name in ("embedding_dropout", "attention_dropout", "relu_dropout", "dropout")
}


def make_contract(**changes: object):
    spectrogram = Spectrogram(
        RATE, n_fft=32, hop_length=16, n_mels=16, mel_scale="htk", log_floor=1e-10
    )
    return tiny.make_contract(**{"spectrogram": spectrogram} | changes)


def build(**changes: object) -> CrossModal:
    config = tiny.make_config(**SETTINGS | changes)
    return tiny.make_module(lambda: CrossModal(config, make_contract(), rngs=Keys(0)))


def make_batch(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """`tiny.make_batch` with waveforms, noise where nothing is real, and texts of 3 to 6 tokens."""
    batch = tiny.make_batch(rows, seed)
    del batch["log_mel"]
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(rows, tiny.SEGMENTS, LENGTH)).astype(np.float32)
    scale = np.where(np.arange(LENGTH) < batch["samples"][..., None], 0.1, 100)
    return batch | {"waveform": noise * scale.astype(np.float32)}


def asker(model: CrossModal):
    """All summaries of a batch by view, in evaluation."""
    definition, state = nnx.split(model)

    @jax.jit
    def run(state, batch):
        model = nnx.merge(definition, state)
        return {
            view: encoded.hidden[:, 0]
            for view, encoded in encode_views(model, batch, possible(model), None).items()
        }

    return functools.partial(run, state)


@pytest.fixture(scope="module", params=["average", "last"])
def ask(request):
    return asker(build(**{"crossmodal.merge": request.param}))


def test_parameters_of_the_published_network_term_by_term():
    """Biases of all maps but the convolutions, and no normalisation at the end of a stack."""
    width, bert, mfccs, classes = 64, 768, 40, len(EMOTIONS)
    block = 4 * (width**2 + width) + 2 * 4 * width**2 + 5 * width + 2 * 2 * width
    found = parameters("audio_text")
    assert found["model/audio_conv"] == 3 * mfccs * width
    assert found["model/text_conv"] == 3 * bert * width
    for stack in ("audio_with_text", "text_with_audio", "audio_stack", "text_stack"):
        assert found[f"model/{stack}"] == 4 * block
    assert found["objectives/classification"] == 2 * (128**2 + 128) + 128 * classes + classes
    assert sum(found.values()) - found["model/text_encoder"] == 988_807


def test_parameters_of_audio_alone_and_of_text_alone():
    found = parameters("audio")
    assert found["model/audio_stack"] == 4 * (12 * 40**2 + 13 * 40)
    assert found["objectives/classification"] == 2 * (40**2 + 40) + 40 * 7 + 7
    assert sum(found.values()) == 82_447
    found = parameters("text")
    assert found["objectives/classification"] == 768 * 7 + 7
    assert found.keys() == {"model/text_encoder", "model/pooler", "objectives/classification"}


def parameters(given: str) -> dict[str, int]:
    """Their number by part, of the published sizes."""
    config = crossmodal.get_config(given)
    contract = make_contract(labels=Labels("single_label", EMOTIONS))
    learner = nnx.eval_shape(lambda: Learner(config, contract, rngs=Keys(0)))
    found = {}
    for name, x in tiny.named(nnx.to_pure_dict(nnx.state(learner, nnx.Param))).items():
        part = "/".join(name.split("/")[:2])
        found[part] = found.get(part, 0) + math.prod(x.shape)
    return found


@pytest.mark.parametrize("modalities", [("audio", "text"), ("audio",), ("text",)])
def test_the_summaries_of_what_it_is_made_for(modalities):
    model = build(**{"crossmodal.modalities": modalities})
    views = asker(model)(make_batch(3))
    assert set(views) == set(VIEWS if len(modalities) == 2 else modalities)
    width = {2: 32, 1: 12 if "audio" in modalities else 16}[len(modalities)]
    assert model.hidden == width
    for view, values in views.items():
        assert values.shape == (3, width)
        # What is missing of both leaves its half empty.
        filled = 16 if len(modalities) == 2 and view != "audio_text" else width
        assert (np.asarray(values).std(axis=0) > 1e-3).sum() == filled


def test_padding_changes_no_summary(ask):
    """Neither frames nor words that are not real, nor how many there are."""
    batch = make_batch(4)
    expected = ask(batch)
    real = np.arange(LENGTH) < batch["samples"][..., None]
    quiet = batch | {
        "waveform": batch["waveform"] * real,
        "token_ids": np.where(batch["token_mask"] > 0, batch["token_ids"], 0),
    }
    longer = quiet | {
        "waveform": np.pad(quiet["waveform"], [(0, 0), (0, 2), (0, 0)]),
        "samples": np.pad(batch["samples"], [(0, 0), (0, 2)]),
        "segment_mask": np.pad(batch["segment_mask"], [(0, 0), (0, 2)]),
    }
    for other in (quiet, longer):
        for view, values in ask(other).items():
            np.testing.assert_allclose(values, expected[view], rtol=1e-4, atol=1e-5)


def test_a_padded_clip_is_the_clip(ask):
    """As long as its samples, or padded; a segment that is not full stands alone or with others."""
    batch = {name: x[:1] for name, x in make_batch(1).items()}
    samples = 150
    sound = batch["waveform"][:, :1, :samples] * 0.01
    alone = batch | {
        "waveform": sound,
        "samples": np.array([[samples]], np.int32),
        "segment_mask": np.ones((1, 1), np.float32),
    }
    padded = batch | {
        "waveform": np.pad(sound, [(0, 0), (0, 2), (0, LENGTH - samples)], constant_values=9.0),
        "samples": np.array([[samples, 0, 0]], np.int32),
        "segment_mask": np.array([[1, 0, 0]], np.float32),
    }
    expected = ask(alone)
    for view, values in ask(padded).items():
        np.testing.assert_allclose(values, expected[view], rtol=1e-4, atol=1e-5)


def test_what_is_missing_is_as_if_it_was_not_asked_for(ask):
    batch = make_batch(4)
    nothing = {
        "text": {"token_mask": np.zeros_like(batch["token_mask"])},
        "audio": {"segment_mask": np.zeros_like(batch["segment_mask"])},
    }
    expected = ask(batch)
    for missing, other in (("text", "audio"), ("audio", "text")):
        found = ask(batch | nothing[missing])
        np.testing.assert_allclose(found["audio_text"], expected[other], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found[missing], 0)
    assert np.isfinite(ask(batch | nothing["text"] | nothing["audio"])["audio_text"]).all()


def test_every_frame_reaches_the_words_and_every_word_the_frames(ask):
    """With a causal mask across streams, six words would hear six frames."""
    batch = make_batch(4, seed=2)
    batch["segment_mask"][:] = 1
    batch["samples"][:] = LENGTH
    batch["waveform"] = np.clip(batch["waveform"], -0.3, 0.3)
    expected = ask(batch)["audio_text"]
    other = {name: np.array(x) for name, x in batch.items()}
    other["waveform"][:, -1, 128:] *= -0.5
    other["token_ids"][:, 2] = 7
    words = ask(batch | {"waveform": other["waveform"]})["audio_text"][:, 16:]
    frames = ask(batch | {"token_ids": other["token_ids"]})["audio_text"][:, :16]
    assert np.abs(words - expected[:, 16:]).max(axis=1).min() > 1e-3
    assert np.abs(frames - expected[:, :16]).max(axis=1).min() > 1e-3


def test_the_published_mask_hides_what_comes_later():
    stack = tiny.one_program(build(**{"crossmodal.causal": True}).text_with_audio)
    rng = np.random.default_rng(0)
    text, audio, later = (rng.normal(size=(1, t, 16)).astype(np.float32) for t in (4, 9, 9))
    later[:, :4] = audio[:, :4]
    words, frames = Encoded(text, np.ones((1, 4))), Encoded(audio, np.ones((1, 9)))
    found = stack(words, frames, None).hidden
    np.testing.assert_array_equal(stack(words, frames._replace(hidden=later), None).hidden, found)
    later[:, 3] += 1
    changed = np.abs(stack(words, frames._replace(hidden=later), None).hidden - found).max(axis=-1)
    np.testing.assert_array_equal(changed[0] > 0, [False, False, False, True])


def test_silence_within_a_clip_counts(ask):
    """A position is that of a frame, whatever is heard in it; no zero is cut out of a clip."""
    batch = make_batch(2)
    sound = np.full_like(batch["waveform"], 0.0)
    sound[:, 0, :64], sound[:, 0, 128:192] = 0.1, -0.1
    batch |= {
        "waveform": sound,
        "samples": np.tile(np.int32([LENGTH, 0, 0]), (2, 1)),
        "segment_mask": np.tile(np.float32([1, 0, 0]), (2, 1)),
    }
    cut = {name: np.array(x) for name, x in batch.items()}
    loud = sound[sound != 0].reshape(2, 128)
    cut["waveform"][:, 0] = np.pad(loud, [(0, 0), (0, 128)])
    cut["samples"][:, 0] = 128
    assert np.abs(ask(batch)["audio"] - ask(cut)["audio"]).max() > 1e-3


def test_positions_count_from_one_by_what_is_real():
    width = 10
    found = sinusoids(jnp.array([[1.0, 2.0, 7.0]]), width)
    rates = 10_000.0 ** (-np.arange(5) / 4)
    angles = np.array([1, 2, 7])[:, None] * rates
    np.testing.assert_allclose(found[0], np.hstack([np.sin(angles), np.cos(angles)]), atol=1e-6)
    stack = build().audio_stack
    zeros = Encoded(np.zeros((1, 4, 16), np.float32), np.array([[1.0, 1, 0, 1]]))
    expected = sinusoids(jnp.array([[1.0, 2, 2, 3]]), 16)
    np.testing.assert_allclose(tiny.one_program(stack.place)(zeros, None), expected, atol=1e-6)


@pytest.mark.parametrize(("merge", "expected"), [("last", (4, 6, 0)), ("average", (2, 10 / 3, 0))])
def test_only_real_states_are_merged(merge, expected):
    hidden = np.arange(10, dtype=np.float32).reshape(1, 5, 2).repeat(3, axis=0)
    mask = np.float32([[1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]])
    model = build(**{"crossmodal.merge": merge})
    found = tiny.one_program(model._merge)(Encoded(hidden, mask))
    np.testing.assert_allclose(found.hidden[:, 0, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(found.mask[:, 0], [1, 1, 0])


@pytest.mark.parametrize("modalities", [("audio", "text"), ("audio",), ("text",)])
def test_every_parameter_learns(modalities):
    view = "_".join(modalities)
    config = tiny.make_config(
        **SETTINGS | {"crossmodal.modalities": modalities, "classification.views": (view,)}
    )
    contract = make_contract()
    learner = tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)))
    definition, params, rest = nnx.split(learner, nnx.Param, ...)

    @jax.jit
    @jax.grad
    def gradient(params, batch):
        learner = nnx.merge(definition, params, rest)
        losses, _ = learner.losses(batch, jax.random.key(0))
        return losses["classification"][0]

    found = tiny.named(nnx.to_pure_dict(gradient(params, make_batch(8))))
    still = {name for name, x in found.items() if not np.abs(x).max() > 1e-6}
    # Adding the same to every key changes no attention.
    assert {name for name in still if not name.endswith("key/bias")} == set()
    assert all(np.isfinite(x).all() for x in found.values())


@pytest.mark.parametrize(
    "name",
    [
        "embedding_dropout",
        "attention_dropout",
        "audio_attention_dropout",
        "relu_dropout",
        "dropout",
    ],
)
def test_each_dropout_acts(name):
    still = {"model.dropout": 0.0, "crossmodal.audio_attention_dropout": 0.0}
    config = tiny.make_config(**SETTINGS | NO_DROPOUT | still | {f"crossmodal.{name}": 0.5})
    learner = tiny.make_module(lambda: Learner(config, make_contract(), rngs=Keys(0)))
    loss = tiny.one_program(lambda batch, key: learner.losses(batch, key)[0]["classification"][0])
    batch = make_batch(3)
    assert float(loss(batch, None)) != float(loss(batch, jax.random.key(0)))


def test_a_frozen_bert_has_no_dropout():
    frozen = {"optimizer.frozen": ("^model/text_encoder/",), "model.dropout": 0.5}
    config = tiny.make_config(**SETTINGS | NO_DROPOUT | frozen)
    learner = tiny.make_module(lambda: Learner(config, make_contract(), rngs=Keys(0)))
    batch, keys = make_batch(3), (jax.random.key(0), None)
    trained, evaluated = tiny.one_program(
        lambda batch: [learner.model.encode_text(batch, key).hidden for key in keys]
    )(batch)
    np.testing.assert_array_equal(trained, evaluated)
    config.optimizer.frozen = ()
    learner = tiny.make_module(lambda: Learner(config, make_contract(), rngs=Keys(0)))
    trained = tiny.one_program(learner.model.encode_text)(batch, keys[0]).hidden
    assert np.abs(trained - evaluated).max() > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crossmodal.modalities": ()}, "modalities is empty; name some of audio, text"),
        ({"crossmodal.modalities": ("video",)}, "modalities='video' is none of audio, text"),
        ({"crossmodal.merge": "max"}, "merge='max' is none of average, last"),
        ({"data.input": "log_mel"}, "set --config.data.input=waveform"),
        ({"crossmodal.heads": 3}, r"heads=3 does not divide config\.crossmodal\.width=16"),
        (
            {"crossmodal.heads": 8, "crossmodal.modalities": ("audio",)},
            r"heads=8 does not divide config\.crossmodal\.n_mfcc=12",
        ),
        (
            {"crossmodal.modalities": ("text",)},
            r"alone; set --config\.classification\.views=\"\('text',\)\"",
        ),
        ({"objectives.correct_pair": 1.0}, "names correct_pair, .* no streams to mask or compare"),
    ],
)
def test_wrong_settings_are_refused_with_the_way_out(changes, message):
    config = tiny.make_config(**SETTINGS | changes)
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: Learner(config, make_contract(), rngs=Keys(0)))


def test_padding_that_is_cut_off_changes_nothing():
    """Of one segment of any number of samples, and of texts."""
    batch = make_batch(6)
    batch = {
        k: x[:, :1] if k in ("waveform", "samples", "segment_mask") else x for k, x in batch.items()
    }
    batch["samples"] = np.array([[150], [40], [160], [97], [0], [129]], np.int32)
    batch["segment_mask"] = (batch["samples"] > 0).astype(np.float32)
    batch["token_mask"][:, 4:] = 0
    short = batch | {"waveform": batch["waveform"][:, :, :160]}
    short |= {name: batch[name][:, :4] for name in ("token_ids", "token_mask")}
    ask = asker(build(**{"crossmodal.layers": 1}))
    found, expected = ask(short), ask(batch)
    for view, summaries in expected.items():
        np.testing.assert_allclose(found[view], summaries, rtol=0, atol=1e-5, err_msg=view)
