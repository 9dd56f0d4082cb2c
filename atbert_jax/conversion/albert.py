"""ALBERT (Lan et al. 2019) as Hugging Face's transformers keep it, v1 and v2 of any size.

ALBERT adds a token-type vector to every token; with one text there is one type, 0, so that its row
is added into the positions, which is exact. On the way back the token types are zeros.
"""

import re
from typing import Any

import jax
import numpy as np

from atbert_jax.conversion import engine
from atbert_jax.conversion.engine import Arrays, Conversion, Rule, layer_norm, linear
from atbert_jax.conversion.files import Source
from atbert_jax.training.trained import Trained

FAMILY = "albert"
# Where a converted folder has the shared layer, and how a trunk names each of its copies: of the
# one encoder, or of several, and of as many layers as it has of its own.
LAYER = "encoder/layers/0/"
TRUNK_LAYER = re.compile(r"^model/encoders/(?P<encoder>\w+)/layers/\d+/")

_THEIR_LAYER = "encoder.albert_layer_groups.0.albert_layers.0."
_HEAD = "objectives/masked_language/"
WORDS, POSITIONS = "model/word_embeddings/embedding", "model/text_positions"
_THEIR_WORDS, _THEIR_POSITIONS, _THEIR_TYPES = (
    f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")
)

RULES = [
    Rule(_THEIR_WORDS, WORDS),
    Rule(_THEIR_POSITIONS, POSITIONS),
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
    *linear("predictions.dense", f"{_HEAD}dense"),
    *layer_norm("predictions.LayerNorm", f"{_HEAD}norm"),
    Rule("predictions.bias", f"{_HEAD}output_bias"),
]
UNUSED = {
    r"^embeddings\.token_type_embeddings\.": "row 0 is added into the positions",
    r"^embeddings\.(position_ids|token_type_ids)$": "a buffer of constants",
    r"^predictions\.decoder\.": "the same as the word embeddings and predictions.bias",
    r"^pooler\.": "the summary here is the hidden state of [CLS] itself",
    r"^sop_classifier\.": "the head of sentence order prediction",
    r"^(classifier|qa_outputs)\.": "the head of a fine-tuned task",
}
# Arrays that some files hold twice, or under their second name alone.
TIED = {
    "predictions.decoder.weight": _THEIR_WORDS,
    "predictions.decoder.bias": "predictions.bias",
}
# By our name of the activation, the names that transformers have for it.
ACTIVATIONS = {"gelu_tanh": ("gelu_new", "gelu_pytorch_tanh"), "gelu": ("gelu",)}
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
    _require_encoder(source)
    arrays = engine.without_prefix(source.arrays, "albert.")
    for copy, original in TIED.items():
        if copy not in arrays:
            continue
        if not np.array_equal(arrays[copy], arrays.setdefault(original, arrays[copy])):
            raise ValueError(f"{source.path}: {copy} is not {original}, but they are tied here")
    rules, missing = RULES, {}
    if any(rule.theirs in arrays for rule in HEAD_RULES):
        rules = RULES + HEAD_RULES
    else:
        missing = {rule.ours: "the source has no such head" for rule in HEAD_RULES}
    converted, taken, unused = engine.to_ours(str(source.path), rules, arrays, UNUSED)
    if _THEIR_TYPES not in arrays:
        raise ValueError(f"{source.path} lacks {_THEIR_TYPES}; is the file whole?")
    converted[POSITIONS] = converted[POSITIONS] + arrays[_THEIR_TYPES][0].astype(np.float32)
    return Conversion(converted, _about(source, converted, name), taken, unused, missing)


def _require_encoder(source: Source) -> None:
    """Checks in `config.json` that the encoder here can be this one."""
    config, where = source.config, f"{source.path.parent}/config.json"
    if config.get("model_type") != FAMILY:
        raise ValueError(
            f"{where}: not there, or not that of an ALBERT (model_type"
            f" {config.get('model_type')!r}); the number of heads and layers is in no other place"
        )
    for field in ("num_hidden_groups", "inner_group_num"):
        if config.get(field, 1) != 1:
            raise ValueError(
                f"{where}: {field} is {config[field]}, but the encoder here has one layer that is"
                " applied again and again; use an ALBERT with one group of one layer"
            )
    if config.get("layer_norm_eps", 1e-12) != 1e-12:
        raise ValueError(f"{where}: layer_norm_eps is {config['layer_norm_eps']}, here it is 1e-12")
    if _activation(config) is None:
        raise ValueError(f"{where}: hidden_act is {config['hidden_act']!r}; only GELU is here")


def _activation(config: dict[str, Any]) -> str | None:
    """Our name of the activation."""
    given = config.get("hidden_act", "gelu_new")
    return next((ours for ours, theirs in ACTIVATIONS.items() if given in theirs), None)


def _about(source: Source, arrays: Arrays, name: str) -> dict[str, Any]:
    """Sizes, most of them by the arrays, which `config.json` must agree with."""
    config, where = source.config, f"{source.path.parent}/config.json"
    vocabulary, embedding = arrays[WORDS].shape
    hidden, ffn = arrays[f"{LAYER}ffn/kernel"].shape
    sizes = {
        "vocab_size": vocabulary,
        "embedding_size": embedding,
        "hidden_size": hidden,
        "intermediate_size": ffn,
    }
    for field, size in sizes.items():
        if config.get(field) != size:
            raise ValueError(f"{where}: {field} is {config.get(field)}, but {size} in the weights")
    return {
        "family": FAMILY,
        "source": name,
        "hidden": hidden,
        "heads": config["num_attention_heads"],
        "layers": config["num_hidden_layers"],
        "ffn": ffn,
        "embedding": embedding,
        "activation": _activation(config),
        "vocabulary": vocabulary,
        "max_positions": len(arrays[POSITIONS]),
    }


def to_pytorch(model: Trained) -> Conversion:
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
    target[_THEIR_TYPES] = np.zeros((2, arrays[WORDS].shape[1]), np.float32)
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
        "layer_norm_eps": 1e-12,
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
