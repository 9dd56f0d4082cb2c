"""The rules of BERT: complete, the same both ways, and strict about what they do not know."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.bert import BERT
from atbert_jax.models.keys import Keys
from atbert_jax.weights import bert_rules, engine, files
from tests import pytorch, tiny

LAYERS = pytorch.BERT_CONFIG["num_hidden_layers"]


@pytest.fixture
def convert(tmp_path):
    """Converts a folder of these arrays and of the usual config with changes."""

    def run(arrays, **changes):
        folder = pytorch.save(tmp_path, arrays, pytorch.BERT_CONFIG | changes)
        return bert_rules.from_pytorch(files.read_pytorch(str(folder)), "some/bert")

    return run


def test_every_array_has_a_rule_of_its_shape(convert):
    converted = convert(pytorch.bert(head=False))
    config = tiny.make_config(**{"model.layers": LAYERS}).model
    contract = tiny.make_contract(max_tokens=pytorch.POSITIONS)
    encoder = nnx.eval_shape(lambda: BERT(config, contract, dtype=jnp.float32, rngs=Keys(0)))
    shapes = engine.flat(nnx.to_pure_dict(nnx.state(encoder, nnx.Param)))
    assert {name: x.shape for name, x in converted.arrays.items()} == {
        bert_rules.PREFIX + name: x.shape for name, x in shapes.items()
    }
    assert set(converted.missing) == {rule.ours for rule in bert_rules.HEAD_RULES}
    assert converted.about == {
        "family": "bert",
        "source": "some/bert",
        "hidden": 16,
        "heads": 2,
        "layers": 3,
        "ffn": 32,
        "activation": "gelu",
        "vocabulary": 24,
        "max_positions": 12,
    }


def test_there_and_back_is_the_same_to_the_bit(convert):
    arrays = engine.without_prefix(pytorch.bert(), "bert.")
    arrays["embeddings.token_type_embeddings.weight"][0] = 0
    converted = convert(arrays)
    rules = bert_rules.rules(LAYERS) + bert_rules.HEAD_RULES
    back, _, left = engine.to_theirs("here", rules, converted.arrays, "unused")
    assert not left
    assert set(arrays) == set(back) | set(converted.unused)
    for name, array in back.items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def test_the_token_type_is_added_into_the_positions(convert):
    arrays = pytorch.bert(head=False)
    positions, types = (
        arrays[f"embeddings.{kind}_embeddings.weight"] for kind in ("position", "token_type")
    )
    np.testing.assert_array_equal(
        convert(arrays).arrays[bert_rules.POSITIONS], positions + types[0]
    )


def test_the_oldest_names_of_normalisations_are_known(convert):
    arrays = pytorch.bert()
    expected = convert(arrays).arrays
    changes = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for new, old in changes.items():
        arrays = {name.replace(new, old): array for name, array in arrays.items()}
    found = convert(arrays).arrays
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "albert"}, r"not that of BERT \(model_type 'albert'\)"),
        ({"position_embedding_type": "relative_key"}, r"position_embedding_type is 'relative_key'"),
        ({"layer_norm_eps": 1e-5}, r"layer_norm_eps is 1e-05, here it is 1e-12"),
        ({"hidden_act": "relu"}, r"hidden_act is 'relu'"),
        ({"vocab_size": 30522}, r"vocab_size is 30522, but 24 in the weights"),
        ({"num_hidden_layers": 2}, r"there is no rule for encoder\.layer\.2\."),
        ({"num_hidden_layers": 4}, r"lacks encoder\.layer\.3\."),
        ({"num_hidden_layers": "2"}, r"num_hidden_layers is '2', which the weights have not"),
        ({"num_hidden_layers": 10**7}, r"num_hidden_layers is 10000000, which"),
        ({"num_attention_heads": 0}, r"num_attention_heads is 0, which"),
        ({"is_decoder": True}, r"is_decoder is set"),
    ],
)
def test_configs_that_are_no_encoder_of_ours(convert, changes, message):
    with pytest.raises(ValueError, match=message):
        convert(pytorch.bert(), **changes)


def test_the_first_layers_can_be_had_alone(convert):
    arrays = convert(pytorch.bert()).arrays
    first = bert_rules.first_layers(arrays, 1)
    gone = arrays.keys() - first.keys()
    assert len(gone) == 2 * 16
    assert all("/layers/1/" in name or "/layers/2/" in name for name in gone)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(convert, value):
    arrays = pytorch.bert()
    name = "bert.encoder.layer.1.output.dense.bias"
    arrays[name] = np.full_like(arrays[name], value)
    with pytest.raises(ValueError, match=r"encoder\.layer\.1\.output\.dense\.bias hold what is no"):
        convert(arrays)


def test_quantized_weights_are_refused(convert):
    arrays = pytorch.bert()
    name = "bert.embeddings.word_embeddings.weight"
    arrays[name] = arrays[name].astype(np.int8)
    with pytest.raises(ValueError, match=r"word_embeddings.* is not quantized"):
        convert(arrays)
