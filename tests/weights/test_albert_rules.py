"""The rules of ALBERT: complete, the same both ways, and strict about what they do not know."""

import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from atbert_jax import models
from atbert_jax.models.keys import Keys
from atbert_jax.weights import albert_rules, engine, files
from tests import pytorch, tiny

RULES = albert_rules.RULES + albert_rules.HEAD_RULES


@pytest.fixture
def convert(tmp_path):
    """Converts a folder of these arrays and of the usual config with changes."""

    def run(arrays, **changes):
        folder = pytorch.save(tmp_path, arrays, pytorch.ALBERT_CONFIG | changes)
        return albert_rules.from_pytorch(files.read_pytorch(str(folder)), "some/albert")

    return run


def test_every_array_of_the_text_side_has_a_rule_of_its_shape(convert):
    converted = convert(pytorch.albert(head=False))
    model = nnx.eval_shape(
        lambda: models.build(
            tiny.make_config(), tiny.make_contract(max_tokens=pytorch.POSITIONS), rngs=Keys(0)
        )
    )
    shapes = {
        albert_rules.in_file(f"model/{name}"): x.shape
        for name, x in engine.flat(nnx.to_pure_dict(nnx.state(model, nnx.Param))).items()
        if not name.startswith(("audio_", "joint_", "modality_"))
    }
    assert {name: x.shape for name, x in converted.arrays.items()} == shapes
    assert converted.about == {
        "family": "albert",
        "source": "some/albert",
        "hidden": 16,
        "heads": 2,
        "layers": 3,
        "ffn": 32,
        "embedding": 8,
        "activation": "gelu_tanh",
        "vocabulary": 24,
        "max_positions": 12,
    }


def test_there_and_back_is_the_same_to_the_bit(convert):
    arrays = engine.without_prefix(pytorch.albert(), "albert.")
    types = arrays["embeddings.token_type_embeddings.weight"]
    types[0] = 0
    converted = convert(arrays)
    back, _, left = engine.to_theirs("here", RULES, converted.arrays, "unused")
    assert not left
    assert set(arrays) == set(back) | set(converted.unused)
    for name, array in back.items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def test_every_unused_array_has_its_reason(convert):
    unused = convert(pytorch.albert()).unused
    assert {name: why.split()[0] for name, why in unused.items()} == {
        "embeddings.token_type_embeddings.weight": "row",
        "pooler.weight": "the",
        "pooler.bias": "the",
        "sop_classifier.classifier.weight": "the",
        "sop_classifier.classifier.bias": "the",
    }


def test_names_here_and_axes(convert):
    arrays = engine.without_prefix(pytorch.albert(), "albert.")
    converted = convert(pytorch.albert()).arrays
    types = arrays["embeddings.token_type_embeddings.weight"]
    np.testing.assert_array_equal(
        converted["model/text_positions"],
        arrays["embeddings.position_embeddings.weight"] + types[0],
    )
    layer = "encoder.albert_layer_groups.0.albert_layers.0"
    for ours, theirs in (
        ("model/text_projection/kernel", arrays["encoder.embedding_hidden_mapping_in.weight"].T),
        ("encoder/layers/0/ffn/kernel", arrays[f"{layer}.ffn.weight"].T),
        ("encoder/layers/0/attention_norm/scale", arrays[f"{layer}.attention.LayerNorm.weight"]),
        ("encoder/layers/0/output_norm/bias", arrays[f"{layer}.full_layer_layer_norm.bias"]),
        ("objectives/masked_language/dense/kernel", arrays["predictions.dense.weight"].T),
        ("objectives/masked_language/norm/scale", arrays["predictions.LayerNorm.weight"]),
        ("objectives/masked_language/output_bias", arrays["predictions.bias"]),
    ):
        np.testing.assert_array_equal(converted[ours], theirs, err_msg=ours)


def test_a_source_without_the_head_says_so(convert):
    converted = convert(pytorch.albert(head=False))
    assert set(converted.missing) == {rule.ours for rule in albert_rules.HEAD_RULES}
    assert not converted.missing.keys() & converted.arrays.keys()


