"""Which shard a record is in, and which rows are copies of others."""

from pathlib import Path

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.preparing import shard_plan
from atbert_jax.input_pipeline.preparing.band_statistics import BandSums
from atbert_jax.input_pipeline.preparing.shard_plan import Sharding
from atbert_jax.input_pipeline.preparing.shard_writer import ShardSettings, Summary


def settings(**changes: object) -> Sharding:
    of_shards = ShardSettings(8000, "wav", Spectrogram(8000))
    return Sharding(
        **{"name": "x", "records_per_shard": 2, "deduplicate": False, "shards": of_shards} | changes
    )


def test_records_are_in_shards_by_their_order():
    records = [Record(str(n), Path(f"{n}.wav"), split="fold 1" if n % 4 else "2") for n in range(9)]
    assert shard_plan.make_plan(records, settings()) == {
        "2": {"x-2.array_record-00000-of-00002": [0, 4], "x-2.array_record-00001-of-00002": [8]},
        "fold_1": {
            f"x-fold_1.array_record-0000{number}-of-00003": rows
            for number, rows in enumerate(([1, 2], [3, 5], [6, 7]))
        },
    }


def test_no_record_is_of_no_split():
    names = ("train", "val", "test", "", "more of it")
    records = [Record(str(n), Path("a.wav"), split=name) for n, name in enumerate(names)]
    expected = {"train": [0, 3], "val": [1], "test": [2], "more_of_it": [4]}
    assert shard_plan.splits_of(records) == expected


def test_rows_of_the_same_part_of_a_file_are_no_copies():
    places = [("a", 0.0), ("b", 0.0), ("a", 0.0), ("b", 0.0), ("a", 1.0), ("c", 0.0)]
    records = [Record(str(n), Path(path), start=start) for n, (path, start) in enumerate(places)]
    nothing = BandSums.sum(())
    first = Summary([1, 3, 5], [9] * 3, ["x", "x", "y"], [], {}, nothing, 0, "")
    second = Summary([0, 2, 4], [9] * 3, ["x", "x", "x"], [], {}, nothing, 0, "")
    assert shard_plan.find_copies([first, second], records) == {1: 0, 3: 0, 4: 0}
