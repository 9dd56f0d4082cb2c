"""The musicnn library's networks: their sizes, their mels, and how long their clips may be."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
from flax import nnx

from atbert_jax.configs import tagger as tagger_config
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.dataset import make_contract
from atbert_jax.input_pipeline.text.tokenization import tokenizer_without_text
from atbert_jax.models import taggers
from atbert_jax.models.keys import Keys
from atbert_jax.models.taggers.pons import CompressedMel
from atbert_jax.training.learner import Learner
from tests import tiny
from tests.tagger_training import make_gradient

SAMPLES = 187 * 256


def make_config(given: str, **changes: object):
    config = tagger_config.get_config(given)
    config.update_from_flattened_dict(changes)
    labels = Labels("multi_label", tuple(config.data.labels))
    return config, make_contract(config, tokenizer_without_text(), labels)


def make_network(given: str, **changes: object) -> nnx.Module:
    config, contract = make_config(given, **changes)
    return taggers.build(config, config.model.name, contract, rngs=Keys(0))


def make_frontend(**changes: object) -> CompressedMel:
    config, contract = make_config("pons_vgg,mtat", **changes)
    return tiny.make_module(
        lambda: CompressedMel(config.tagger, contract.spectrogram, rngs=Keys(0))
    )


@pytest.mark.parametrize(
    ("given", "wide", "parameters"),
    [
        ("pons_musicnn,mtat", False, 787_159),
        ("pons_musicnn,msd", True, 7_980_235),
        ("pons_vgg,mtat", False, 605_748),
        ("pons_vgg,msd", False, 605_748),
    ],
)
def test_sizes_are_the_published_ones(given, wide, parameters):
    config, contract = make_config(given, **{"tagger.wide": wide})
    learner = nnx.eval_shape(lambda: Learner(config, contract, rngs=Keys(0)))
    assert tiny.count(learner) == parameters


def test_the_narrow_one_is_published_for_both_sets():
    assert not tagger_config.get_config("pons_musicnn,msd").tagger.wide
    assert tagger_config.get_config("pons_vgg,msd").tagger.apart
    assert not tagger_config.get_config("pons_vgg,mtat").tagger.apart


def librosas(waveform: np.ndarray) -> np.ndarray:
    """Mels (T, F) as the library had them, with frames that are mirrored at the edges."""
    return librosa.feature.melspectrogram(
        y=waveform, sr=16_000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    ).T


def test_mels_are_librosas():
    """Those of a patch of a longer clip, too, but for its first frame, which reaches before it."""
    rng, frontend = np.random.default_rng(0), make_frontend()
    loudness = np.geomspace(1e-4, 0.5, 2 * SAMPLES)
    clip = (loudness * rng.uniform(-1, 1, 2 * SAMPLES)).astype(np.float32)
    mels = librosas(clip)
    expected = np.log10(10_000 * mels + 1)
    found = jax.jit(frontend.compressed)(clip.reshape(2, SAMPLES))
    assert found.shape == (2, 187, 96)
    np.testing.assert_allclose(found[0], expected[:187], atol=1e-4)
    np.testing.assert_allclose(found[1, 1:], expected[188:374], atol=1e-4)
    np.testing.assert_allclose(
        found[1], np.log10(10_000 * librosas(clip[SAMPLES:])[:187] + 1), atol=1e-4
    )
    # The library's own numbers, in 16 bits, where they are finite.
    coarse = np.log10(10_000 * mels[:187].astype(np.float16) + 1)
    assert np.isfinite(coarse).all()
    np.testing.assert_allclose(found[0], coarse, atol=4e-3)
    np.testing.assert_array_equal(jax.jit(frontend.compressed)(np.zeros((1, SAMPLES))), 0)


def test_masks_of_training_cover_with_the_mean():
    frontend = make_frontend(**{"tagger.time_masks": 1, "tagger.time_mask_size": 1.0})
    waveform = np.random.default_rng(0).uniform(-1, 1, (3, SAMPLES)).astype(np.float32)
    definition, state = nnx.split(frontend)

    @jax.jit
    def run(state, waveform):
        return nnx.merge(definition, state)(waveform, jnp.ones(3), jax.random.key(0))

    masked = np.asarray(run(state, waveform))
    assert 0 < (masked == 0).all(axis=(1, 3)).mean() < 1


def run(given: str, samples: int, **changes: object) -> jax.Array:
    network = make_network(given, **changes)
    return network(jnp.zeros((2, samples)), jnp.ones(2), jax.random.key(0))


def test_musicnn_hears_clips_of_any_length():
    for samples in (256, 3 * SAMPLES):
        assert nnx.eval_shape(lambda n=samples: run("pons_musicnn", n)).shape == (2, 200)
    with pytest.raises(ValueError, match=r"255 samples are too short .* needs 256"):
        nnx.eval_shape(lambda: run("pons_musicnn", 255))


@pytest.mark.parametrize(("data", "frames"), [("mtat", (130, 193)), ("msd", (128, 191))])
def test_the_vgg_hears_what_fills_its_output(data, frames):
    given, (least, most) = f"pons_vgg,{data}", frames
    for samples in (least * 256, SAMPLES, (most + 1) * 256 - 1):
        assert nnx.eval_shape(lambda n=samples: run(given, n)).shape == (2, 256)
    with pytest.raises(ValueError, match=f"too short for this tagger: it needs {least * 256}"):
        nnx.eval_shape(lambda: run(given, least * 256 - 1))
    with pytest.raises(ValueError, match=r"too long .* set config.segmenting.seconds to 3\.\d+"):
        nnx.eval_shape(lambda: run(given, (most + 1) * 256))


def test_other_bands_are_refused():
    with pytest.raises(ValueError, match="128 bands are not what this tagger was made for"):
        nnx.eval_shape(lambda: run("pons_vgg", SAMPLES, **{"spectrogram.n_mels": 128}))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pons_musicnn", "pons_vgg"])
def test_training_counts_real_clips_only_and_reaches_every_parameter(name):
    network = tiny.make_module(lambda: make_network(name, **{"tagger.dropout": 0.0}))
    params, run = make_gradient(network)
    noise = np.random.default_rng(0).normal(size=(3, 130 * 256))
    batch = (noise * np.float32([[0.01], [0.1], [1]])).astype(np.float32)
    batch[2] = 0
    mask = np.float32([1, 0, 1])

    gradient, (features, statistics) = run(params, batch, mask)
    for key, value in tiny.named(nnx.to_pure_dict(gradient)).items():
        assert np.isfinite(value).all(), key
        assert np.abs(value).max() > 0, key
    other = batch.copy()
    other[1] = 9 * noise[2]
    same, (same_features, same_statistics) = run(params, other, mask)
    jax.tree.map(np.testing.assert_array_equal, (same, same_statistics), (gradient, statistics))
    np.testing.assert_array_equal(same_features[::2], features[::2])
    # Where it counts it does change them: the comparison above can fail.
    _, (counted, _) = run(params, other, np.ones(3, np.float32))
    assert np.abs(counted - features)[::2].max() > 0.01
