"""Every network that takes PyTorch's arrays computes what PyTorch does, and gives them back.

PyTorch runs in a process of its own: its compiler and TensorFlow crash when loaded together.
"""

import importlib.util
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.models.keys import Keys
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import split
from atbert_jax.weights import engine, files, tagger_rules
from tests import tiny
from tests.models.taggers.test_networks import NETWORKS, clips, every

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(
        not importlib.util.find_spec("torch"), reason="parity needs PyTorch, an optional dependency"
    ),
]

TAGS = tuple("abcde")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """State dicts and outputs of all of PyTorch's networks."""
    folder = tmp_path_factory.mktemp("torch")
    for name in NETWORKS:
        np.save(folder / f"{name}.npy", clips(name, 4))
    program = (
        "import numpy as np\n"
        "from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram\n"
        "from tests.models.taggers import pytorch_networks\n"
    ) + "".join(
        f"pytorch_networks.write({str(folder)!r}, {name!r}, {published.spectrogram!r},"
        f" np.load({str(folder / name)!r} + '.npy'))\n"
        for name, published in NETWORKS.items()
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    return folder


@every
def test_equals_pytorch_both_ways(folder, name):
    config = tiny.make_config(
        **{
            "model.name": name,
            "data.input": "waveform",
            "tagger.attention": 64,
            "objectives.classification": 1.0,
            "classification.views": ("audio",),
            "classification.head": "linear",
            "classification.pooling": "mean",
        }
    )
    contract = tiny.make_contract(
        spectrogram=NETWORKS[name].spectrogram, labels=Labels("multi_label", TAGS)
    )
    shapes = nnx.eval_shape(lambda: Learner(config, contract, rngs=Keys(0)))
    definition, *state = split(shapes)
    source = files.read_pytorch(str(folder / f"{name}.pth")).arrays
    source = engine.without_prefix(source, tagger_rules.PREFIX)
    rules = tagger_rules.RULES[name]()
    arrays, _, unused = engine.to_ours(name, rules, source, tagger_rules.UNUSED)
    assert arrays.keys() == engine.flat(*state).keys()
    theirs, _, left = engine.to_theirs(name, rules, arrays, "")
    assert not left
    for key in source.keys() - unused.keys():
        np.testing.assert_array_equal(theirs[key], source[key], err_msg=key)

    def fill(path: tuple, like: jax.ShapeDtypeStruct) -> jax.Array:
        array = arrays[engine.name_of(path)]
        assert array.shape == like.shape, engine.name_of(path)
        return jnp.asarray(array)

    @jax.jit
    def run(params, statistics, waveform):
        learner = nnx.merge(definition, params, statistics)
        network, mask = learner.model.network, jnp.ones(len(waveform))
        batch = {"waveform": waveform[:, None], "segment_mask": mask[:, None]}
        probabilities = learner.predict(batch)["classification"]["audio"]
        weights = network.attention(waveform) if hasattr(network, "attention") else None
        return network(waveform, mask, None), probabilities, weights

    state = (jax.tree_util.tree_map_with_path(fill, each) for each in state)
    features, probabilities, weights = run(*state, clips(name, 4))
    expected = np.load(folder / f"{name}.npz")
    scale = np.abs(expected["features"]).max()
    np.testing.assert_allclose(features, expected["features"], rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(probabilities, expected["probabilities"], rtol=0, atol=1e-5)
    assert expected["features"].std(axis=0).max() > 0.05 * scale
    assert (weights is None) == ("weights" not in expected)
    if weights is not None:
        np.testing.assert_allclose(weights, expected["weights"], rtol=0, atol=1e-5)
