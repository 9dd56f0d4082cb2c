"""Byte-level BPE tokenizers, of RoBERTa and those like it, from the `tokenizer.json` they have."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from atbert_jax.input_pipeline.text.wordpiece import TOKENIZER_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, RobertaTokenizer

SPECIAL_PIECES = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
# What byte-level BPE writes for a space, which begins most words.
SPACE = "\u0120"


def is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer is one of these."""
    return type(tokenizer.backend_tokenizer.model).__name__ == "BPE"


def is_file_of_byte_level(path: Path) -> bool:
    """Whether a `tokenizer.json` holds byte-level BPE."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    splitter = stored.get("pre_tokenizer") or {}
    return "merges" in stored.get("model", {}) and splitter.get("type") == "ByteLevel"


def load(folder: Path) -> RobertaTokenizer:
    """Loads a byte-level BPE tokenizer, whose texts lie between `<s>` and `</s>`.

    Args:
        folder: With a `tokenizer.json`.

    Returns:
        The tokenizer; `<mask>` written out in a text is plain characters.

    Raises:
        ValueError: if the vocabulary lacks one of RoBERTa's special pieces, or texts are changed in
            a way that is not RoBERTa's before they are split.
    """
    path = folder / TOKENIZER_FILE
    stored = json.loads(path.read_text(encoding="utf-8"))
    model, added = stored["model"], stored.get("added_tokens", [])
    vocabulary = model["vocab"] | {each["content"]: each["id"] for each in added}
    if lacking := [piece for piece in SPECIAL_PIECES if piece not in vocabulary]:
        raise ValueError(
            f"{path}: the vocabulary lacks {' '.join(lacking)}, so it is not RoBERTa's; give the"
            f" {TOKENIZER_FILE} of one"
        )
    if stored.get("normalizer"):
        raise ValueError(
            f"{path}: the tokenizer normalizes texts, which RoBERTa's does not; give the"
            f" {TOKENIZER_FILE} of one"
        )
    merges = [
        tuple(each) if isinstance(each, list) else tuple(each.split(" ", 1))
        for each in model["merges"]
    ]
    return _roberta_class()(
        vocab=vocabulary,
        merges=merges,
        add_prefix_space=bool(stored["pre_tokenizer"].get("add_prefix_space")),
        split_special_tokens=True,
    )


def _roberta_class() -> type[RobertaTokenizer]:
    """Imports transformers only where a tokenizer is needed: it takes more than a second."""
    # Without PyTorch the import prints advice about models, and no model of theirs is used here.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import RobertaTokenizer

    return RobertaTokenizer
