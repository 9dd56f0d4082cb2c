"""Splits that are drawn have their share of each label, and keep groups together."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from atbert_jax.input_pipeline.manifest import drawing
from atbert_jax.input_pipeline.manifest.records import Record, split_records


def labelled(*labels: str, group: int = 1) -> list[Record]:
    return [
        Record(
            f"r{n}", Path("/a"), labels=tuple(filter(None, own.split("|"))), group=f"g{n // group}"
        )
        for n, own in enumerate(labels)
    ]


def counts(records: list[Record]) -> Counter:
    return Counter(label for record in records for label in record.labels)


@pytest.mark.parametrize(("each", "expected"), [(3, 1), (5, 1), (10, 1), (20, 2), (40, 4)])
def test_every_label_is_in_every_split(each, expected):
    names = [f"label {n}" for n in range(12)]
    splits = split_records(labelled(*names * each))
    for split in ("val", "test"):
        assert counts(splits[split]) == dict.fromkeys(names, expected)
    assert counts(splits["train"]) == dict.fromkeys(names, each - 2 * expected)


def test_groups_stay_whole():
    records = labelled(*["a"] * 40, *["b"] * 40, *["c"] * 12, group=4)
    splits = split_records(records)
    groups = [{record.group for record in members} for members in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 23
    for split in ("val", "test"):
        assert counts(splits[split]) == {"a": 4, "b": 4, "c": 4}


def test_rare_labels_stay_where_they_are_learned():
    records = labelled(*["often"] * 30, "rare", "rare", "once", "x|y", "x|y", "x|y")
    splits = split_records(records)
    assert counts(splits["train"])["rare"] == 2
    assert counts(splits["train"])["once"] == 1
    for split in splits.values():
        assert counts(split)["x"] == counts(split)["y"] == 1


@pytest.mark.parametrize("seed", range(5))
def test_no_label_is_lost_to_train_and_no_split_grows_over(seed):
    rng = np.random.default_rng(seed)
    names = [f"tag {n}" for n in range(300)]
    rows = ["|".join(rng.choice(names, rng.integers(1, 4), replace=False)) for _ in range(400)]
    records = labelled(*rows)
    splits = split_records(records)
    assert counts(splits["train"]).keys() == counts(records).keys()
    for split in ("val", "test"):
        assert 20 <= len(splits[split]) <= 100


def test_unlabelled_records_are_drawn_by_their_hash_whatever_else_is_there():
    plain = [Record(f"p{n}", Path("/a")) for n in range(300)]
    alone = split_records(plain)
    beside = split_records(plain + labelled(*["a", "b"] * 30))
    for split, members in alone.items():
        assert [r for r in beside[split] if not r.labels] == members


def test_without_stratifying_labels_do_not_matter():
    records = labelled(*["a", "b", "c"] * 50)
    bare = [Record(r.id, r.path, group=r.group) for r in records]
    drawn = split_records(records, stratify=False)
    expected = split_records(bare)
    assert {k: [r.id for r in v] for k, v in drawn.items()} == {
        k: [r.id for r in v] for k, v in expected.items()
    }


def test_val_is_drawn_from_train_alone():
    records = labelled(*["a", "b"] * 20)
    records = [
        Record(r.id, r.path, labels=r.labels, split="test" if n < 10 else "")
        for n, r in enumerate(records)
    ]
    splits = split_records(records)
    assert counts(splits["test"]) == {"a": 5, "b": 5}
    assert counts(splits["val"]) == {"a": 2, "b": 2}


def test_tiny_sets_still_have_something_to_be_chosen_by():
    splits = split_records(labelled("a", "a", "b", "b"))
    assert [len(splits[name]) for name in ("train", "val", "test")] == [2, 1, 1]
    assert counts(splits["train"]) == {"a": 1, "b": 1}
    assert split_records(labelled("a", "b", "c"))["train"] == labelled("a", "b", "c")


def test_tasks_count_as_labels():
    records = [
        Record(f"r{n}", Path("/a"), tasks=((f"key {n % 4}",), (0.5,), ())) for n in range(40)
    ]
    splits = split_records(records)
    found = Counter(record.tasks[0][0] for record in splits["test"])
    assert found == {f"key {n}": 1 for n in range(4)}


def test_the_order_of_the_table_does_not_matter():
    records = labelled(*["a", "b", "b|c", "c"] * 25)
    one, other = split_records(records), split_records(records[::-1])
    for split, members in one.items():
        assert {r.id for r in members} == {r.id for r in other[split]}


def test_labels_of_groups():
    found = drawing.labels_of(["x", "y", "x"], [("a",), (), ("b", "a")])
    assert found == {"x": {"a", "b"}, "y": set()}
