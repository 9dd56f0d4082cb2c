"""What was read is remembered within a budget, and the system has its memory back."""

from pathlib import Path

import numpy as np
import pytest

from atbert_jax.input_pipeline.audio import memory
from atbert_jax.input_pipeline.manifest.records import Record


def records(count: int) -> list[Record]:
    return [Record(str(number), Path(f"{number}.wav")) for number in range(count)]


@pytest.mark.parametrize("shape", [(5,), (2000,), (30, 70), (0,)])
def test_what_is_remembered_is_what_was_read(monkeypatch, shape):
    monkeypatch.setattr(memory, "SHELF", 3 * 4096)  # a few clips each, and less than some
    rng, reads = np.random.default_rng(0), []

    def read(record: Record) -> np.ndarray:
        reads.append(record.id)
        return first.setdefault(record.id, rng.normal(size=shape).astype(np.float32))

    first: dict[str, np.ndarray] = {}
    remembered = memory.Memory(read, 1)
    for _ in range(2):
        for record in records(20):
            found = remembered.get(record)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, first[record.id])
    assert len(reads) == 20


def test_what_does_not_fit_is_read_again():
    reads = []

    def read(record: Record) -> np.ndarray:
        reads.append(record.id)
        return np.zeros(2**17, np.float32)  # half a megabyte

    remembered = memory.Memory(read, 1)
    for _ in range(2):
        for record in records(10):
            remembered.get(record)
    assert len(reads) == 10 + 8


def test_what_is_remembered_cannot_be_changed():
    remembered = memory.Memory(lambda record: np.zeros(3), 1).get(*records(1))
    with pytest.raises(ValueError, match="read-only"):
        remembered[0] = 1
