"""What conversions of Hugging Face's text encoders have in common.

Each adds a token-type vector to every token; with one text there is one type, 0, so that its row is
added into the positions, which is exact. On the way back the token types are zeros.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atbert_jax.weights import engine
from atbert_jax.weights.engine import Arrays, Conversion, Rule, layer_norm, linear
from atbert_jax.weights.files import Source

WORDS, POSITIONS, TYPES = (
    f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")
)
# Of the masked language objective, where the source has it.
HEAD = "objectives/masked_language/"
UNUSED = {
    r"^embeddings\.token_type_embeddings\.": "row 0 is added into the positions",
    r"^embeddings\.(position_ids|token_type_ids)$": "a buffer of constants",
    r"^pooler\.": "the summary here is the hidden state of [CLS] itself",
    r"^(classifier|qa_outputs)\.": "the head of a fine-tuned task",
}
# By our name of the activation, the names that transformers have for it.
ACTIVATIONS = {"gelu_tanh": ("gelu_new", "gelu_pytorch_tanh"), "gelu": ("gelu",)}
EPSILON = 1e-12


def head_rules(bias: str, transform: str) -> list[Rule]:
    """Rules of the head of the masked language objective.

    Args:
        bias: PyTorch's prefix of its output bias.
        transform: Likewise, of the layer before.
    """
    return [
        *linear(f"{transform}dense", f"{HEAD}dense"),
        *layer_norm(f"{transform}LayerNorm", f"{HEAD}norm"),
        Rule(f"{bias}bias", f"{HEAD}output_bias"),
    ]


def tied(bias: str) -> dict[str, str]:
    """Arrays that some files hold twice, or under their second name alone; see `untie`."""
    return {f"{bias}decoder.weight": WORDS, f"{bias}decoder.bias": f"{bias}bias"}


def to_ours(
    source: Source,
    arrays: Arrays,
    positions: str,
    rules: Sequence[Rule],
    head: Sequence[Rule],
    unused: Mapping[str, str],
) -> Conversion:
    """The arrays by our names, with the row of the token type in the positions.

    Args:
        source: What was read.
        arrays: Of it, by PyTorch's names without a prefix.
        positions: Our name of the positions.
        rules: Of the encoder.
        head: Of the masked language objective, where the source has it.
        unused: Why what no rule names is left, by regular expressions.

    Returns:
        The conversion, which knows nothing `about` itself yet.
    """
    wanted, missing = [*rules, *head], {}
    if not any(rule.theirs in arrays for rule in head):
        wanted, missing = rules, {rule.ours: "the source has no such head" for rule in head}
    converted, taken, left = engine.to_ours(str(source.path), wanted, arrays, unused)
    converted[positions] = converted[positions] + type_row(source, arrays)
    return Conversion(converted, {}, taken, left, missing)


def to_theirs(
    model: engine.Model,
    arrays: Arrays,
    rules: Sequence[Rule],
    head: Sequence[Rule],
    *,
    family: str,
    classes: tuple[str, str],
    width: int,
    positions: str,
    config: Mapping[str, Any],
) -> Conversion:
    """A trained model's text side as transformers' model; the way back of `to_ours`.

    Args:
        model: From the folder of a run.
        arrays: Its own.
        rules: Of the encoder.
        head: Of the masked language objective, which comes along where the model has it.
        family: Of the model, and the prefix of its arrays.
        classes: What transformers call it without the head and with it.
        width: Of the token types.
        positions: Our name of the positions.
        config: What `config.json` says beside what all encoders have.
    """
    settings = model.config.model
    has_head = any(rule.ours in arrays for rule in head)
    target, taken, unused = engine.to_theirs(
        str(model.workdir),
        [*rules, *head] if has_head else rules,
        arrays,
        f"no part of {family.upper()}",
    )
    target[TYPES] = np.zeros((2, width), np.float32)
    about = {
        "architectures": [classes[has_head]],
        "model_type": family,
        "hidden_size": settings.hidden,
        "num_attention_heads": settings.heads,
        "num_hidden_layers": settings.layers,
        "intermediate_size": settings.ffn,
        "hidden_act": ACTIVATIONS[settings.activation][0],
        "vocab_size": model.contract.vocabulary,
        "max_position_embeddings": len(arrays[positions]),
        "type_vocab_size": 2,
        "layer_norm_eps": EPSILON,
    }
    of_head = {rule.theirs for rule in head}
    prefixed = {
        name if name in of_head else f"{family}.{name}": array for name, array in target.items()
    }
    pooler = {"pooler": "transformers make a new one"}
    return Conversion(prefixed, about | config, taken, unused, pooler)


def count(source: Source, field: str) -> int:
    """A number of layers or heads in `config.json`.

    Raises:
        ValueError: if it is none that the arrays can have.
    """
    given = source.config.get(field)
    if not isinstance(given, int) or not 0 < given <= max(len(source.arrays), 256):
        raise ValueError(
            f"{where(source)}: {field} is {given!r}, which the weights have not; get it anew"
        )
    return given


def where(source: Source) -> str:
    """The source's config, for messages."""
    return f"{source.path.parent}/config.json"


def require(source: Source, family: str, default: str) -> str:
    """Checks in `config.json` that the encoder here can be this one.

    Args:
        source: What was read.
        family: Its model_type.
        default: The activation where none is named.

    Returns:
        Our name of the activation.

    Raises:
        ValueError: if it is of another family, or has layers that are not here.
    """
    config = source.config
    if config.get("model_type") != family:
        raise ValueError(
            f"{where(source)}: not there, or not that of {family.upper()} (model_type"
            f" {config.get('model_type')!r}); the number of heads and layers is in no other place"
        )
    if config.get("layer_norm_eps", EPSILON) != EPSILON:
        raise ValueError(
            f"{where(source)}: layer_norm_eps is {config['layer_norm_eps']}, here it is {EPSILON}"
        )
    if config.get("is_decoder"):
        raise ValueError(
            f"{where(source)}: is_decoder is set, so that a token hears none behind it; the encoder"
            " here hears all"
        )
    given = config.get("hidden_act", default)
    found = next((ours for ours, theirs in ACTIVATIONS.items() if given in theirs), None)
    if found is None:
        raise ValueError(f"{where(source)}: hidden_act is {given!r}; only GELU is here")
    return found


def require_sizes(source: Source, sizes: Mapping[str, Any]) -> None:
    """Checks that `config.json` agrees with the arrays.

    Raises:
        ValueError: if not; the message has both numbers.
    """
    for field, size in sizes.items():
        if source.config.get(field) != size:
            raise ValueError(
                f"{where(source)}: {field} is {source.config.get(field)}, but {size} in the weights"
            )


def untie(source: Source, arrays: Arrays, tied: Mapping[str, str]) -> None:
    """Names arrays that some files hold twice, or under their second name alone.

    Args:
        source: For messages.
        arrays: By PyTorch's names; those that are there under a second name get their first.
        tied: First names by second names.

    Raises:
        ValueError: if two differ that are one here.
    """
    for copy, original in tied.items():
        if copy not in arrays:
            continue
        if not np.array_equal(arrays[copy], arrays.setdefault(original, arrays[copy])):
            raise ValueError(f"{source.path}: {copy} is not {original}, but they are tied here")


def type_row(source: Source, arrays: Arrays) -> np.ndarray:
    """The vector (E,) of the one token type there is.

    Raises:
        ValueError: if the source has none.
    """
    if TYPES not in arrays:
        raise ValueError(f"{source.path} lacks {TYPES}; is the file whole?")
    return arrays[TYPES][0].astype(np.float32)
