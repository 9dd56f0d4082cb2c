"""PyTorch's own files of weights (`.pth`, `.pt`, `.bin`) as NumPy arrays, without PyTorch.

`torch.save` pickles a dict of tensors, whose bytes stand behind the pickle (until PyTorch 1.5) or
beside it in a zip archive (since). A pickle is a program; what runs here of it can make an ordered
dict and say of an array where its bytes are. Whatever else it names, the file is refused.

Memory is in proportion to the file: what it says of its sizes is held against its own before
anything is read, nothing in it may be compressed, and arrays that share their numbers go on sharing
them.
"""

import collections
import dataclasses
import math
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from atbert_jax.weights.engine import Arrays

# The first two pickles of an old file.
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


@dataclasses.dataclass(frozen=True)
class Storage:
    """One run of numbers in the file.

    Attributes:
        dtype: Of the numbers.
        key: Its name in the file.
        size: How many.
    """

    dtype: np.dtype
    key: str
    size: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An array that is not read yet.

    Attributes:
        storage: Where its numbers are.
        offset: Of the first one.
        shape: Of the array.
        strides: Of each axis, in numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, numbers: np.ndarray) -> np.ndarray:
        """The array, a view of the numbers of its storage.

        Raises:
            ValueError: if it reaches beyond them, or is more than they are.
        """
        if any(length < 0 for length in self.shape):
            raise ValueError(f"an array is said to be of shape {self.shape}")
        if not math.prod(self.shape):
            return np.zeros(self.shape, numbers.dtype)
        steps = list(zip(self.shape, self.strides, strict=True))
        last = self.offset + sum((length - 1) * stride for length, stride in steps)
        inside = self.offset >= 0 and last < len(numbers) and math.prod(self.shape) <= len(numbers)
        if not inside or any(stride < 0 for stride in self.strides):
            raise ValueError(f"an array of {self.shape} is not within its {len(numbers)} numbers")
        strides = [stride * numbers.itemsize for stride in self.strides]
        start = numbers[self.offset :]
        return np.lib.stride_tricks.as_strided(start, self.shape, strides, writeable=False)


def _tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> Tensor:
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor


# All that a pickle may name, beside the storages.
KNOWN: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class Unpickler(pickle.Unpickler):
    """Reads a pickle of tensors and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle names.

        Raises:
            pickle.UnpicklingError: if no weights need it.
        """
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"it wants to run {module}.{name}, which no weights need")
        return KNOWN[module, name]

    def persistent_load(self, pid: tuple) -> Storage:
        """The storage that the pickle refers to.

        Raises:
            pickle.UnpicklingError: if it is anything else, or a part of another storage.
        """
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"it refers to a {kind} of another storage")
        return Storage(dtype, key, size)


def read(path: Path) -> Arrays:
    """The arrays of a state dict, by name.

    Args:
        path: A file of `torch.save(model.state_dict(), path)`, of any version of PyTorch.

    Raises:
        ValueError: if it is anything else, or damaged; the message names the file.
        OSError: if there is no such file.
    """
    with path.open("rb") as file:
        try:
            return _read_zip(file) if zipfile.is_zipfile(file) else _read_old(file)
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            raise ValueError(
                f"{path}: not a state dict of tensors by name, or not whole ({reason}); get it"
                " anew, or save `model.state_dict()`, best as .safetensors"
            ) from error


def _read_zip(file: IO[bytes]) -> Arrays:
    with zipfile.ZipFile(file) as archive:
        [pickled] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        _require_stored(archive, file)
        folder = pickled.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ValueError("its bytes are in big-endian order")
        with archive.open(pickled) as program:
            tensors = _tensors(_load(program))

        def numbers(storage: Storage) -> np.ndarray:
            return _numbers(archive.read(f"{folder}data/{storage.key}"), storage)

        return _arrays(tensors, {x.storage.key: numbers(x.storage) for x in tensors.values()})


def _read_old(file: IO[bytes]) -> Arrays:
    file.seek(0)
    first = [_load(file) for _ in range(3)]
    if first[:2] != [MAGIC, PROTOCOL] or not first[2]["little_endian"]:
        raise ValueError("it was not written by torch.save")
    tensors = _tensors(_load(file))
    storages = {x.storage.key: x.storage for x in tensors.values()}
    found = {}
    for key in _load(file):
        (size,) = struct.unpack("<q", file.read(8))
        if size != storages[key].size:
            raise ValueError(f"a storage holds {size} numbers instead of {storages[key].size}")
        length = size * storages[key].dtype.itemsize
        if not 0 <= length <= _size(file) - file.tell():
            raise ValueError(f"a storage of {size} numbers reaches beyond the end")
        found[key] = _numbers(file.read(length), storages[key])
    return _arrays(tensors, found)


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _require_stored(archive: zipfile.ZipFile, file: IO[bytes]) -> None:
    """Refuses members that would be larger in memory than in the file."""
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("it is compressed, which torch.save never does")
    if sum(member.file_size for member in members) > _size(file):
        raise ValueError("it is said to hold more bytes than it has")


def _load(file: IO[bytes]) -> Any:
    """What the pickle holds that begins here; the file is then behind it.

    Raises:
        ValueError: if it keeps a value at a place of its memory that the unpickler would make
            gigabytes of room for.
    """
    start = file.tell()
    for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument) > count:
            raise ValueError(f"of at most {count} values one is kept as number {argument}")
    file.seek(start)
    return Unpickler(file).load()


def _numbers(data: bytes, storage: Storage) -> np.ndarray:
    if len(data) != storage.size * storage.dtype.itemsize:
        raise ValueError(f"a storage of {storage.size} numbers has {len(data)} bytes")
    return np.frombuffer(data, storage.dtype)


def _tensors(found: Any) -> dict[str, Tensor]:
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{name!r} is a {type(value).__name__}")
    return found


def _arrays(tensors: dict[str, Tensor], numbers: dict[str, np.ndarray]) -> Arrays:
    return {name: tensor.array(numbers[tensor.storage.key]) for name, tensor in tensors.items()}
