"""Audio files of which a corpus does not say where they lie, and lists in the cells of a CSV."""

import ast
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from atbert_jax.input_pipeline.audio import formats
from atbert_jax.input_pipeline.manifest.table_file import ManifestError


def audio_files(root: Path) -> list[str]:
    """The paths of all audio files below a folder, relative to it, in order."""
    return formats.in_folder(root)


def by_name(root: Path) -> dict[str, str]:
    """The paths of all audio files below a folder by their names without extension."""
    return {os.path.basename(path).rpartition(".")[0]: path for path in audio_files(root)}  # noqa: PTH119


def first(found: Mapping[str, str], names: Iterable[str]) -> str:
    """The path of the first name that is there, or what it would be of the first name.

    Args:
        found: Paths by name (see `by_name`).
        names: What the file may be called, without extension; the most usual first.
    """
    names = tuple(names)
    return next((found[name] for name in names if name in found), f"{names[0]}.wav")


def items(cell: str, where: str) -> list[str]:
    """The strings of a list as Python writes it, of which a cell may be empty.

    Args:
        cell: As in "['slow', 'sad']".
        where: The file and the row, for errors.

    Raises:
        ManifestError: if the cell holds anything else.
    """
    try:
        found = ast.literal_eval(cell) if cell.strip() else []
    except (ValueError, SyntaxError):
        found = None
    if not isinstance(found, list):
        raise ManifestError(f"{where}: {cell[:60]!r} is no list; get the official table anew")
    return [str(item).strip() for item in found]
