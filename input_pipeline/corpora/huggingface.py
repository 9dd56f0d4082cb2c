"""Any audio data set of the Hugging Face hub on disk: `save_to_disk` folders, or Parquet shards.

Sound that is in the tables becomes files below the output. The names of classes are those of the
features that the `datasets` package wrote. The variant says which column is what where that is not
plain, as in `huggingface/label=genre,text=caption` (see `embedded.Roles`).
"""

import functools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import ipc, parquet, types

from atbert_jax.input_pipeline.corpora import embedded
from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.manifest.places import Root
from atbert_jax.input_pipeline.manifest.split_names import SPLITS
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ()
# Rows that are read at once; a row can have minutes of sound.
BATCH = 64
# What libraries raise on damaged files; Arrow's own errors are among them.
DAMAGE = (pyarrow.ArrowException, ValueError, OSError, OverflowError, MemoryError, TypeError)
SHARD = re.compile(r"(?:.+-)?(\w+(?:\.\w+)*)-\d{5}-of-\d{5}")


def unpack(root: Path, variant: str, output: Path, *, allow_outside: bool = False) -> Corpus:
    """Reads all splits and writes their sound into `output/audio`.

    Args:
        root: The data set's folder.
        variant: Which column is what.
        output: Where to.
        allow_outside: Read what the data set's paths and links name out of its folder.

    Raises:
        ManifestError: if there is no such data set, or it has no audio.
    """
    inside = None if allow_outside else Root(root)
    files = [(split, _inside(file, inside)) for split, file in _files(root)]
    schema, features = _describe(files[0][1])
    columns, sounds = _columns(schema, features)
    roles = embedded.Roles.choose(variant, columns, sounds, where=root)
    sizes: Counter[str] = Counter()
    for split, file in files:
        sizes[split] += _count(file)
    examples = _examples(
        files, roles.audio, tuple(columns), functools.partial(_sound, root, inside)
    )
    return embedded.unpack(examples, sizes, columns, roles, output)


def _files(root: Path) -> list[tuple[str, Path]]:
    """The tables with their splits, in order."""
    if (root / "dataset_dict.json").exists():
        splits = _json(root / "dataset_dict.json", "splits")
        if not isinstance(splits, list) or not all(map(_is_split, splits)):
            raise ManifestError(
                f"{root / 'dataset_dict.json'}: `splits` is no list of names of splits; save the"
                " data set again"
            )
        return [(split, file) for split in splits for file in _saved(root / split)]
    if (root / "state.json").exists():
        split = _json(root / "state.json", "_split") or ""
        # One that was put together or cut has no name.
        return [(split if _is_split(split) else "", file) for file in _saved(root)]
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


def _is_split(name: Any) -> bool:
    """Whether this can be a split's name, which names a folder, too."""
    return isinstance(name, str) and bool(re.fullmatch(r"\w+(?:[.-]\w+)*", name))


def _saved(folder: Path) -> list[Path]:
    """The files of a folder that `save_to_disk` wrote, in the order of their rows."""
    file = folder / "state.json"
    if _json(file, "_indices_data_files"):
        raise ManifestError(
            f"{folder}: has a selection of its rows in a file of its own; save it again after"
            " `flatten_indices()`"
        )
    try:
        found = [folder / entry["filename"] for entry in _json(file, "_data_files")]
    except (TypeError, KeyError):
        found = []
    if not found:
        raise ManifestError(f"{file}: names no files; save the data set again")
    return found


def _inside(file: Path, inside: Root | None) -> Path:
    """The file, if it is below the data set's folder, or may lie elsewhere.

    Raises:
        ManifestError: if it may not.
    """
    where = Path(os.path.abspath(file))  # noqa: PTH100  (`resolve` would follow links)
    if inside and not inside.holds(where):
        raise ManifestError(
            f"{file}: lies or leads out of the data set's folder {inside.path}; allow it with"
            " --allow_outside"
        )
    return file


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
        features = _json(file.parent / "dataset_info.json", "features") or {}
    else:
        try:
            written = json.loads((batch.schema.metadata or {}).get(b"huggingface", "{}"))
            features = written.get("info", {}).get("features") or {}
        except (ValueError, AttributeError) as error:
            raise ManifestError(
                f"{file}: what `datasets` wrote of its columns is damaged ({error}); get it anew"
            ) from None
    known = features.items() if isinstance(features, dict) else ()
    return batch.schema, {name: about for name, about in known if isinstance(about, dict | list)}


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
            feature = feature[:1] if isinstance(feature, list) else [feature.get("feature")]
            feature = feature[0] if feature else {}
        feature = feature if isinstance(feature, dict) else {}
        has_bytes = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        is_text = types.is_string(kind) or types.is_large_string(kind)
        is_raw = types.is_binary(kind) or types.is_large_binary(kind)
        can_be_sound = types.is_struct(kind) or is_text or is_raw
        if feature.get("_type", "Audio" if has_bytes else "") == "Audio" and not several:
            if can_be_sound:
                sounds.append(field.name)
        elif not (types.is_nested(kind) or is_raw):
            names = feature.get("names") if types.is_integer(kind) else None
            names = tuple(map(str, names)) if isinstance(names, list) else ()
            columns[field.name] = embedded.Column(names, several, is_text)
    return columns, sounds


def _batches(file: Path) -> Iterator[pyarrow.RecordBatch]:
    """A few rows at a time.

    Raises:
        ManifestError: if the file is not what its name says, or not whole.
    """
    read = _read_parquet if file.suffix == ".parquet" else _read_arrow
    try:
        for batch in read(file):
            # An offset that leads out of its buffer would end the process, and not with an error.
            batch.validate(full=True)
            names = batch.schema.names
            if len(set(names)) < len(names):
                raise ManifestError(
                    f"{file}: several columns have the same name; rename all but one"
                )
            yield batch
    except ManifestError:
        raise
    except DAMAGE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
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
    files: list[tuple[str, Path]],
    audio: str,
    names: tuple[str, ...],
    sound_of: Callable[[Any], embedded.Sound],
) -> Iterator[tuple[str, embedded.Sound, Mapping[str, Any]]]:
    for split, file in files:
        for batch in _batches(file):
            if missing := {audio, *names}.difference(batch.schema.names):
                raise ManifestError(
                    f"{file}: has no column '{missing.pop()}', which others have; give the folder"
                    " of one data set"
                )
            try:
                cells = batch.select(names).to_pylist()
                sounds = [sound.as_py() for sound in batch.column(audio)]
            except DAMAGE as error:  # a date that is none, say
                raise ManifestError(f"{file}: has cells that are none ({error})") from None
            for sound, row in zip(sounds, cells, strict=True):
                yield split, sound_of(sound), row


def _sound(root: Path, inside: Root | None, cell: Any) -> embedded.Sound:
    """What is in a cell of sound: the bytes of a file, or else its path, or why it has neither."""
    about = cell if isinstance(cell, dict) else {}
    data = cell if isinstance(cell, bytes) else about.get("bytes")
    path = cell if isinstance(cell, str) else about.get("path")
    if data and isinstance(data, bytes):
        return data
    if not path or not isinstance(path, str) or "\0" in path:
        return None
    file = Path(os.path.abspath(root / path))  # noqa: PTH100  (`resolve` would follow links)
    if file.exists() and inside and not inside.holds(file):
        return f"names {path}, out of the data set's folder; allow it with --allow_outside"
    return root / path
