"""BERT (Devlin et al. 2018) as Hugging Face's transformers keep it, of any size.

A trunk has it as `text_encoder` (see `models.bert`), under the names of a converted folder.
"""

import dataclasses
import re
from typing import Any

import jax

from atbert_jax.weights import engine, text_encoder
from atbert_jax.weights.engine import Arrays, Conversion, Rule, layer_norm, linear
from atbert_jax.weights.files import Source

FAMILY = "bert"
PREFIX = "model/text_encoder/"
WORDS, POSITIONS = f"{PREFIX}word_embeddings/embedding", f"{PREFIX}positions"
LAYER = re.compile(rf"^{PREFIX}encoder/layers/(?P<number>\d+)/")

HEAD_RULES = text_encoder.head_rules("cls.predictions.", "cls.predictions.transform.")
UNUSED = text_encoder.UNUSED | {
    r"^cls\.predictions\.decoder\.": "the same as the word embeddings and cls.predictions.bias",
    r"^cls\.seq_relationship\.": "the head of next sentence prediction",
}
# The oldest files, the published ones among them, name the arrays of normalisations like this.
OLD_NAMES = {".gamma": ".weight", ".beta": ".bias"}
# What the model's config must have equal.
SIZES = ("hidden", "heads", "ffn", "activation")


def rules(layers: int) -> list[Rule]:
    """Those of a BERT with so many layers, without its heads."""
    found = [
        Rule(text_encoder.WORDS, WORDS),
        Rule(text_encoder.POSITIONS, POSITIONS),
        *layer_norm("embeddings.LayerNorm", f"{PREFIX}norm"),
    ]
    for number in range(layers):
        theirs, ours = f"encoder.layer.{number}.", f"{PREFIX}encoder/layers/{number}/"
        found += [
            *linear(f"{theirs}attention.self.query", f"{ours}query"),
            *linear(f"{theirs}attention.self.key", f"{ours}key"),
            *linear(f"{theirs}attention.self.value", f"{ours}value"),
            *linear(f"{theirs}attention.output.dense", f"{ours}attention_output"),
            *layer_norm(f"{theirs}attention.output.LayerNorm", f"{ours}attention_norm"),
            *linear(f"{theirs}intermediate.dense", f"{ours}ffn"),
            *linear(f"{theirs}output.dense", f"{ours}ffn_output"),
            *layer_norm(f"{theirs}output.LayerNorm", f"{ours}output_norm"),
        ]
    return found


def from_pytorch(source: Source, name: str) -> Conversion:
    """BERT's arrays by our names.

    Args:
        source: Of `BertModel` or a model with a head on it.
        name: What to call the source.

    Raises:
        ValueError: if it is no BERT, or one that this encoder cannot be.
    """
    activation = text_encoder.require(source, FAMILY, "gelu")
    positions = source.config.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise ValueError(
            f"{text_encoder.where(source)}: position_embedding_type is {positions!r}; the encoder"
            " here has absolute positions"
        )
    arrays = {_new_name(name): x for name, x in source.arrays.items()}
    arrays = engine.without_prefix(arrays, "bert.")
    text_encoder.untie(source, arrays, text_encoder.tied("cls.predictions."))
    wanted = rules(text_encoder.count(source, "num_hidden_layers"))
    found = text_encoder.to_ours(source, arrays, POSITIONS, wanted, HEAD_RULES, UNUSED)
    about = _about(source, found.arrays) | {"source": name, "activation": activation}
    return dataclasses.replace(found, about=about)


def _new_name(name: str) -> str:
    for old, new in OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _about(source: Source, arrays: Arrays) -> dict[str, Any]:
    """Sizes, most of them by the arrays, which `config.json` must agree with."""
    vocabulary, hidden = arrays[WORDS].shape
    ffn = arrays[f"{PREFIX}encoder/layers/0/ffn/kernel"].shape[1]
    sizes = {"vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": ffn}
    text_encoder.require_sizes(source, sizes)
    return {
        "family": FAMILY,
        "hidden": hidden,
        "heads": text_encoder.count(source, "num_attention_heads"),
        "layers": source.config["num_hidden_layers"],
        "ffn": ffn,
        "vocabulary": vocabulary,
        "max_positions": len(arrays[POSITIONS]),
    }


def first_layers(arrays: Arrays, count: int) -> Arrays:
    """The arrays of a converted folder without the layers behind the first `count`."""

    def is_kept(name: str) -> bool:
        found = LAYER.match(name)
        return not found or int(found["number"]) < count

    return {name: array for name, array in arrays.items() if is_kept(name)}


def to_pytorch(model: engine.Model) -> Conversion:
    """The BERT of a trained model as transformers' `BertModel`.

    There are as many positions as the model has, and there is no pooler. The head of masked
    language modelling comes along where the model has it.

    Args:
        model: From the folder of a run.

    Raises:
        ValueError: if the model has no BERT.
    """
    arrays = jax.device_get(engine.flat(model.params))
    return text_encoder.to_theirs(
        model,
        arrays,
        rules(model.config.model.layers),
        HEAD_RULES,
        family=FAMILY,
        classes=("BertModel", "BertForMaskedLM"),
        width=model.config.model.hidden,
        positions=POSITIONS,
        config={},
    )
