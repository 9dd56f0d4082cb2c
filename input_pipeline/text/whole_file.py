"""Small files that are there whole or not at all, and JSON that says so if it has changed since."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

# Of the layout of our JSON; a file of a higher one comes from a later version.
FORMAT = 1
_FORMAT, _CHECKSUM = "format", "checksum"


class DamagedFileError(ValueError):
    """A file that is not what was written; the message names it, and the way out."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which gets its name when everything is in it and on the disk.

    Until then it is `<name>.part` in the same folder, which is made where it is missing: what can
    not be written is known before the work. If the work fails, nothing is left behind.

    Args:
        path: Replaced, if it is there.

    Raises:
        OSError: if the folder cannot be made or written into, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file")
    draft = _draft(path)
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:  # as of a full disk
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def claim(folder: Path) -> None:
    """Makes a folder for what the work will give, so that one that cannot be is known before.

    Raises:
        OSError: if it cannot be made, or nothing can be written into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def write(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all; one that holds this already is left alone.

    Args:
        path: Its folder is made where it is missing.
        content: Text becomes UTF-8.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        _draft(path).unlink(missing_ok=True)  # of a process that was killed
        return
    with writing(path) as file:
        file.write(data)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes values with a checksum, for `read_json`; see `write`."""
    stamp = {_CHECKSUM: _checksum(values), _FORMAT: FORMAT}
    write(path, json.dumps(stamp | values, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The values of a JSON file; of one of `write_json`, they are those that were written.

    Args:
        path: Of the file; one without a checksum is taken as it is.
        remedy: What to do where it is damaged.

    Raises:
        DamagedFileError: if it is no JSON object, or has changed, or is of a later version.
        OSError: if it cannot be read.
    """
    return parse_json(path.read_bytes(), str(path), remedy)


def parse_json(data: str | bytes, name: str, remedy: str) -> dict[str, Any]:
    """The values of the JSON of a file called `name`; see `read_json`."""
    if not data.strip():
        raise DamagedFileError(f"{name}: is empty; {remedy}")
    try:
        values = json.loads(data)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DamagedFileError(f"{name}: not JSON ({error.msg} in {place}); {remedy}") from error
    # No UTF-8, a number of thousands of digits, a thousand brackets.
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{name}: not JSON ({error}); {remedy}") from error
    if not isinstance(values, dict):
        raise DamagedFileError(f"{name}: holds a {type(values).__name__}, no object; {remedy}")
    written, checksum = values.pop(_FORMAT, 0), values.pop(_CHECKSUM, None)
    if checksum is None:  # of an earlier version, or changed by hand
        return values
    if isinstance(written, int) and written > FORMAT:
        raise DamagedFileError(
            f"{name}: is of a later version (format {written}, not {FORMAT}); update atbert-jax"
        )
    if checksum != _checksum(values):
        raise DamagedFileError(
            f"{name}: has changed since it was written; {remedy}, or, if you changed it yourself,"
            f' delete its line "{_CHECKSUM}"'
        )
    return values


def _checksum(values: dict[str, Any]) -> str:
    """Of the values, however they are laid out in the file."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
