"""Folders as sentence-transformers write them, with a tiny BERT of random arrays."""

import json
from pathlib import Path

from tests import pytorch

WORDS = ("slow", "fast", "piano", "drums", "a", "and", "with", "strings", "soft", "loud")
MODULES = ("Transformer", "Pooling", "Normalize")


def describe(folder: Path, *, modules=MODULES, pooling: str = "mean_tokens", longest: int = 9):
    """Writes what there is beside the encoder, and returns the folder."""
    paths = ("", "1_Pooling", "2_Normalize")
    kinds = [f"sentence_transformers.models.{each}" for each in modules]
    table = [
        {"idx": n, "name": str(n), "path": path, "type": kind}
        for n, (path, kind) in enumerate(zip(paths, kinds, strict=False))
    ]
    (folder / "modules.json").write_text(json.dumps(table))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = ("cls_token", "mean_tokens", "max_tokens")
    settings = {f"pooling_mode_{mode}": mode == pooling for mode in modes}
    settings["word_embedding_dimension"] = pytorch.HIDDEN
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": longest}))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    pieces += [f"[unused{n}]" for n in range(pytorch.VOCABULARY - len(pieces))]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    return folder


def make(folder: Path, **described: object) -> Path:
    """A whole one, whose words differ more than its positions."""
    arrays = pytorch.bert(head=False)
    arrays["embeddings.word_embeddings.weight"] *= 20
    return describe(pytorch.save(folder, arrays, pytorch.BERT_CONFIG), **described)
