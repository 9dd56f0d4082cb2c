"""WordPiece tokenizers, of BERT and those like it, from the files that they come with."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import BertTokenizer, PreTrainedTokenizerBase

VOCABULARY_FILE, TOKENIZER_FILE, SETTINGS_FILE = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
)
SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Places that BERT's vocabularies keep free.
UNUSED = re.compile(r"\[unused\d+\]")
# Settings of the tokenizer, by what `tokenizer.json` calls them.
_SETTINGS = {
    "lowercase": "do_lower_case",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
}


def is_wordpiece(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer is one of these."""
    return type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece"


def is_file_of_wordpiece(path: Path) -> bool:
    """Whether a `tokenizer.json` holds a WordPiece vocabulary."""
    model = json.loads(path.read_text(encoding="utf-8")).get("model", {})
    # Old files do not name the type; of those with a dict only BPE has merges.
    return isinstance(model.get("vocab"), dict) and "merges" not in model


def load(path: Path) -> BertTokenizer:
    """Loads a WordPiece tokenizer.

    Whether it lowercases, `tokenizer_config.json` says, or else `tokenizer.json`, or else the
    vocabulary: one with capital letters is for text as it is.

    Args:
        path: A `vocab.txt`, or a folder with one or with a `tokenizer.json`.

    Returns:
        The tokenizer; `[MASK]` written out in a text is plain characters.

    Raises:
        ValueError: if the vocabulary lacks one of BERT's special pieces.
    """
    folder = path if path.is_dir() else path.parent
    settings: dict[str, Any] = {}
    if path.is_dir() and (path / TOKENIZER_FILE).is_file():
        stored = json.loads((path / TOKENIZER_FILE).read_text(encoding="utf-8"))
        vocabulary, normalizer = stored["model"]["vocab"], stored.get("normalizer") or {}
        settings = {name: normalizer[key] for key, name in _SETTINGS.items() if key in normalizer}
    else:
        file = path / VOCABULARY_FILE if path.is_dir() else path
        pieces = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        vocabulary = {piece.removesuffix("\r"): number for number, piece in enumerate(pieces)}
        settings["do_lower_case"] = not any(
            piece != piece.lower() for piece in vocabulary if not piece.startswith("[")
        )
    if (folder / SETTINGS_FILE).is_file():
        given = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        settings |= {name: given[name] for name in _SETTINGS.values() if name in given}
    if lacking := [piece for piece in SPECIAL_PIECES if piece not in vocabulary]:
        raise ValueError(
            f"{path}: the vocabulary lacks {' '.join(lacking)}, so it is not that of a BERT; give"
            " the vocab.txt or tokenizer.json of one"
        )
    return _bert_class()(vocab=vocabulary, split_special_tokens=True, **settings)


def _bert_class() -> type[BertTokenizer]:
    """Imports transformers only where a tokenizer is needed: it takes more than a second."""
    # Without PyTorch the import prints advice about models, and no model of theirs is used here.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import BertTokenizer

    return BertTokenizer
