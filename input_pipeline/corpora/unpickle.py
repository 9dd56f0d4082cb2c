"""Pickled pandas tables of recordings -> audio files and a manifest; nothing in a pickle is run.

atbert unpickle test.pkl speech/test --split=test --also=test_stt.pkl

A pickle is a program. The names that it calls are looked up in the table below, where each stands
for something that holds what it is given and does nothing; any other name is refused. Tables of old
and new pandas are read.
"""

from __future__ import annotations

import argparse
import csv
import io
import pickle
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from atbert_jax.input_pipeline.manifest.places import from_home
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.input_pipeline.text.visible import visible

# What the columns of the table are called there, and in the manifest.
AUDIO, COLUMNS = "audio", {"Sentence": "text", "Emotion": "label", "person_ix": "group"}
ALSO = "stt"
RATE = 48_000
# Of the files, by the type of the samples.
SUBTYPES = {np.dtype("f4"): "FLOAT", np.dtype("f8"): "FLOAT", np.dtype("i2"): "PCM_16"}


class UnpickleError(ValueError):
    """A file that is no table, or that wants more than to be one; the message names the file."""


class Inert:
    """Holds what a pickle wanted to make something of."""

    def __new__(cls, *args: Any) -> Inert:
        """Takes anything."""
        made = super().__new__(cls)
        made.args, made.state = args, None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Dtype(Inert):
    """The type of an array."""

    @property
    def is_object(self) -> bool:
        """Whether it is of Python's objects."""
        return self.args[0] in ("O", "O8")

    @property
    def numbers(self) -> np.dtype:
        """NumPy's own, if it is of numbers."""
        if not re.fullmatch(r"[<>=|]?[biuf][1248]", self.args[0]):
            raise UnpickleError(f"an array of type {self.args[0]!r} has no place in a table")
        order = self.state[1] if self.state else "="
        return np.dtype(self.args[0]).newbyteorder(order)


class Array(Inert):
    """NumPy's array; its state is (version, shape, type, order, content)."""

    @property
    def values(self) -> np.ndarray:
        """The array."""
        _, shape, dtype, is_fortran, content = self.state
        order = "F" if is_fortran else "C"
        if isinstance(content, str):  # Python 2's bytes, as `load` reads them
            content = content.encode("latin1")
        if not dtype.is_object:
            return np.frombuffer(content, dtype.numbers).reshape(shape, order=order)
        objects = np.empty(len(content), object)
        for place, each in enumerate(content):
            objects[place] = each
        return objects.reshape(shape, order=order)


class Strings(Inert):
    """Arrow's strings; its state has what `pyarrow.lib._restore_array` was given."""

    @property
    def values(self) -> np.ndarray:
        """(N,) of str; '' where there is none."""
        kind, length, _, offset, (valid, ends, content), *_ = self.state["_pa_array"].args[0]
        size = {"large_string": np.int64, "string": np.int32}[kind.args[0]]
        ends = np.frombuffer(ends.args[0], size)[offset : offset + length + 1]
        content, texts = bytes(content.args[0]), np.full(length, "", object)
        there = np.ones(length, bool)
        if valid is not None:
            bits = np.unpackbits(np.frombuffer(valid.args[0], np.uint8), bitorder="little")
            there = bits[offset : offset + length] > 0
        for place in np.flatnonzero(there):
            texts[place] = content[ends[place] : ends[place + 1]].decode()
        return texts


class Block(Inert):
    """Some columns of one type: (values, their places, ...)."""


class Index(Inert):
    """Names of rows or columns: (class, {'data': names, ...})."""


