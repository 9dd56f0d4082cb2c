"""What a probe hears: the same whatever stands behind a clip, and what every model says of it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.configs import probe as probe_config
from atbert_jax.configs import tagger as tagger_config
from atbert_jax.input_pipeline.contract import Contract, Labels
from atbert_jax.input_pipeline.dataset import make_contract
from atbert_jax.input_pipeline.text.tokenization import tokenizer_without_text
from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.models.linear_probe import Probe, pooled
from tests import tiny

RATE = 8000


def describe(config, contract: Contract) -> dict:
    return {
        "config": json.loads(config.to_json_best_effort()),
        "contract": json.loads(json.dumps(dataclasses.asdict(contract))),
    }


def an_atbert() -> dict:
    """Of log-mels; its chunks are 3 segments of 32 ms."""
    return describe(tiny.make_config(), tiny.make_contract())


def a_tagger(name: str = "musicnn", rate: int = RATE) -> dict:
    config = tagger_config.get_config(name)
    config.spectrogram.update({"sample_rate": rate, "n_mels": 24})
    config.segmenting.update({"seconds": 0.25, "hop": 0.1})
    labels = Labels("multi_label", ("a", "b"))
    return describe(config, make_contract(config, tokenizer_without_text(), labels))


def make_probe(seconds: float, *, mfcc: bool = True, **ears: dict) -> Probe:
    config = probe_config.get_config()
    config.spectrogram.sample_rate, config.segmenting.seconds = RATE, seconds
    with config.unlocked():
        config.probe.update({"ears": ears, "mfcc": mfcc})
    contract = make_contract(config, tokenizer_without_text(), Labels("single_label", ("a", "b")))
    return tiny.make_module(lambda: Probe(config, contract, rngs=Keys(0)))


def hear(probe: Probe, clips: list[np.ndarray]) -> dict[str, np.ndarray]:
    size = round(probe.samples)
    waveform = np.stack([np.pad(clip, (0, size - len(clip))) for clip in clips])
    samples = np.array([[len(clip)] for clip in clips], np.int32)
    batch = {"waveform": waveform[:, None], "samples": samples}
    batch["segment_mask"] = np.ones((len(clips), 1), np.float32)
    return jax.device_get(nnx.jit(lambda probe, batch: probe.features(batch))(probe, batch))


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:Empty filters")
def test_features_depend_on_the_clip_alone():
    """Neither on the length of the batch, nor on other clips, nor on what fills a chunk up."""
    ears = {"atbert": an_atbert(), "musicnn": a_tagger()}
    short, long = noise(0.31), noise(0.7, seed=1)
    alone = hear(make_probe(0.31, **ears), [short])
    among = hear(make_probe(0.7, **ears), [long, short])
    assert alone.keys() == among.keys() == {"atbert", "musicnn", "mfcc"}
    for name, values in alone.items():
        assert values.std() > 0
        np.testing.assert_allclose(among[name][1], values[0], atol=1e-4, err_msg=name)
        assert np.abs(among[name][0] - values[0]).max() > 1e-2


@pytest.mark.filterwarnings("ignore:Empty filters")
def test_widths_are_of_every_layer_twice():
    probe = make_probe(0.3, musicnn=a_tagger(), atbert=an_atbert())
    front, channels = 2 * 204 + 3 * 51, 64
    assert probe.widths["musicnn"] == 2 * (front + 3 * channels)
    assert probe.widths["mfcc"] == 80
    assert probe.hidden == sum(probe.widths.values())
    assert make_probe(0.3, mfcc=False, atbert=an_atbert()).widths == {
        "atbert": probe.widths["atbert"]
    }


def test_mean_and_maximum_are_of_what_is_real():
    hidden = jnp.array([[[1.0], [3.0], [9.0]], [[-1.0], [-3.0], [5.0]], [[4.0], [4.0], [4.0]]])
    mask = jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    mean, highest = pooled(Encoded(hidden, mask))
    np.testing.assert_allclose(mean[:, 0], [2, -2, 0])
    np.testing.assert_allclose(highest[:, 0], [3, -1, 0])


def test_states_are_standardised_and_bounded():
    probe = make_probe(0.3)
    clip = noise(0.3)
    features = hear(probe, [clip])["mfcc"]
    probe.mean[...], probe.scale[...] = jnp.asarray(features[0] - 2.0), jnp.ones(80)
    probe.scale[...] = probe.scale[...].at[0].set(1e6).at[1].set(0.0)
    batch = {"waveform": clip[None, None], "samples": np.array([[len(clip)]])}
    states = probe.encode_audio(batch | {"segment_mask": np.ones((1, 1), np.float32)}, None)
    assert states.hidden.shape == (1, 1, 80)
    assert states.hidden[0, 0, 0] == 10
    assert states.hidden[0, 0, 1] == 0
    np.testing.assert_allclose(states.hidden[0, 0, 2:], 2.0, atol=1e-2)


def test_what_cannot_be_probed_is_refused():
    with pytest.raises(ValueError, match=r"other hears 16000 Hz, the probe 8000 Hz"):
        make_probe(0.3, other=a_tagger(rate=16_000))
    with pytest.raises(ValueError, match="needs a model to hear with"):
        make_probe(0.3, mfcc=False)
    spaced = an_atbert()
    spaced["contract"]["segmenting"]["layout"] = "spaced"
    with pytest.raises(ValueError, match="chunks of waveforms, which atbert"):
        make_probe(0.3, spaced=spaced)
