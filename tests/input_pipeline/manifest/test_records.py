"""Tests of splits, label names and label arrays."""

from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from atbert_jax.input_pipeline.labelling import label_matrix, label_names, target_matrix
from atbert_jax.input_pipeline.manifest.records import (
    ManifestError,
    Record,
    read_manifest,
    read_manifests,
    require,
    split_records,
)


def table(tmp_path: Path, *lines: str, name: str = "tracks.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def records(*splits: str, **fields) -> list[Record]:
    return [
        Record(id=f"r{i}", path=Path(f"/a/{i}.wav"), split=split, **fields)
        for i, split in enumerate(splits)
    ]


def test_drawn_splits_follow_the_hash_of_id_or_group():
    found = [Record(f"r{i}", Path("/a"), group=f"g{i % 60}" if i % 2 else "") for i in range(600)]
    splits = split_records(found, val_fraction=0.2, test_fraction=0.3)
    for name, low, high in (("test", 0, 0.3), ("val", 0.3, 0.5), ("train", 0.5, 1)):
        for record in splits[name]:
            digest = blake2b((record.group or record.id).encode(), digest_size=8).digest()
            assert low <= int.from_bytes(digest, "big") / 2**64 < high
    assert sum(map(len, splits.values())) == 600


def test_drawn_splits_do_not_change_when_records_are_added():
    found = records(*[""] * 1000)
    few, all_of_them = split_records(found[::3]), split_records(found[::-1])
    for name, part in few.items():
        assert set(part) <= set(all_of_them[name])


def test_named_splits_are_used_and_val_is_carved_from_train_by_group():
    found = [
        Record(f"r{i}", Path("/a"), split="test" if i % 6 == 0 else "train", group=f"s{i % 6}")
        for i in range(60)
    ]
    splits = split_records(found)
    assert {record.group for record in splits["test"]} == {"s0"}
    train, val = ({record.group for record in splits[name]} for name in ("train", "val"))
    assert len(val) == 1
    assert train | val == {"s1", "s2", "s3", "s4", "s5"}
    assert not train & val
    assert split_records(found, val_fraction=0)["val"] == []


def test_train_and_val_only_leave_test_empty():
    found = records("train", "val", "train", "")
    splits = split_records(found)
    assert [len(splits[name]) for name in ("train", "val", "test")] == [3, 1, 0]
    with pytest.raises(ManifestError) as caught:
        require(splits, "test")
    message = str(caught.value)
    assert "split 'test' has no records (records per split: train 3, val 1, test 0)" in message
    assert "--config.data.test_split=val" in message
    assert require(split_records(found, test="val"), "test") == splits["val"]


def test_renamed_splits():
    found = records("training", "valid", "evaluation", "extra")
    splits = split_records(found, train="training", val="valid", test="evaluation")
    assert [[r.id for r in part] for part in splits.values()] == [["r0"], ["r1"], ["r2"]]
    with pytest.raises(ManifestError, match=r"'train' .*training 1.*data\.train_split="):
        split_records(found)
    with pytest.raises(ManifestError, match=r"'val' .*valid 1.*data\.val_split=valid"):
        split_records(records("train", "valid"))


def test_small_sets_get_every_split_and_never_lose_train():
    for groups in range(1, 12):
        splits = split_records(records(*[""] * groups))
        assert splits["train"]
        assert sum(map(len, splits.values())) == groups
        if groups >= 3:
            assert splits["val"]
            assert splits["test"]


@pytest.mark.parametrize("fractions", [(-0.1, 0.1), (0.5, 0.5), (0.2, 1.0)])
def test_fractions_must_leave_train(fractions):
    with pytest.raises(ValueError, match="val_fraction"):
        split_records(records("train"), val_fraction=fractions[0], test_fraction=fractions[1])


def labelled(*labels: tuple[str, ...]) -> list[Record]:
    return [Record(f"r{i}", Path("/a"), labels=own) for i, own in enumerate(labels)]


def test_label_names_are_in_natural_order():
    train = labelled(("10",), ("2",), ("track 10",), ("track 9",), ("blues",), (), ("årstid",))
    splits = {"train": train, "val": train[:1], "test": []}
    expected = ["2", "10", "blues", "track 9", "track 10", "årstid"]
    assert label_names(splits, "single_label") == expected


def test_label_outside_train_names_label_split_and_record():
    splits = {"train": labelled(("a",)), "val": [], "test": labelled(("a",), ("a", "polka"))}
    with pytest.raises(ManifestError, match=r"'polka' occurs in split 'test' \(record 'r1'\)"):
        label_names(splits, "multi_label")


def test_several_labels_in_a_single_label_task():
    splits = {"train": labelled(("a",), ("a", "b")), "val": [], "test": []}
    with pytest.raises(ManifestError, match=r"'r1' of split 'train', field 'labels': 2 labels"):
        label_names(splits, "single_label")
    assert label_names(splits, "multi_label") == ["a", "b"]


def test_train_without_labels_and_unknown_task():
    splits = {"train": labelled((), ()), "val": labelled(("a",)), "test": []}
    with pytest.raises(ManifestError, match="none of the 2 records of split 'train' has a label"):
        label_names(splits, "multi_label")
    with pytest.raises(ValueError, match="labels='regression' is none of single_label"):
        label_names(splits, "regression")


def test_label_matrix():
    labels, mask = label_matrix(labelled(("b", "a"), (), ("c",)), ["a", "b", "c"])
    np.testing.assert_array_equal(labels, [[1, 1, 0], [0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(mask, [1, 0, 1])
    assert labels.dtype == mask.dtype == np.float32
    with pytest.raises(ManifestError, match="record 'r0', field 'labels': 'd' is none of the 2"):
        label_matrix(labelled(("d",)), ["a", "b"])


def test_target_matrix(tmp_path):
    csv = tmp_path / "tracks.csv"
    csv.write_text("path,v,a\na.wav,0.5,-1\nb.wav,,2\nc.wav,1e-3,0\n")
    found = read_manifest(csv, target_columns=("a", "v"))
    targets, mask = target_matrix(found)
    np.testing.assert_allclose(targets, [[-1, 0.5], [2, 0], [0, 1e-3]], rtol=1e-7)
    np.testing.assert_array_equal(mask, [1, 0, 1])
    assert targets.dtype == mask.dtype == np.float32
    with pytest.raises(ManifestError, match="target_columns"):
        target_matrix(read_manifest(csv))


def test_matrices_of_no_records():
    assert label_matrix([], ["a", "b"])[0].shape == (0, 2)
    assert target_matrix([])[1].shape == (0,)


def test_hold_out(tmp_path):
    csv = table(
        tmp_path,
        "path,speaker,split",
        "a,george,train",
        "b,lucas,train",
        "c,lucas,test",
        "d,george,test",
        "e,theo,val",
    )
    found = [(r.id, r.split) for r in read_manifest(csv, hold_out="speaker=george")]
    assert found == [("a", "test"), ("b", "train"), ("d", "test"), ("e", "val")]
    nobody = r"field 'speaker': no row has the held-out value 'anna'.*george, lucas, theo"
    with pytest.raises(ManifestError, match=nobody):
        read_manifest(csv, hold_out="speaker=anna")
    with pytest.raises(ManifestError, match="column=value"):
        read_manifest(csv, hold_out="speaker")


def test_hold_out_without_splits_leaves_the_rest_to_train_and_val(tmp_path):
    lines = [f"{i}.wav,s{i % 10}" for i in range(100)]
    csv = table(tmp_path, "path,group", *lines)
    splits = split_records(read_manifest(csv, hold_out="group=s3"))
    assert {record.group for record in splits["test"]} == {"s3"}
    assert len(splits["train"]) + len(splits["val"]) == 90
    assert splits["val"]


def test_several_manifests(tmp_path):
    first = table(tmp_path, "path,caption", "a.wav,x")
    second = table(tmp_path, "path,caption", "b.wav,y", "c.wav,z", name="more.csv")
    tables = read_manifests([first, str(second)], text_column="caption")
    assert [[r.text for r in found] for found in tables] == [["x"], ["y", "z"]]