def test_tied_arrays_may_be_there_twice_or_under_either_name(convert):
    arrays = pytorch.albert()
    words = arrays["albert.embeddings.word_embeddings.weight"]
    expected = convert(arrays).arrays
    twice = arrays | {"predictions.decoder.weight": words}
    twice["predictions.decoder.bias"] = twice.pop("predictions.bias")
    converted = convert(twice).arrays
    assert converted.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(converted[name], array, err_msg=name)
    with pytest.raises(ValueError, match=r"predictions\.decoder\.weight is not embeddings\.word"):
        convert(twice | {"predictions.decoder.weight": words + 1})


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32(convert, dtype):
    arrays = {name: array.astype(dtype) for name, array in pytorch.albert(head=False).items()}
    converted = convert(arrays).arrays
    assert {array.dtype for array in converted.values()} == {np.dtype("float32")}
    expected = arrays["embeddings.word_embeddings.weight"].astype(np.float32)
    np.testing.assert_array_equal(converted["model/word_embeddings/embedding"], expected)


@pytest.mark.parametrize(
    ("given", "activation"),
    [("gelu", "gelu"), ("gelu_new", "gelu_tanh"), ("gelu_pytorch_tanh", "gelu_tanh")],
)
def test_activations_of_both_versions(convert, given, activation):
    assert convert(pytorch.albert(), hidden_act=given).about["activation"] == activation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_groups": 2}, r"config\.json: num_hidden_groups is 2, .*one group"),
        ({"inner_group_num": 2}, r"config\.json: inner_group_num is 2"),
        ({"layer_norm_eps": 1e-5}, r"layer_norm_eps is 1e-05, here it is 1e-12"),
        ({"hidden_act": "relu"}, r"hidden_act is 'relu'"),
        ({"hidden_size": 32}, r"hidden_size is 32, but 16 in the weights"),
        ({"vocab_size": 30000}, r"vocab_size is 30000, but 24 in the weights"),
        ({"model_type": "bert"}, r"not that of ALBERT \(model_type 'bert'\)"),
    ],
)
def test_configs_that_are_no_encoder_of_ours(convert, changes, message):
    with pytest.raises(ValueError, match=message):
        convert(pytorch.albert(), **changes)


def test_what_no_rule_knows_and_what_is_not_there_is_refused(convert):
    arrays = pytorch.albert()
    with pytest.raises(ValueError, match=r"safetensors: there is no rule for adapter\.weight;"):
        convert(arrays | {"adapter.weight": np.zeros(2, np.float32)})
    second = "albert.encoder.albert_layer_groups.1.albert_layers.0.ffn.bias"
    with pytest.raises(ValueError, match=r"there is no rule for encoder\.albert_layer_groups\.1\."):
        convert(arrays | {second: np.zeros(32, np.float32)})
    with pytest.raises(ValueError, match="num_hidden_groups is 2"):
        convert(arrays | {second: np.zeros(32, np.float32)}, num_hidden_groups=2)
    for lost in ("albert.embeddings.LayerNorm.bias", "predictions.bias"):
        short = {name: array for name, array in arrays.items() if name != lost}
        with pytest.raises(ValueError, match=f"lacks {lost.removeprefix('albert.')}"):
            convert(short)
    del arrays["albert.embeddings.token_type_embeddings.weight"]
    with pytest.raises(ValueError, match=r"lacks embeddings\.token_type_embeddings\.weight"):
        convert(arrays)
    flat = pytorch.albert() | {"predictions.dense.weight": np.zeros(8, np.float32)}
    with pytest.raises(ValueError, match=r"dense\.weight has shape \(8,\), but 2 axes"):
        convert(flat)


def test_the_layer_of_the_one_encoder_is_found():
    names = {"model/encoders/shared/layers/0/ffn/bias": 1, "model/text_norm/bias": 2}
    assert albert_rules.named_as_file(names, "here") == {
        "encoder/layers/0/ffn/bias": 1,
        "model/text_norm/bias": 2,
    }


def test_of_several_encoders_it_is_that_of_the_text():
    names = {f"model/encoders/{name}/layers/0/ffn/bias": name for name in ("audio", "text")}
    assert {albert_rules.in_file(name) for name in names} == {"encoder/layers/0/ffn/bias"}
    assert albert_rules.named_as_file(names, "here") == {
        "model/encoders/audio/layers/0/ffn/bias": "audio",
        "encoder/layers/0/ffn/bias": "text",
    }
    with pytest.raises(ValueError, match="here: its text encoder has several layers"):
        albert_rules.named_as_file(names | {"model/encoders/text/layers/1/ffn/bias": 0}, "here")