class Frame(Inert):
    """The table: a manager of blocks."""

    def columns(self) -> dict[str, Sequence]:
        """By name; cells that are arrays are NumPy's."""
        manager = self.state.get("_mgr", self.state.get("_data"))
        if manager.args:
            blocks, axes = manager.args
            parts = [block.args[:2] for block in blocks]
        else:  # before pandas 1.3
            stored = manager.state[3]["0.14.1"]
            axes = stored["axes"]
            parts = [(block["values"], block["mgr_locs"]) for block in stored["blocks"]]
        names = axes[0].args[1]["data"].values
        found = {}
        for values, places in parts:
            places = places if isinstance(places, slice) else places.values
            rows = values.values
            rows = rows if rows.ndim == 2 else rows[None]
            for name, row in zip(names[places], rows, strict=True):
                found[name] = [x.values if isinstance(x, Array) else x for x in row]
        return found


def from_buffer(content: Any, dtype: Dtype, shape: tuple[int, ...], order: str) -> Array:
    """`numpy.core.numeric._frombuffer`."""
    made = Array()
    made.state = (1, shape, dtype, order == "F", content)
    return made


def encode(text: str, encoding: str) -> bytes:
    """`codecs.encode` as old pickles make bytes with."""
    if encoding != "latin1":
        raise UnpickleError(f"bytes in the encoding {encoding!r} are not as pickles have them")
    return text.encode("latin1")


def byte_array(content: bytes = b"", *more: Any) -> bytes:
    """`bytearray` of bytes; of a number it would be as many zeros as the file likes."""
    if more or not isinstance(content, bytes):
        raise UnpickleError("a bytearray that is not made of bytes is not as pickles have them")
    return content


def scalar(dtype: Dtype, content: bytes) -> Any:
    """`numpy.core.multiarray.scalar`."""
    return np.frombuffer(content, dtype.numbers)[0]


# By package and name, wherever in the package it is: that changes from version to version.
NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "slice"): slice,
    ("builtins", "bytearray"): byte_array,
    ("_codecs", "encode"): encode,
    ("numpy", "dtype"): Dtype,
    ("numpy", "ndarray"): Array,
    ("numpy", "_reconstruct"): lambda *_: Array(),
    ("numpy", "_frombuffer"): from_buffer,
    ("numpy", "scalar"): scalar,
    ("pandas", "DataFrame"): Frame,
    ("pandas", "BlockManager"): Inert,
    ("pandas", "_unpickle_block"): Block,
    ("pandas", "new_block"): Block,
    ("pandas", "_new_Index"): Index,
    ("pandas", "Index"): Inert,
    ("pandas", "RangeIndex"): Inert,
    ("pandas", "Int64Index"): Inert,
    ("pandas", "StringDtype"): Inert,
    ("pandas", "ArrowStringArray"): Strings,
    ("pyarrow", "_restore_array"): Inert,
    ("pyarrow", "type_for_alias"): Inert,
    ("pyarrow", "py_buffer"): Inert,
}


class Unpickler(pickle.Unpickler):
    """Knows the names of `NAMES` alone."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """What stands for a name.

        Raises:
            UnpickleError: if it is not in the table.
        """
        package = module.partition(".")[0].replace("__builtin__", "builtins")
        if (package, name) not in NAMES:
            raise UnpickleError(
                f"it wants {module}.{name}, which is no part of a table; it was not run"
            )
        return NAMES[package, name]


def load(path: Path) -> Any:
    """What is pickled: lists, dictionaries, numbers and texts, and what is in `NAMES`.

    Bytes of Python 2 become text, as Latin-1.

    Raises:
        UnpickleError: if it is no pickle, or wants anything else.
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            return Unpickler(file, encoding="latin1").load()
        except UnpickleError as error:
            raise UnpickleError(f"{path}: {error}") from None
        except Exception as error:  # whatever a damaged program leads to
            reason = f"{type(error).__name__}: {error}"
            raise UnpickleError(f"{path}: not readable as a pickle ({reason})") from error


