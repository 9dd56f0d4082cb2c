"""Folders as `ClapModel.save_pretrained` and its processor write them, with a tiny tokenizer."""

import json
from pathlib import Path

from tests.models import clap_sizes

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
# Of a byte-level vocabulary: \u0120 is a space.
LETTERS = [*"abcdefghijklmnoprstuwyz", "\u0120"]
MERGES = (("\u0120", "p"), ("l", "o"), ("lo", "w"), ("o", "u"))


def tokenizer(pieces: int = clap_sizes.VOCABULARY) -> dict:
    """What a RoBERTa's `tokenizer.json` holds."""
    words = [*SPECIAL, *LETTERS, *("".join(pair) for pair in MERGES)]
    words += [f"<unused{n}>" for n in range(pieces - len(words))]
    named = [{"id": n, "content": piece, "special": True} for n, piece in enumerate(SPECIAL)]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "added_tokens": [each | flags for each in named],
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": ["</s>", 2],
            "cls": ["<s>", 0],
            "trim_offsets": True,
            "add_prefix_space": False,
        },
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "vocab": {piece: n for n, piece in enumerate(words)},
            "merges": [" ".join(pair) for pair in MERGES],
        },
    }


def front_end(fused: bool) -> dict:
    """What `preprocessor_config.json` says."""
    return {
        "feature_size": 64,
        "sampling_rate": 48_000,
        "hop_length": 480,
        "max_length_s": 10,
        "fft_window_size": 1024,
        "frequency_min": 50,
        "frequency_max": 14_000,
        "top_db": None,
        "truncation": "fusion" if fused else "rand_trunc",
        "padding": "repeatpad",
    }


def describe(folder: Path, fused: bool) -> Path:
    """Writes what there is beside the weights and `config.json`, and returns the folder."""
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(front_end(fused)))
    return folder
