"""The report of an evaluation says which files were not heard as they are written."""

from pathlib import Path
from types import SimpleNamespace

from atbert_jax.evaluation import split_warnings
from atbert_jax.input_pipeline.audio import remarks
from atbert_jax.input_pipeline.manifest.records import Record


def test_odd_files_are_counted_once_each():
    records = [Record(str(n), Path(f"/odd/{n % 3}.wav")) for n in range(9)]
    dataset = SimpleNamespace(split=lambda name: SimpleNamespace(records=records))
    assert split_warnings.odd_files(dataset, "test") == []
    remarks.add("/odd/1.wav", "is upside down")
    remarks.add("/odd/2.wav", "is red")
    remarks.add("/odd/elsewhere.wav", "is blue")
    assert split_warnings.odd_files(dataset, "test") == [
        "2 files are not heard as they are written, /odd/1.wav first: it is upside down."
    ]
