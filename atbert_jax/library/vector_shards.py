"""Vectors on disk: files of some thousand windows each, written whole, and never changed.

A shard is a safetensors file with the vectors, the starts of the windows, and as JSON in its header
what they are of. What it holds goes by the digest of the file that was heard, not by its name.
"""

import dataclasses
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from atbert_jax.input_pipeline.text import whole_file

FOLDER = "shards"
# Below this a vector is nothing, and of length 0.
TINY = np.finfo(np.float32).tiny
REMEDY = "remove it, and run `atbert index` again"


@dataclasses.dataclass(frozen=True)
class Seen:
    """A file as it was when it was read.

    Attributes:
        path: Absolute.
        size: In bytes.
        mtime_ns: When it was changed last, as it says itself.
        digest: Of its bytes, BLAKE2b of 128 bits.
        ctime_ns: When it was changed last, as the file system says, which no program can set: what
            was put in its place with its size and time has another. 0 is not known.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str
    ctime_ns: int = 0

    def is_still(self, status: os.stat_result) -> bool:
        """Whether a file of this status has not changed since."""
        return (self.size, self.mtime_ns, self.ctime_ns) == (
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )


@dataclasses.dataclass(frozen=True)
class Heard:
    """A stretch of a file, and where its windows are.

    Attributes:
        seen: The file.
        start: Of the stretch, in seconds.
        duration: Asked for, in seconds; None for the rest of the file.
        seconds: That there are.
        windows: K.
    """

    seen: Seen
    start: float
    duration: float | None
    seconds: float
    windows: int

    @property
    def key(self) -> tuple:
        """The same of all stretches that sound the same, whatever their files are called."""
        return self.seen.digest, self.start, self.duration


@dataclasses.dataclass(frozen=True)
class Shard:
    """What one file of an index holds.

    Attributes:
        heard: Stretches, their windows in a row.
        starts: (N,) of the windows, in seconds of their files, float64.
        vectors: (N, D), float32, as the model gave them.
    """

    heard: Sequence[Heard]
    starts: np.ndarray
    vectors: np.ndarray


def paths(folder: Path) -> list[Path]:
    """The shards of an index, in the order in which they were written."""
    return sorted((folder / FOLDER).glob("*.safetensors"))


def write(folder: Path, shard: Shard) -> Path:
    """Writes the next shard of an index; it is there whole or not at all."""
    there = paths(folder)
    number = int(there[-1].stem) + 1 if there else 0
    path = folder / FOLDER / f"{number:06d}.safetensors"
    arrays = {"starts": shard.starts, "vectors": shard.vectors}
    about = {
        "heard": json.dumps([dataclasses.asdict(each) for each in shard.heard]),
        "digest": _digest(shard.vectors),
    }
    whole_file.write(path, safetensors.save(arrays, metadata=about))
    return path


def read_heard(path: Path) -> list[Heard]:
    """What a shard is of, without its vectors.

    Raises:
        whole_file.DamagedFileError: if it is no shard.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()["heard"])
        return [Heard(**each | {"seen": Seen(**each["seen"])}) for each in about]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise whole_file.DamagedFileError(f"{path}: is damaged ({error}); {REMEDY}") from error


def read(path: Path) -> Shard:
    """A whole shard.

    Raises:
        whole_file.DamagedFileError: if it has changed since it was written.
    """
    heard = read_heard(path)
    try:
        with safe_open(path, framework="numpy") as file:
            starts, vectors = file.get_tensor("starts"), file.get_tensor("vectors")
            digest = file.metadata()["digest"]
    except (SafetensorError, KeyError) as error:
        raise whole_file.DamagedFileError(f"{path}: is damaged ({error}); {REMEDY}") from error
    count = sum(each.windows for each in heard)
    if _digest(vectors) != digest or len(vectors) != count or len(starts) != count:
        raise whole_file.DamagedFileError(f"{path}: has changed since it was written; {REMEDY}")
    return Shard(heard, starts, vectors)


def see(path: Path, known: Iterator[Seen] | Sequence[Seen] = ()) -> Seen:
    """A file as it is; one of `known` that has its size and times is believed, and not read.

    Raises:
        OSError: if it cannot be read, or is no file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would never end
        raise OSError(errno.EINVAL, "is no file", str(path))
    for each in known:
        if each.is_still(status):
            return each
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, _blake2b).hexdigest()
    size, mtime, ctime = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return Seen(str(path), size, mtime, digest, ctime)


def _blake2b() -> "hashlib._Hash":
    return hashlib.blake2b(digest_size=16)


def _digest(vectors: np.ndarray) -> str:
    found = _blake2b()
    found.update(np.ascontiguousarray(vectors))
    return found.hexdigest()