def read(path: Path) -> dict[str, Sequence]:
    """The columns of a pickled DataFrame by name.

    Raises:
        UnpickleError: if it is none, or wants anything else.
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            frame = Unpickler(file).load()
            if not isinstance(frame, Frame):
                raise UnpickleError("it holds something else than a DataFrame")
            return frame.columns()
        except UnpickleError as error:
            raise UnpickleError(f"{path}: {error}") from None
        # Whatever a damaged program and what it leaves behind lead to.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise UnpickleError(f"{path}: no DataFrame as pandas pickles it ({reason})") from error


def convert(
    path: Path, folder: Path, *, split: str = "", also: Path | None = None, rate: int = RATE
) -> int:
    """Writes the recordings of a table as wav files, and a manifest of them.

    Samples are written as they are: floats as floats, 16-bit integers as those. Speakers become
    groups, which are kept apart where splits are drawn.

    Args:
        path: A DataFrame with the columns person_ix, audio (samples, 1-D), Sentence and Emotion.
        folder: To write; made if it does not exist.
        split: What the manifest calls the split; empty to have splits drawn.
        also: A DataFrame of the same records with other sentences, for the column `stt`.
        rate: Of the samples, in Hz.

    Returns:
        The number of recordings.

    Raises:
        UnpickleError: if a file is not as described.
        OSError: if one cannot be read or written.
    """
    table = _require(path, read(path))
    rows = {ours: list(map(str, table[theirs])) for theirs, ours in COLUMNS.items()}
    rows["group"] = [f"person {name}" for name in rows["group"]]
    if split:
        rows["split"] = [split] * len(table[AUDIO])
    if also:
        other = _require(also, read(also))
        for name in ("person_ix", "Emotion"):
            if list(other[name]) != list(table[name]):
                raise UnpickleError(f"{also}: its column {name} is not that of {path}")
        rows[ALSO] = list(map(str, other["Sentence"]))
    (folder / AUDIO).mkdir(parents=True, exist_ok=True)
    names = [f"{AUDIO}/{number:05d}.wav" for number in range(len(table[AUDIO]))]
    for name, samples in zip(names, table[AUDIO], strict=True):
        dtype = samples.dtype.newbyteorder("=")
        soundfile.write(folder / name, samples.astype(dtype), rate, SUBTYPES[dtype])
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["path", *rows])
    writer.writerows(zip(names, *rows.values(), strict=True))
    whole_file.write(folder / "manifest.csv", table.getvalue())
    return len(names)


def _require(path: Path, table: dict[str, Sequence]) -> dict[str, Sequence]:
    if missing := [name for name in (AUDIO, *COLUMNS) if name not in table]:
        raise UnpickleError(f"{path}: has no column {missing[0]}, but {', '.join(map(str, table))}")
    for number, samples in enumerate(table[AUDIO]):
        is_sound = isinstance(samples, np.ndarray) and samples.ndim == 1
        if not is_sound or samples.dtype.newbyteorder("=") not in SUBTYPES:
            raise UnpickleError(
                f"{path}: row {number}, column {AUDIO}: no 1-D array of floats or 16-bit integers"
            )
    return table


def main(arguments: list[str] | None = None) -> None:
    """Run the command; errors end it with one line and status 1."""
    parser = argparse.ArgumentParser(
        prog="atbert unpickle",
        description="Make audio files and a manifest of a pickled pandas table of recordings.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("path", type=from_home, help="pickled DataFrame")
    parser.add_argument("folder", type=from_home, help="folder to write")
    parser.add_argument("--split", default="", help="train, val or test; drawn where it is empty")
    parser.add_argument(
        "--also", type=from_home, help=f"same table, other sentences: column `{ALSO}`"
    )
    parser.add_argument("--rate", type=int, default=RATE, help="of the samples, in Hz")
    try:
        count = convert(**vars(given := parser.parse_args(arguments)))
    except (ValueError, OSError, soundfile.SoundFileError) as error:
        sys.exit(f"error: {visible(str(error))}")
    print(f"{count} recordings: {given.folder / 'manifest.csv'}")


if __name__ == "__main__":
    main()
