"""Vectors on disk: files of some thousand windows each, written whole, and never changed.

A shard is a safetensors file with the vectors, the starts of the windows, and as JSON in its header
what they are of. What it holds goes by the digest of the file that was heard, not by its name.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from atbert_jax.input_pipeline.text import whole_file

FOLDER, NAME = "shards", re.compile(r"[0-9]{6,9}")
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

    def is_there(self) -> bool:
        """Whether the file is where it was, and has not changed since."""
        try:
            return self.is_still(Path(self.path).stat())
        except OSError:
            return False


@dataclasses.dataclass(frozen=True)
class Heard:
    """A stretch of a file, and where its windows are.

    Attributes:
        seen: The file.
        start: Of the stretch, in seconds.
        duration: Asked for, in seconds; None for the rest of the file.
        seconds: That there are.
        windows: K.
        by: What heard it (see `index_folder.Made.mark`).
    """

    seen: Seen
    start: float
    duration: float | None
    seconds: float
    windows: int
    by: str

    @property
    def key(self) -> tuple:
        """The same of all stretches whose vectors are, whatever their files are called."""
        return key(self.by, self.seen, self.start, self.duration)

    @property
    def is_sound(self) -> bool:
        """Whether it is what it says, for a file can say anything."""
        seen = self.seen
        numbers = [self.start, self.seconds, *([] if self.duration is None else [self.duration])]
        counts = [seen.size, seen.mtime_ns, seen.ctime_ns, self.windows]
        return (
            all(isinstance(each, str) for each in (self.by, seen.path, seen.digest))
            and all(isinstance(each, float | int) and math.isfinite(each) for each in numbers)
            and all(isinstance(each, int) for each in counts)
            and min(*numbers, seen.size) >= 0
            and self.windows > 0
        )


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
    found = (folder / FOLDER).glob("*.safetensors")
    return sorted((path for path in found if NAME.fullmatch(path.stem)), key=lambda p: int(p.stem))


def write(folder: Path, shard: Shard) -> Path:
    """Writes the next shard of an index; it is there whole or not at all."""
    number = 1 + max((int(path.stem) for path in paths(folder)), default=-1)
    path = folder / FOLDER / f"{number:06d}.safetensors"
    arrays = {"starts": shard.starts, "vectors": shard.vectors}
    heard = json.dumps([dataclasses.asdict(each) for each in shard.heard])
    about = {"heard": heard, "digest": _digest(heard, shard.starts, shard.vectors)}
    whole_file.write(path, safetensors.save(arrays, metadata=about))
    return path


def read_heard(path: Path) -> list[Heard]:
    """What a shard is of, without its vectors: they are known to be as many as it says.

    Raises:
        whole_file.DamagedFileError: if it is no shard.
    """
    with _opened(path) as file:
        about = json.loads(file.metadata()["heard"])
        heard = [Heard(**each | {"seen": Seen(**each["seen"])}) for each in about]
        if not all(each.is_sound for each in heard):
            raise ValueError("it says of what it holds what cannot be")
        starts, vectors = (file.get_slice(name) for name in ("starts", "vectors"))
        count, (rows, width) = sum(each.windows for each in heard), vectors.get_shape()
        kinds = starts.get_dtype(), vectors.get_dtype()
        if starts.get_shape() != [count] or rows != count or not width or kinds != ("F64", "F32"):
            raise ValueError(f"it holds other arrays than {count} vectors and their starts")
        return heard


def read(path: Path) -> Shard:
    """A whole shard.

    Raises:
        whole_file.DamagedFileError: if it has changed since it was written.
    """
    heard = read_heard(path)
    with _opened(path) as file:
        starts, vectors = file.get_tensor("starts"), file.get_tensor("vectors")
        about = file.metadata()
        is_whole = about["digest"] == _digest(about["heard"], starts, vectors)
    if not is_whole or not np.isfinite(starts).all() or not np.isfinite(vectors).all():
        raise whole_file.DamagedFileError(f"{path}: has changed since it was written; {REMEDY}")
    return Shard(heard, starts, vectors)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    """A shard to read from; whatever is wrong with it is said with its name."""
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    # What is no text, no number or no list, or has a thousand brackets.
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise whole_file.DamagedFileError(f"{path}: is damaged ({error}); {REMEDY}") from error


def key(by: str, seen: Seen, start: float, duration: float | None) -> tuple:
    """As `Heard.key`, of a stretch of a file that need not be heard yet."""
    return by, seen.digest, start, duration


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


def _digest(heard: str, starts: np.ndarray, vectors: np.ndarray) -> str:
    found = _blake2b()
    for each in (heard.encode(), np.ascontiguousarray(starts), np.ascontiguousarray(vectors)):
        found.update(each)
    return found.hexdigest()
