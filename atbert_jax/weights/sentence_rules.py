"""Folders of sentence-transformers: a BERT, and how its states become the vector of a text."""

import dataclasses
from pathlib import Path
from typing import Any

from atbert_jax.input_pipeline.text import whole_file, wordpiece
from atbert_jax.weights import bert_rules, files
from atbert_jax.weights.engine import Conversion
from atbert_jax.weights.files import Source

FAMILY = "sentence_transformer"
# What such a folder says of the text's way to its vector, and of its longest text.
MODULES, LENGTH = "modules.json", "sentence_bert_config.json"
# And of what is put before each text.
PROMPTS = "config_sentence_transformers.json"
# Whose modules they are; a folder can bring programs of its own, which are not run here.
LIBRARY = "sentence_transformers."
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
        ValueError: if it is none of sentence-transformers, its encoder is no BERT, its vectors are
            not means of tokens, or its texts are changed before they are read.
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
        types = [str(module["type"]) for module in modules]
        paths = [Path(module["path"]) for module in modules]
    except (TypeError, KeyError) as error:
        raise ValueError(f"{file}: no list of modules with type and path; get it anew") from error
    # The last word is the module's; before it is where versions of the library keep it.
    kinds = [each.rpartition(".")[2] if each.startswith(LIBRARY) else each for each in types]
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
    _require_plain_texts(folder)
    return {"normalized": len(kinds) > 2, "max_tokens": _longest(folder, config)}


def _longest(folder: Path, config: dict[str, Any]) -> int:
    """The most tokens of a text: as the folder says, else its tokenizer, at most all positions."""
    asked = _told(folder / LENGTH).get("max_seq_length")
    if asked is None:
        asked = _told(folder / wordpiece.SETTINGS_FILE).get("model_max_length")
    found = [n for n in (asked, config.get("max_position_embeddings", 512)) if n is not None]
    if not all(isinstance(n, int) and n > 2 for n in found):
        raise ValueError(
            f"{folder}: the longest text has {' or '.join(map(repr, found))} tokens, by {LENGTH},"
            f" {wordpiece.SETTINGS_FILE} and config.json; get them anew"
        )
    return min(found)


def _require_plain_texts(folder: Path) -> None:
    """Refuses what changes each text before it is read, and is not here."""
    told = _told(folder / PROMPTS)
    name, prompts = told.get("default_prompt_name"), told.get("prompts")
    if name and (not isinstance(prompts, dict) or prompts.get(name) != ""):
        raise ValueError(
            f"{folder / PROMPTS}: puts the prompt {name!r} before each text, which is not done here"
        )
    if _told(folder / LENGTH).get("do_lower_case"):
        tokenizer = files.read_tokenizer(folder)
        if tokenizer is not None and tokenizer("AB").input_ids != tokenizer("ab").input_ids:
            raise ValueError(
                f"{folder / LENGTH}: do_lower_case is set, but the tokenizer tells capital letters"
                " apart; only its own lowercasing is here"
            )


def _told(file: Path) -> dict[str, Any]:
    return whole_file.read_json(file, "get it anew") if file.is_file() else {}


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
