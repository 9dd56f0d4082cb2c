"""An index's folder: which model made it, and which recordings are in it.

index.json       the model, and how it heard
files.parquet    recordings: their files, and the columns of the manifests that named them
shards/          the vectors of what was heard (see `vector_shards`)
left_out.csv     what is not in it, and why
"""

import dataclasses
import hashlib
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
    "id": pa.string(),
    "path": pa.string(),
    "size": pa.int64(),
    "mtime_ns": pa.int64(),
    "digest": pa.string(),
    "ctime_ns": pa.int64(),
    "start": pa.float64(),
    "duration": pa.float64(),
}
REMEDY = "run `atbert index` again"


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
            return cls(**whole_file.read_json(path, "make a new index"))
        except TypeError as error:
            raise ValueError(f"{path}: is of no index ({error}); make a new one") from error

    def require(self, model: Trained, folder: Path) -> None:
        """Refuses another model than this, whose vectors mean something else.

        Args:
            model: As it was loaded.
            folder: Of the index, for the message.

        Raises:
            ValueError: if it is another one.
        """
        if fingerprint(model) != self.model:
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


def write_files(
    folder: Path,
    records: Sequence[Record],
    seen: Sequence[Seen],
    columns: Mapping[str, Sequence[str]],
) -> None:
    """Writes which recordings are in an index.

    Args:
        folder: Of the index.
        records: N of them.
        seen: Their files.
        columns: N cells of text by the name of each column.
    """
    about = {
        "id": [record.id for record in records],
        "path": [each.path for each in seen],
        "size": [each.size for each in seen],
        "mtime_ns": [each.mtime_ns for each in seen],
        "digest": [each.digest for each in seen],
        "ctime_ns": [each.ctime_ns for each in seen],
        "start": [record.start for record in records],
        "duration": [record.duration for record in records],
    }
    arrays = {name: pa.array(about[name], kind) for name, kind in FIELDS.items()}
    arrays |= {COLUMN + name: pa.array(list(c), pa.string()) for name, c in columns.items()}
    with whole_file.writing(folder / FILES) as file:
        parquet.write_table(pa.table(arrays), file, write_page_checksum=True)


def read_files(folder: Path) -> pa.Table:
    """Which recordings are in an index, a row for each, with the columns of `FIELDS` and others.

    Raises:
        ValueError: if it is not whole; the message says what to do.
    """
    path = folder / FILES
    if not path.is_file():
        raise ValueError(f"{folder}: nothing is indexed here yet; {REMEDY}")
    try:
        table = parquet.read_table(path, page_checksum_verification=True)
        return table.cast(
            pa.schema(
                [pa.field(n, FIELDS.get(n, pa.string())) for n in table.column_names],
            )
        ).select([*FIELDS, *(n for n in table.column_names if n.startswith(COLUMN))])
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise ValueError(f"{path}: is damaged ({error}); {REMEDY}") from error
