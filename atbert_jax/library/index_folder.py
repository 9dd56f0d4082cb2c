"""An index's folder: which model made it, and which recordings are in it.

index.json       the model, and how it heard
files.parquet    recordings: their files, and the columns of the manifests that named them
shards/          the vectors of what was heard (see `vector_shards`)
left_out.csv     what is not in it, and why
"""

import dataclasses
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.library.vector_shards import Seen
from atbert_jax.training.trained import Trained

ABOUT, FILES, LEFT_OUT = "index.json", "files.parquet", "left_out.csv"
# Before the names of the manifests' columns, which can be any.
COLUMN = "column/"
FIELDS = {
    # As bytes, for names of files need not be text.
    "id": pa.binary(),
    "path": pa.binary(),
    "size": pa.int64(),
    "mtime_ns": pa.int64(),
    "digest": pa.string(),
    "ctime_ns": pa.int64(),
    "start": pa.float64(),
    "duration": pa.float64(),
}
REMEDY = "run `atbert index` again"


@dataclasses.dataclass(frozen=True)
class Files:
    """Which recordings are in an index.

    Attributes:
        records: R of them, with absolute paths.
        seen: (R,), their files as they were.
        columns: R cells of text by the name of each column of the manifests.
    """

    records: Sequence[Record]
    seen: Sequence[Seen]
    columns: Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Made:
    """What made an index.

    Attributes:
        checkpoint: The model's folder when the index was begun.
        step: Of the checkpoint.
        model: Digest of all that its embeddings depend on.
        hop: Seconds from one window to the next; None is the model's own way.
        seconds: Length of a window; None where a recording is one window, whatever its length.
    """

    checkpoint: str
    step: int
    model: str
    hop: float | None
    seconds: float | None

    @classmethod
    def by(cls, model: Trained, hop: float | None) -> "Made":
        """By a model as it was loaded."""
        segmenting = model.contract.segmenting
        seconds = None if segmenting.layout == "spaced" else segmenting.length
        folder = str(model.workdir.absolute())
        return cls(folder, model.step, fingerprint(model), hop, seconds)

    def save(self, folder: Path) -> None:
        """Writes it into an index's folder."""
        whole_file.write_json(folder / ABOUT, dataclasses.asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Made":
        """Reads it from an index's folder.

        Raises:
            ValueError: if it is no index, or the file is damaged.
        """
        path = folder / ABOUT
        if not path.is_file():
            raise ValueError(f"{folder}: is no index; make one with `atbert index`")
        try:
            made = cls(**whole_file.read_json(path, "make a new index"))
            # A name such as hub:NAME would be looked for elsewhere.
            if not Path(made.checkpoint).is_absolute():
                raise ValueError(f"checkpoint {made.checkpoint!r} is no absolute path")
            numbers = [each for each in (made.hop, made.seconds) if each is not None]
            if not all(math.isfinite(each) and each >= 0 for each in numbers):
                raise ValueError(f"hop {made.hop} and seconds {made.seconds} are no times")
            if not isinstance(made.step, int) or not isinstance(made.model, str):
                raise TypeError("step is no number, or model no text")
        except whole_file.DamagedFileError:
            raise
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: is of no index ({error}); make a new one") from error
        return made

    @property
    def mark(self) -> str:
        """What vectors have to have in common to be in one index."""
        return f"{self.model} {self.hop}"

    def require(self, model: Trained, folder: Path) -> None:
        """Refuses another model than this, whose vectors mean something else.

        Args:
            model: As it was loaded.
            folder: Of the index, for the message.

        Raises:
            ValueError: if it is another one.
        """
        if fingerprint(model) == self.model:
            return
        if (str(model.workdir.absolute()), model.step) == (self.checkpoint, self.step):
            raise ValueError(
                f"{folder}: was made by {self.checkpoint}, step {self.step}, where there is another"
                " model now, trained or converted anew, whose vectors mean something else; make"
                " another index with this one"
            )
        raise ValueError(
            f"{folder}: was made by {self.checkpoint}, step {self.step}, and"
            f" {model.workdir}, step {model.step}, is another model, whose vectors mean"
            " something else; give --checkpoint of that one, or make another index with this"
            " one"
        )


def fingerprint(model: Trained) -> str:
    """Of all that a model's embeddings depend on but the clip."""
    digest = hashlib.blake2b(digest_size=16)
    model.add_to(digest)
    return digest.hexdigest()


def write_files(folder: Path, files: Files) -> None:
    """Writes which recordings are in an index."""
    records, seen = files.records, files.seen
    about = {
        "id": [_as_bytes(record.id) for record in records],
        "path": [_as_bytes(str(record.path)) for record in records],
        "size": [each.size for each in seen],
        "mtime_ns": [each.mtime_ns for each in seen],
        "digest": [each.digest for each in seen],
        "ctime_ns": [each.ctime_ns for each in seen],
        "start": [record.start for record in records],
        "duration": [record.duration for record in records],
    }
    arrays = {name: pa.array(about[name], kind) for name, kind in FIELDS.items()}
    arrays |= {COLUMN + name: pa.array(list(c), pa.string()) for name, c in files.columns.items()}
    with whole_file.writing(folder / FILES) as file:
        parquet.write_table(pa.table(arrays), file, write_page_checksum=True)


def read_files(folder: Path) -> Files:
    """Which recordings are in an index.

    Raises:
        ValueError: if it is not whole; the message says what to do.
    """
    path = folder / FILES
    if not path.is_file():
        raise ValueError(f"{folder}: nothing is indexed here yet; {REMEDY}")
    try:
        return _files(_table(path))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise ValueError(f"{path}: is damaged ({error}); {REMEDY}") from error


def _table(path: Path) -> pa.Table:
    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        # A cell that is the same everywhere takes next to nothing; those of files are not.
        if not 0 < (rows := file.metadata.num_rows) <= path.stat().st_size:
            raise ValueError(f"it announces {rows} recordings")
        table = file.read()
    names = [*FIELDS, *(name for name in table.column_names if name.startswith(COLUMN))]
    table = table.select(names)
    if empty := [name for name in names if name != "duration" and table[name].null_count]:
        raise ValueError(f"{', '.join(empty)} is not there of every recording")
    return table.cast(pa.schema([pa.field(name, FIELDS.get(name, pa.string())) for name in names]))


def _files(table: pa.Table) -> Files:
    fields = {name: table[name].to_pylist() for name in FIELDS}
    paths = [_as_text(path) for path in fields["path"]]
    for path in paths:
        if not path.startswith(os.sep) or os.path.normpath(path) != path or "\0" in path:
            raise ValueError(f"{path!a} is no absolute path of a file")
    times = (*fields["start"], *(each for each in fields["duration"] if each is not None))
    if not all(math.isfinite(each) and each >= 0 for each in times):
        raise ValueError("start or duration is no time")
    about = zip(fields["id"], paths, fields["start"], fields["duration"], strict=True)
    names = [field.name for field in dataclasses.fields(Seen)][1:]
    rows = zip(paths, *(fields[name] for name in names), strict=True)
    return Files(
        [Record(_as_text(i), Path(p), start=s, duration=d) for i, p, s, d in about],
        [Seen(*row) for row in rows],
        {
            name.removeprefix(COLUMN): table[name].to_pylist()
            for name in table.column_names
            if name.startswith(COLUMN)
        },
    )


def _as_bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _as_text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
