"""PyTorch's files without PyTorch: both formats, and nothing but arrays."""

import importlib.util
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from atbert_jax.weights import torch_file
from atbert_jax.weights.torch_file import Storage, Tensor

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
    code = f"from tests.conversion import test_torch_file as t; t.write_golden({str(tmp_path)!r})"
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
