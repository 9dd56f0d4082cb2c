"""Folders as `ClapModel.save_pretrained` and its processor write them, with a tiny tokenizer."""

import io
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from safetensors.numpy import save_file

from atbert_jax.conversion import convert_folder
from atbert_jax.training.state import define
from atbert_jax.weights import clap_rules, engine
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


def random_folder(folder: Path, fused: bool) -> Path:
    """As transformers write it, without PyTorch: random arrays by the rules' names."""
    folder.mkdir(parents=True)
    settings = clap_sizes.settings(fused) | {"model_type": "clap"}
    (folder / "config.json").write_text(json.dumps(settings))
    describe(folder, fused)
    _, *trees = define(clap_sizes.config(fused), clap_sizes.contract(fused))
    shapes = engine.flat(*trees)
    rng = np.random.default_rng(0)
    arrays = {}
    rules = clap_rules.rules(clap_sizes.TEXT["layers"], clap_sizes.EAR["depths"], fused=fused)
    for rule in rules:
        array = np.abs(rng.normal(size=shapes[rule.ours].shape)).astype(np.float32) / 4
        arrays[rule.theirs] = np.array(rule.to_theirs(array), order="C")
    hidden = clap_sizes.TEXT["hidden"]
    table = rng.normal(size=(clap_sizes.POSITIONS, hidden)).astype(np.float32)
    arrays[clap_rules.POSITIONS] = table
    arrays[clap_rules.TYPES] = np.ones((1, hidden), np.float32)
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def convert(source: Path, folder: Path) -> str:
    """Converts, and returns what is said."""
    console = Console(file=io.StringIO(), width=180)
    convert_folder.clap_from_pytorch(str(source), folder, console=console)
    return console.file.getvalue()
