"""Folders of sentence-transformers: a BERT, and how its states become the vector of a text."""

import dataclasses
from pathlib import Path
from typing import Any

from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.weights import bert_rules
from atbert_jax.weights.engine import Conversion
from atbert_jax.weights.files import Source

FAMILY = "sentence_transformer"
# What such a folder says of the text's way to its vector, and of its longest text.
MODULES, LENGTH = "modules.json", "sentence_bert_config.json"
MODE = "pooling_mode_"
MEAN = "mean_tokens"
# In `conversion.json`, beside what that of a BERT says.
SENTENCE = "sentence"


def from_pytorch(source: Source, name: str) -> Conversion:
    """The arrays of the BERT by our names; `sentence` of what it is `about` tells the rest.

    Args:
        source: The folder's.
        name: What to call it.

    Raises:
        ValueError: if it is none of sentence-transformers, its encoder is no BERT, or its vectors
            are not means of tokens.
    """
    sentence = _sentence(source.path.parent, source.config)
    found = bert_rules.from_pytorch(source, name)
    return dataclasses.replace(found, about=found.about | {SENTENCE: sentence})


def _sentence(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Whether vectors have length 1, and the number of tokens of the longest text."""
    file = folder / MODULES
    if not file.is_file():
        raise ValueError(
            f"{folder}: no {MODULES} here, which tells how states become a vector; give a folder"
            " that sentence-transformers wrote, or convert it as `bert`"
        )
    # A list, which becomes the only field of an object.
    wrapped = b'{"modules": ' + file.read_bytes() + b"}"
    modules = whole_file.parse_json(wrapped, str(file), "get it anew")["modules"]
    try:
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
        paths = [Path(module["path"]) for module in modules]
    except (TypeError, KeyError) as error:
        raise ValueError(f"{file}: no list of modules with type and path; get it anew") from error
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ValueError(
            f"{file}: the modules are {', '.join(kinds)}; only Transformer, Pooling and Normalize,"
            " in this order, are here"
        )
    if paths[0] != Path():
        raise ValueError(
            f"{file}: the encoder is in {paths[0]}; move its files beside {MODULES}, with"
            ' "path": "" there'
        )
    _require_mean(folder / paths[1] / "config.json")
    length = folder / LENGTH
    told = whole_file.read_json(length, "get it anew") if length.is_file() else {}
    positions = config.get("max_position_embeddings", 512)
    longest = min(told.get("max_seq_length") or positions, positions)
    return {"normalized": len(kinds) > 2, "max_tokens": longest}


def _require_mean(file: Path) -> None:
    if not file.is_file():
        raise ValueError(f"{file}: not there, and it tells how tokens are pooled; get it anew")
    config = whole_file.read_json(file, "get it anew")
    modes = [key.removeprefix(MODE) for key, on in config.items() if key.startswith(MODE) and on]
    if modes != [MEAN]:
        raise ValueError(
            f"{file}: pools by {' and '.join(modes) or 'nothing that is known here'}; only the mean"
            " of tokens is here"
        )
