"""PyTorch's files without PyTorch: both formats, and nothing but arrays."""

import importlib.util
import os
import pickle
import random
import re
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from atbert_jax.weights import torch_file
from atbert_jax.weights.torch_file import Storage, Tensor
from tests import trial

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FORMATS = ("state_dict_old.pth", "state_dict_zip.pth")

numbers = np.arange(12).reshape(3, 4)
EXPECTED = {
    "plain": numbers.astype(np.float32),
    "transposed": numbers.T.astype(np.float64),
    "one.part": np.arange(2, 5).astype(np.float32),
    "other.part": np.arange(5, 20).astype(np.float32),
    "count": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "half": numbers.astype(np.float16),
    "brain": numbers.astype(ml_dtypes.bfloat16),
    "flags": np.array([True, False]),
    "parameter": np.full(2, 3, np.float32),
}


def write_golden(folder: str) -> None:
    """What PyTorch writes, in a process of its own."""
    import torch

    numbers, line = torch.arange(12).reshape(3, 4), torch.arange(20.0)
    arrays = torch.nn.Module().state_dict()  # ordered, with metadata
    arrays["plain"] = numbers.float()
    arrays["transposed"] = numbers.double().T
    arrays["one.part"], arrays["other.part"] = line[2:5], line[5:]
    arrays["count"] = torch.tensor(7)
    arrays["empty"] = torch.zeros(0, 3)
    arrays["half"], arrays["brain"] = numbers.half(), numbers.bfloat16()
    arrays["flags"] = torch.tensor([True, False])
    arrays["parameter"] = torch.nn.Parameter(torch.full((2,), 3.0))
    for name in FORMATS:
        torch.save(arrays, Path(folder, name), _use_new_zipfile_serialization="zip" in name)


def require_expected(path: Path) -> None:
    found = torch_file.read(path)
    assert found.keys() == EXPECTED.keys()
    for name, array in EXPECTED.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("name", FORMATS)
def test_every_array_of_both_formats(name):
    require_expected(GOLDEN / name)


