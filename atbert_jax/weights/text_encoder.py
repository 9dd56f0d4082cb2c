"""What conversions of Hugging Face's text encoders have in common.

Each adds a token-type vector to every token; with one text there is one type, 0, so that its row is
added into the positions, which is exact. On the way back the token types are zeros.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from atbert_jax.weights.engine import Arrays
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
