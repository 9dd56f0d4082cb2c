"""ALBERT (Lan et al. 2019) as Hugging Face's transformers keep it, v1 and v2 of any size."""

import re
from typing import Any

import jax
import numpy as np

from atbert_jax.weights import engine, text_encoder
from atbert_jax.weights.engine import Arrays, Conversion, Rule, layer_norm, linear
from atbert_jax.weights.files import Source
from atbert_jax.weights.text_encoder import ACTIVATIONS, HEAD

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
# Of the masked language objective, where the source has it.
HEAD_RULES = [
    *linear("predictions.dense", f"{HEAD}dense"),
    *layer_norm("predictions.LayerNorm", f"{HEAD}norm"),
    Rule("predictions.bias", f"{HEAD}output_bias"),
]
UNUSED = text_encoder.UNUSED | {
    r"^predictions\.decoder\.": "the same as the word embeddings and predictions.bias",
    r"^sop_classifier\.": "the head of sentence order prediction",
}
# Arrays that some files hold twice, or under their second name alone.
TIED = {
    "predictions.decoder.weight": text_encoder.WORDS,
    "predictions.decoder.bias": "predictions.bias",
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
    text_encoder.untie(source, arrays, TIED)
    rules, missing = RULES, {}
    if any(rule.theirs in arrays for rule in HEAD_RULES):
        rules = RULES + HEAD_RULES
    else:
        missing = {rule.ours: "the source has no such head" for rule in HEAD_RULES}
    converted, taken, unused = engine.to_ours(str(source.path), rules, arrays, UNUSED)
    converted[POSITIONS] = converted[POSITIONS] + text_encoder.type_row(source, arrays)
    about = _about(source, converted) | {"source": name, "activation": activation}
    return Conversion(converted, about, taken, unused, missing)


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
        "heads": source.config["num_attention_heads"],
        "layers": source.config["num_hidden_layers"],
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
    head = any(rule.ours in arrays for rule in HEAD_RULES)
    target, taken, unused = engine.to_theirs(
        where, RULES + HEAD_RULES if head else RULES, arrays, "no part of an ALBERT"
    )
    target[text_encoder.TYPES] = np.zeros((2, arrays[WORDS].shape[1]), np.float32)
    config = {
        "architectures": ["AlbertForMaskedLM" if head else "AlbertModel"],
        "model_type": FAMILY,
        "hidden_size": model.config.model.hidden,
        "num_attention_heads": model.config.model.heads,
        "num_hidden_layers": model.config.model.layers,
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "intermediate_size": model.config.model.ffn,
        "embedding_size": model.config.model.embedding,
        "hidden_act": ACTIVATIONS[model.config.model.activation][0],
        "vocab_size": model.contract.vocabulary,
        "max_position_embeddings": len(arrays[POSITIONS]),
        "type_vocab_size": 2,
        "layer_norm_eps": text_encoder.EPSILON,
    }
    prefixed = {
        name if name.startswith("predictions.") else f"albert.{name}": array
        for name, array in target.items()
    }
    return Conversion(prefixed, config, taken, unused, {"pooler": "transformers make a new one"})


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
