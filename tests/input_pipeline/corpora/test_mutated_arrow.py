"""Mutated Arrow and Parquet files: each gives a corpus, or is refused in a line that names it."""

import contextlib
import io
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.table_file import ManifestError
from tests import trial

# So many by default; more with FUZZ=300, say.
MUTANTS_OF_EACH = int(os.environ.get("FUZZ", "40"))


def table() -> pyarrow.Table:
    """Rows with sound, nested columns, lists, a dictionary, dates and missing cells."""
    sound = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    rows = range(9)
    return pyarrow.table(
        {
            "audio": pyarrow.array(
                [{"bytes": b"RIFF" + bytes(40), "path": "a"} for _ in rows], sound
            ),
            "genre": pyarrow.array([None if n == 4 else n % 3 for n in rows], pyarrow.int64()),
            "moods": pyarrow.array([[f"mood {m}" for m in range(n % 3)] for n in rows]),
            "caption": pyarrow.array([f"a slow song {n}" for n in rows]),
            "artist": pyarrow.array([f"artist {n // 2}" for n in rows]).dictionary_encode(),
            "day": pyarrow.array(np.arange(9).astype("datetime64[D]")),
            "live": pyarrow.array([n % 2 == 0 for n in rows]),
        }
    )


def originals() -> dict[str, bytes]:
    stream, file, packed = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with pyarrow.ipc.new_stream(stream, table().schema) as writer:
        writer.write_table(table(), max_chunksize=4)
    with pyarrow.ipc.new_file(file, table().schema) as writer:
        writer.write_table(table(), max_chunksize=4)
    parquet.write_table(table(), packed)
    return {
        "stream.arrow": stream.getvalue(),
        "file.arrow": file.getvalue(),
        "packed.parquet": packed.getvalue(),
    }


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Changes numbers of four bytes, where offsets and lengths are, or bits, or cuts."""
    changed = bytearray(data)
    kind = rng.integers(4)
    if kind < 2:
        for place in rng.integers(0, len(data) // 4, int(rng.integers(1, 4))) * 4:
            odd = rng.choice([-1, 1, 2**31 - 1, -(2**31), 1000, 2**20, int(rng.integers(2**31))])
            changed[place : place + 4] = int(odd).to_bytes(4, "little", signed=True)
    elif kind == 2:
        for place in rng.integers(0, len(data), int(rng.integers(1, 12))):
            changed[place] ^= 1 << int(rng.integers(8))
    else:
        return data[: int(rng.integers(len(data)))]
    return bytes(changed)


def mutants(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(seed)
    for name, data in originals().items():
        for number in range(count):
            yield f"{number:03}_{name}", mutate(data, rng)


def outcomes(path: Path) -> list[str]:
    """Whether it is read, or how it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "music")
        root.mkdir()
        shutil.copy(path, root)

        def read() -> str:
            with contextlib.redirect_stdout(io.StringIO()):  # for the trial speaks there
                corpora.read("huggingface", root, Path(folder, "out"))
            return "read"

        return [str(trial.outcome(read, ManifestError)).replace(str(root), "ROOT")]


def test_every_mutant_is_read_or_refused(tmp_path):
    files = dict(mutants(0, MUTANTS_OF_EACH))
    found = trial.run(__name__, originals(), files, tmp_path)
    assert found.keys() == files.keys()
    kinds = Counter()
    for name, (said,) in found.items():
        kinds[said.partition(":")[0]] += 1
        assert said == "read" or said.startswith("refused: "), (name, said)
        assert "\n" not in said
        assert said == "read" or "ROOT" in said, (name, said)
    assert kinds["read"] > 0 < kinds["refused"]