@pytest.mark.parity
@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="parity needs PyTorch")
def test_what_pytorch_writes_today(tmp_path):
    """To write the golden files anew, copy them from here."""
    code = f"from tests.weights import test_torch_file as t; t.write_golden({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in FORMATS:
        require_expected(tmp_path / name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_part_of_a_file_is_refused_by_its_name(tmp_path, name):
    whole, path = (GOLDEN / name).read_bytes(), tmp_path / name
    for length in range(0, len(whole), len(whole) // 50):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"{name}: not a state dict .*, or not whole") as error:
            torch_file.read(path)
        assert "\n" not in str(error.value)


class Program:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("kind", ["plain", "old", "zip"])
def test_a_program_is_not_run(tmp_path, kind):
    path, program = tmp_path / "weights.pth", pickle.dumps({"w": Program(tmp_path / "it ran")})
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/data.pkl", program)
    else:
        about = {"little_endian": True}
        first = [torch_file.MAGIC, torch_file.PROTOCOL, about] if kind == "old" else []
        path.write_bytes(b"".join(map(pickle.dumps, first)) + program)
    with pytest.raises(ValueError, match=r"weights\.pth: .*wants to run \w+\.mkdir, which no"):
        torch_file.read(path)
    assert not (tmp_path / "it ran").exists()
    pickle.loads(program)
    assert (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (["no", "names"], "it holds a list"),
        ({"epoch": 3}, "'epoch' is a int"),
        ({"state_dict": {}}, "'state_dict' is a dict"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, held, reason):
    path = tmp_path / "model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(held))
    with pytest.raises(ValueError, match=rf"model\.bin: .*\({reason}\); get it anew"):
        torch_file.read(path)


def write_zip(path: Path, tensors: dict[str, str], storages: dict[str, bytes], method: int) -> None:
    """A file as `torch.save` writes it, of tensors of 2**20 float32 by the storages they name."""
    lines = [b"\x80\x02}"]
    for name, key in tensors.items():
        lines.append(
            b"X"
            + len(name).to_bytes(4, "little")
            + name.encode()
            + b"ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\n"
            + f"V{key}\nVcpu\nI1048576\ntQI0\n(I1048576\nt(I1\ntI00\nNtRs".encode()
        )
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("w/data.pkl", b"".join(lines) + b".")
        for key, data in storages.items():
            archive.writestr(f"w/data/{key}", data)


def test_arrays_that_share_their_numbers_take_no_more_memory(tmp_path):
    """3,000 of 4 MiB each would be 12 GiB."""
    path, data = tmp_path / "share.pth", bytes(4 << 20)
    write_zip(path, {f"w{n}": "0" for n in range(3000)}, {"0": data}, zipfile.ZIP_STORED)
    tracemalloc.start()
    found = torch_file.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 3000
    assert found["w7"].shape == (1 << 20,)
    assert peak < 4 * path.stat().st_size


def test_what_is_compressed_or_said_to_be_more_than_it_is_takes_no_memory(tmp_path):
    bomb, long = tmp_path / "bomb.pth", tmp_path / "long.pth"
    write_zip(bomb, {"w": "0"}, {"0": bytes(4 << 20)}, zipfile.ZIP_DEFLATED)
    write_zip(long, {"w": "0"}, {"0": bytes(16)}, zipfile.ZIP_STORED)
    data = long.read_bytes()
    # The size of the last member, in the directory at the end.
    place = data.rindex(b"PK\x01\x02") + 24
    long.write_bytes(data[:place] + (1 << 30).to_bytes(4, "little") + data[place + 4 :])
    tracemalloc.start()
    for path, reason in ((bomb, "it is compressed"), (long, "more bytes than it has")):
        with pytest.raises(ValueError, match=f"{path.name}: .*{reason}"):
            torch_file.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_an_old_file_whose_storage_ends_behind_it_takes_no_memory(tmp_path):
    path = tmp_path / "old.pth"
    first = [torch_file.MAGIC, torch_file.PROTOCOL, {"little_endian": True}]
    tensor = (
        b"\x80\x02}Vw\nctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\n"
        b"V0\nVcpu\nI268435456\ntQI0\n(I4\nt(I1\ntI00\nNtRs."
    )
    keys = pickle.dumps(["0"], 2)
    size = (1 << 28).to_bytes(8, "little")
    data = b"".join(pickle.dumps(each, 2) for each in first) + tensor + keys + size + bytes(16)
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"old.pth: .*268435456 numbers reaches beyond the end"):
        torch_file.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_a_pickle_that_wants_room_for_billions_of_values_is_refused(tmp_path):
    path = tmp_path / "memo.pth"
    path.write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    with pytest.raises(ValueError, match=r"memo.pth: .*one is kept as number 2147483647"):
        torch_file.read(path)


def outcomes(path: Path) -> list[object]:
    """What becomes of a file, for `trial`."""
    found = trial.outcome(lambda: sorted(torch_file.read(path)), ValueError)
    return [found]


@pytest.mark.slow
def test_mutants_are_read_or_refused_by_name(tmp_path):
    rng, originals, mutants = random.Random(0), {}, {}
    for name in FORMATS:
        originals[name] = data = (GOLDEN / name).read_bytes()
        for number in range(120):
            mutant = bytearray(data)
            for _ in range(rng.choice((1, 1, 4))):
                mutant[rng.randrange(len(mutant))] = rng.randrange(256)
            mutants[f"{number}-{name}"] = bytes(mutant)
    found = trial.run("tests.weights.test_torch_file", originals, mutants, tmp_path)
    assert len(found) == 240
    texts = [text for (text,) in found.values() if isinstance(text, str)]
    assert len(texts) > 20
    assert not [text for text in texts if not re.match(r"refused: .*\d+-state_dict", text)]


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (3, (4,), (1,)),
        (-1, (2,), (1,)),
        (0, (2, 3), (4, 1)),
        (5, (2,), (-1,)),
        (0, (1000, 1000), (0, 0)),
    ],
)
def test_an_array_beyond_its_bytes_is_refused(offset, shape, strides):
    storage = Storage(np.dtype("<f4"), "0", 6)
    with pytest.raises(ValueError, match="is not within its 6 numbers"):
        Tensor(storage, offset, shape, strides).array(np.zeros(6, np.float32))
