"""Audio files of which a corpus does not say where they lie, and lists in the cells of a CSV."""

import ast
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from atbert_jax.input_pipeline.audio import foreign, formats
from atbert_jax.input_pipeline.corpora.corpus import OUTSIDE
from atbert_jax.input_pipeline.manifest.places import Root
from atbert_jax.input_pipeline.manifest.table_file import ManifestError
from atbert_jax.input_pipeline.text.visible import is_text

# Why a file or folder is left out.
NO_TEXT = "its name is no UTF-8 text; rename it"


def audio_files(
    root: Path, left_out: dict[str, str] | None = None, *, allow_outside: bool = True
) -> list[str]:
    """The paths of all audio files below a folder that can be read here, relative to it, in order.

    Args:
        root: The folder.
        left_out: Gets why files and links are left out, by their paths.
        allow_outside: Follow links that lead out of the folder.
    """
    left_out = {} if left_out is None else left_out
    extensions = formats.EXTENSIONS + (formats.FOREIGN if foreign.is_there() else ())
    inside, found = None if allow_outside else Root(root), []
    for folder, names in folders(root, left_out, inside):
        for name in names:
            # Archives of macOS have files as ._name.mp3, which are no audio.
            if not name.lower().endswith(formats.ALL) or name.startswith("."):
                continue
            path = f"{folder}{name}"
            if not name.lower().endswith(extensions):
                left_out[path] = foreign.NEEDED
            elif not is_text(path):
                left_out[path] = NO_TEXT
            elif inside and not inside.holds(inside.path / path):
                left_out[path] = OUTSIDE
            else:
                found.append(path)
    return sorted(found)


def folders(
    root: Path, left_out: dict[str, str], inside: Root | None = None
) -> Iterator[tuple[str, list[str]]]:
    """The folders below one, as `a/b/` and '' for itself, with the names of their files.

    Each is there once, however many links lead to it: under its own path if that is below the
    root, else under that of a link.

    Args:
        root: The folder.
        left_out: Gets why links are not followed, by their paths.
        inside: What links must not lead out of; None lets them.
    """
    seen: set[tuple[int, int]] = set()
    waiting = deque([str(root)])
    while waiting:
        link = waiting.popleft()
        for folder, inner, names in os.walk(link):
            here = os.path.relpath(folder, root).replace(os.sep, "/")
            status = os.stat(folder)  # noqa: PTH116  (a Path for each takes long)
            if (status.st_dev, status.st_ino) in seen:
                left_out[here] = "leads to a folder that is read already"
                inner.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            here = "" if here == "." else f"{here}/"
            left_out |= {f"{here}{name}": NO_TEXT for name in inner if not is_text(name)}
            inner[:] = sorted(filter(is_text, inner))
            for name in inner:
                place = os.path.join(folder, name)  # noqa: PTH118
                if not os.path.islink(place):  # noqa: PTH114
                    continue
                if inside and not inside.holds(place):
                    left_out[f"{here}{name}"] = OUTSIDE
                else:
                    waiting.append(place)
            yield here, names


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
