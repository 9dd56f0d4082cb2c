"""Any audio data set of the Hugging Face hub on disk: `save_to_disk` folders, or Parquet shards.

Sound that is in the tables becomes files below the output. The names of classes are those of the
features that the `datasets` package wrote. The variant says which column is what where that is not
plain, as in `huggingface/label=genre,text=caption` (see `embedded.Roles`).
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import ipc, parquet, types

from atbert_jax.input_pipeline.corpora import embedded
from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.corpora.folder import SPLITS
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ()
# Rows that are read at once; a row can have minutes of sound.
BATCH = 64
SHARD = re.compile(r"(?:.+-)?([\w.]+)-\d{5}-of-\d{5}")


def unpack(root: Path, variant: str, output: Path) -> Corpus:
    """Reads all splits and writes their sound into `output/audio`.

    Raises:
        ManifestError: if there is no such data set, or it has no audio.
    """
    files = _files(root)
    schema, features = _describe(files[0][1])
    columns, sounds = _columns(schema, features)
    roles = embedded.Roles.choose(variant, columns, sounds, where=root)
    sizes: Counter[str] = Counter()
    for split, file in files:
        sizes[split] += _count(file)
    examples = _examples(files, root, roles.audio, tuple(columns))
    return embedded.unpack(examples, sizes, columns, roles, output)


def _files(root: Path) -> list[tuple[str, Path]]:
    """The tables with their splits, in order."""
    if (root / "dataset_dict.json").exists():
        splits = _json(root / "dataset_dict.json", "splits")
        return [(split, file) for split in splits for file in _saved(root / split)]
    if (root / "state.json").exists():
        split = _json(root / "state.json", "_split") or ""
        # One that was put together or cut has no name.
        return [(split if re.fullmatch(r"[\w.]+", split) else "", file) for file in _saved(root)]
    found = sorted(
        file
        for kind in ("*.parquet", "*.arrow")
        for file in root.rglob(kind)
        if not file.name.startswith("cache-")
    )
    if not found:
        raise ManifestError(
            f"{root}: no data set of Hugging Face (dataset_dict.json, state.json, *.parquet or"
            " *.arrow); save one there with `save_to_disk`, or give its folder with --root"
        )
    return [(_split(file.relative_to(root)), file) for file in found]


def _saved(folder: Path) -> list[Path]:
    """The files of a folder that `save_to_disk` wrote, in the order of their rows."""
    file = folder / "state.json"
    if _json(file, "_indices_data_files"):
        raise ManifestError(
            f"{folder}: has a selection of its rows in a file of its own; save it again after"
            " `flatten_indices()`"
        )
    try:
        return [folder / entry["filename"] for entry in _json(file, "_data_files")]
    except (TypeError, KeyError):
        raise ManifestError(f"{file}: names no files; save the data set again") from None


def _split(path: Path) -> str:
    """The split that a file's path tells, or ''."""
    if found := SHARD.match(path.stem):
        return found[1]
    words = re.split(r"[-_.]", path.stem.lower()) + [part.lower() for part in path.parts[:-1]]
    return next((word for word in words if word in SPLITS), "")


def _json(file: Path, key: str) -> Any:
    """What a file has under a key; None if nothing."""
    try:
        return json.loads(file.read_text(encoding="utf-8")).get(key)
    except (ValueError, OSError, AttributeError) as error:
        raise ManifestError(f"{file}: not readable ({error}); save the data set again") from None


def _describe(file: Path) -> tuple[pyarrow.Schema, Mapping[str, Any]]:
    """The Arrow columns of a table, and the features that `datasets` wrote of them."""
    batch = next(_batches(file), None)
    if batch is None:
        raise ManifestError(f"{file}: has no rows; save the data set again")
    if (file.parent / "dataset_info.json").exists():
        return batch.schema, _json(file.parent / "dataset_info.json", "features") or {}
    written = json.loads((batch.schema.metadata or {}).get(b"huggingface", "{}"))
    return batch.schema, written.get("info", {}).get("features") or {}


def _columns(
    schema: pyarrow.Schema, features: Mapping[str, Any]
) -> tuple[dict[str, embedded.Column], list[str]]:
    """The columns that a manifest can have, and those with sound."""
    columns, sounds = {}, []
    for field in schema:
        feature, kind = features.get(field.name) or {}, field.type
        several = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        if several:
            kind = kind.value_type
            inner = feature[0] if isinstance(feature, list) else feature.get("feature")
            feature = inner or {}
        has_bytes = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        if feature.get("_type", "Audio" if has_bytes else "") == "Audio" and not several:
            sounds.append(field.name)
        elif not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind)):
            is_text = types.is_string(kind) or types.is_large_string(kind)
            names = tuple(feature.get("names") or ()) if not is_text else ()
            columns[field.name] = embedded.Column(names, several, is_text)
    return columns, sounds


def _batches(file: Path) -> Iterator[pyarrow.RecordBatch]:
    """A few rows at a time.

    Raises:
        ManifestError: if the file is not what its name says, or not whole.
    """
    try:
        yield from _read_parquet(file) if file.suffix == ".parquet" else _read_arrow(file)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ManifestError(f"{file}: not readable ({reason}); get it anew") from None


def _read_parquet(file: Path) -> Iterator[pyarrow.RecordBatch]:
    # Or else all of the file is fetched at once.
    yield from parquet.ParquetFile(file, memory_map=True, pre_buffer=False).iter_batches(BATCH)


def _read_arrow(file: Path) -> Iterator[pyarrow.RecordBatch]:
    """Arrow has two formats of files; `datasets` writes streams."""
    with pyarrow.memory_map(str(file)) as source:
        try:
            reader = ipc.open_stream(source)
        except pyarrow.ArrowInvalid:
            table = ipc.open_file(source)
            reader = map(table.get_batch, range(table.num_record_batches))
        yield from reader


def _count(file: Path) -> int:
    """The rows of a file, of which only the places are read."""
    if file.suffix == ".parquet":
        return parquet.read_metadata(file).num_rows
    return sum(batch.num_rows for batch in _batches(file))


def _examples(
    files: list[tuple[str, Path]], root: Path, audio: str, names: tuple[str, ...]
) -> Iterator[tuple[str, embedded.Sound, Mapping[str, Any]]]:
    for split, file in files:
        for batch in _batches(file):
            if missing := {audio, *names}.difference(batch.schema.names):
                raise ManifestError(
                    f"{file}: has no column '{missing.pop()}', which others have; give the folder"
                    " of one data set"
                )
            cells = batch.select(names).to_pylist()
            for sound, row in zip(batch.column(audio), cells, strict=True):
                yield split, _sound(sound.as_py(), root), row


def _sound(cell: Any, root: Path) -> embedded.Sound:
    """What is in a cell of sound: the bytes of a file, or else its path."""
    if isinstance(cell, str):
        return root / cell
    if cell and cell.get("bytes"):
        return cell["bytes"]
    return root / cell["path"] if cell and cell.get("path") else None
