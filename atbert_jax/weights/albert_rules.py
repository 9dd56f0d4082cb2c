"""ALBERT (Lan et al. 2019) as Hugging Face's transformers keep it, v1 and v2 of any size."""

import dataclasses
import re
from typing import Any

import jax

from atbert_jax.weights import engine, text_encoder
from atbert_jax.weights.engine import Arrays, Conversion, Rule, layer_norm, linear
from atbert_jax.weights.files import Source

FAMILY = "albert"
# Where a converted folder has the shared layer, and how a trunk names each of its copies: of the
# one encoder, or of several, and of as many layers as it has of its own.
LAYER = "encoder/layers/0/"
TRUNK_LAYER = re.compile(r"^model/encoders/(?P<encoder>\w+)/layers/\d+/")

_THEIR_LAYER = "encoder.albert_layer_groups.0.albert_layers.0."
WORDS, POSITIONS = "model/word_embeddings/embedding", "model/text_positions"

RULES = [
    Rule(text_encoder.WORDS, WORDS),
    Rule(text_encoder.POSITIONS, POSITIONS),
    *layer_norm("embeddings.LayerNorm", "model/text_norm"),
    *linear("encoder.embedding_hidden_mapping_in", "model/text_projection"),
    *linear(f"{_THEIR_LAYER}attention.query", f"{LAYER}query"),
    *linear(f"{_THEIR_LAYER}attention.key", f"{LAYER}key"),
    *linear(f"{_THEIR_LAYER}attention.value", f"{LAYER}value"),
    *linear(f"{_THEIR_LAYER}attention.dense", f"{LAYER}attention_output"),
    *layer_norm(f"{_THEIR_LAYER}attention.LayerNorm", f"{LAYER}attention_norm"),
    *linear(f"{_THEIR_LAYER}ffn", f"{LAYER}ffn"),
    *linear(f"{_THEIR_LAYER}ffn_output", f"{LAYER}ffn_output"),
    *layer_norm(f"{_THEIR_LAYER}full_layer_layer_norm", f"{LAYER}output_norm"),
]
HEAD_RULES = text_encoder.head_rules("predictions.", "predictions.")
UNUSED = text_encoder.UNUSED | {
    r"^predictions\.decoder\.": "the same as the word embeddings and predictions.bias",
    r"^sop_classifier\.": "the head of sentence order prediction",
}
# What the model's config must have equal.
SIZES = ("hidden", "heads", "ffn", "embedding", "activation")


def from_pytorch(source: Source, name: str) -> Conversion:
    """ALBERT's arrays by our names.

    Args:
        source: Of `AlbertModel` or a model with a head on it.
        name: What to call the source.

    Raises:
        ValueError: if it is no ALBERT, or one that this encoder cannot be.
    """
    activation = text_encoder.require(source, FAMILY, "gelu_new")
    for field in ("num_hidden_groups", "inner_group_num"):
        if source.config.get(field, 1) != 1:
            raise ValueError(
                f"{text_encoder.where(source)}: {field} is {source.config[field]}, but the encoder"
                " here has one layer that is applied again and again; use an ALBERT with one group"
                " of one layer"
            )
    arrays = engine.without_prefix(source.arrays, "albert.")
    text_encoder.untie(source, arrays, text_encoder.tied("predictions."))
    found = text_encoder.to_ours(source, arrays, POSITIONS, RULES, HEAD_RULES, UNUSED)
    about = _about(source, found.arrays) | {"source": name, "activation": activation}
    return dataclasses.replace(found, about=about)


def _about(source: Source, arrays: Arrays) -> dict[str, Any]:
    """Sizes, most of them by the arrays, which `config.json` must agree with."""
    vocabulary, embedding = arrays[WORDS].shape
    hidden, ffn = arrays[f"{LAYER}ffn/kernel"].shape
    sizes = {
        "vocab_size": vocabulary,
        "embedding_size": embedding,
        "hidden_size": hidden,
        "intermediate_size": ffn,
    }
    text_encoder.require_sizes(source, sizes)
    return {
        "family": FAMILY,
        "hidden": hidden,
        "heads": text_encoder.count(source, "num_attention_heads"),
        "layers": text_encoder.count(source, "num_hidden_layers"),
        "ffn": ffn,
        "embedding": embedding,
        "vocabulary": vocabulary,
        "max_positions": len(arrays[POSITIONS]),
    }


def to_pytorch(model: engine.Model) -> Conversion:
    """A trained model's text side as transformers' `AlbertModel`.

    There are as many positions as the model has, and longer texts are refused by transformers too.
    There is no pooler. The head of masked language modelling comes along where the model has it.

    Args:
        model: From the folder of a run.

    Raises:
        ValueError: if the model has no such parts, or more than one layer in its text encoder.
    """
    where = str(model.workdir)
    arrays = named_as_file(jax.device_get(engine.flat(model.params)), where)
    return text_encoder.to_theirs(
        model,
        arrays,
        RULES,
        HEAD_RULES,
        family=FAMILY,
        classes=("AlbertModel", "AlbertForMaskedLM"),
        width=arrays[WORDS].shape[1],
        positions=POSITIONS,
        config={
            "num_hidden_groups": 1,
            "inner_group_num": 1,
            "embedding_size": model.config.model.embedding,
        },
    )


def named_as_file(arrays: Arrays, where: str) -> Arrays:
    """A trunk's arrays with its text encoder's layer under the name of a converted folder.

    Raises:
        ValueError: if the text encoder has more than one layer of its own.
    """
    named: Arrays = {}
    for name, array in arrays.items():
        found = TRUNK_LAYER.match(name)
        of_text = found and found["encoder"] in ("shared", "text")
        target = in_file(name) if of_text else name
        if target in named:
            raise ValueError(f"{where}: its text encoder has several layers, an ALBERT has one")
        named[target] = array
    return named


def in_file(name: str) -> str:
    """The name in a converted folder of what a trunk calls `name`."""
    return TRUNK_LAYER.sub(LAYER, name)
