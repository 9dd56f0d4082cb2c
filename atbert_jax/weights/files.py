"""Weights on disk: PyTorch's files, and the folder that a conversion writes."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from atbert_jax import choices
from atbert_jax.input_pipeline.text import tokenization, whole_file
from atbert_jax.weights import torch_file
from atbert_jax.weights.engine import Arrays, Conversion

WEIGHTS, ABOUT = "weights.safetensors", "conversion.json"
# Of a Hugging Face folder, in the order of preference: the first one cannot hold a program.
PYTORCH_WEIGHTS, PYTORCH_CONFIG = ("model.safetensors", "pytorch_model.bin"), "config.json"
# Of a sentence transformer, see `sentence_rules`.
SENTENCE_FILES = (
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "*_Pooling/config.json",
)
# Of a CLAP: what it hears.
FRONT_END = "preprocessor_config.json"
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")


@dataclasses.dataclass(frozen=True)
class Source:
    """What PyTorch's files hold.

    Attributes:
        path: The file of the weights.
        arrays: By PyTorch's names.
        config: `config.json` beside them; empty where there is none.
    """

    path: Path
    arrays: Arrays
    config: dict[str, Any]


def read_pytorch(name_or_path: str) -> Source:
    """Reads weights of PyTorch.

    Only a name that is no local path is looked up on the Hugging Face hub.

    Args:
        name_or_path: A folder with `model.safetensors` or `pytorch_model.bin`, one file of weights,
            or a hub name such as `albert/albert-base-v2`.

    Raises:
        ValueError: if a file does not hold arrays by name.
        OSError: if there is no such file, folder or hub name.
    """
    path = Path(name_or_path)
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        folder = path = _download(name_or_path)
    if path.is_dir():
        path = next((path / name for name in PYTORCH_WEIGHTS if (path / name).is_file()), path)
    if path.is_dir():
        raise FileNotFoundError(
            f"{path}: neither {' nor '.join(PYTORCH_WEIGHTS)} in this folder; give one that"
            " `save_pretrained` wrote in one piece, or the file itself"
        )
    config = folder / PYTORCH_CONFIG
    return Source(
        path,
        _read_safetensors(path) if path.suffix == ".safetensors" else torch_file.read(path),
        whole_file.read_json(config, "get it anew") if config.is_file() else {},
    )


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer is there."""
    return any((folder / name).is_file() for name in tokenization.TOKENIZER_FILES)


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer that is there, or None."""
    return tokenization.load_tokenizer(folder) if has_tokenizer(folder) else None


def _download(name: str) -> Path:
    """The files of a hub name, from the hub or its cache."""
    if name.startswith((".", "~", "/")) or name.count("/") > 1 or Path(name).suffix in SUFFIXES:
        raise FileNotFoundError(
            f"{name}: no such file or folder; check the path, or give a hub name such as"
            " albert/albert-base-v2"
        )
    from huggingface_hub import snapshot_download

    try:
        wanted = [PYTORCH_CONFIG, FRONT_END, *SENTENCE_FILES, *tokenization.HUB_FILES]
        folder = Path(snapshot_download(name, allow_patterns=[*wanted, PYTORCH_WEIGHTS[0]]))
        if not (folder / PYTORCH_WEIGHTS[0]).is_file():
            snapshot_download(name, allow_patterns=PYTORCH_WEIGHTS[1])
    except (OSError, ValueError) as error:
        raise OSError(
            f"{name}: no such file or folder, and not to be had from the hub"
            f" ({str(error).splitlines()[0]}); check the name and the network, or give a local path"
        ) from error
    return folder


def _read_safetensors(path: Path) -> Arrays:
    try:
        return safetensors.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error}); get it anew") from error


def require_new(folder: Path) -> None:
    """Checks that nothing will be overwritten.

    Raises:
        ValueError: if the folder has something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: exists already; give a new folder, or remove it first")


@contextlib.contextmanager
def creating(folder: Path) -> Iterator[Path]:
    """A draft of a new folder, which gets its name when everything is in it.

    If the work fails, nothing is left behind; what a killed process has left, goes.

    Raises:
        ValueError: if the folder has something in it.
        OSError: if it cannot be made.
    """
    require_new(folder)
    draft = folder.absolute().with_name(f".{folder.absolute().name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.replace(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write(folder: Path, conversion: Conversion, tokenizer: Any, *, pytorch: bool) -> None:
    """Writes the arrays, what is known about them, and the tokenizer's files, if any.

    Args:
        folder: Of `creating`.
        conversion: What to write.
        tokenizer: Of the texts; None where there is none.
        pytorch: Write `model.safetensors` and `config.json`, as PyTorch's programs want them,
            instead of `weights.safetensors` and `conversion.json`.
    """
    weights, about = (PYTORCH_WEIGHTS[0], PYTORCH_CONFIG) if pytorch else (WEIGHTS, ABOUT)
    # The writer takes the bytes as they lie in memory, whatever the strides say. Not by
    # `ascontiguousarray`, which makes a row of a single number.
    arrays = {name: np.asarray(array, order="C") for name, array in conversion.arrays.items()}
    # transformers reads no file that does not say `pt`.
    safetensors.save_file(arrays, folder / weights, metadata={"format": "pt"})
    if pytorch:  # whose readers need not know of our checksum
        whole_file.write(folder / about, json.dumps(conversion.about, indent=2) + "\n")
    else:
        whole_file.write_json(folder / about, conversion.about)
    if tokenizer is not None:
        tokenization.save_tokenizer(tokenizer, folder)


def read_about(folder: Path, families: Sequence[str]) -> dict[str, Any]:
    """`conversion.json` of a converted folder.

    Raises:
        ValueError: if the folder is none, or of no such family.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise ValueError(
            f"{folder}: no {ABOUT} here; make this folder with `atbert convert"
            f" {families[0]} SOURCE {folder}`"
        )
    about = whole_file.read_json(path, "convert it anew")
    choices.require(f"{folder}: family", about.get("family"), families)
    return about


def read_arrays(folder: Path) -> Arrays:
    """The arrays of a converted folder, by our names."""
    return _read_safetensors(folder / WEIGHTS)
