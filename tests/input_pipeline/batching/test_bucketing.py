"""Tests of buckets: the same records as without, at any step alike, with less padding."""

import itertools

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.batching import bucketing
from atbert_jax.input_pipeline.batching.bad_records import BadRecords
from atbert_jax.input_pipeline.batching.batches import Batches
from atbert_jax.input_pipeline.batching.bucketing import SHAPES, Buckets
from atbert_jax.input_pipeline.batching.mixture import Mixture
from tests.input_pipeline.batching.test_batches import assert_equal

SECONDS = (0.1, 0.3, 0.6, 1.1, 2.4)
PLAIN = {"augmentation.random_crop": False, "normalization": "none", "segmenting.segments": 8}


@pytest.fixture
def make(tone_manifest, tone_config, tmp_path):
    manifest = tone_manifest(11, 2, 1, seconds=SECONDS)
    # Texts of several lengths, each clip's own.
    rows = manifest.read_text().splitlines()
    texts = [f"{row},{' tone' * (number % 5)}" for number, row in enumerate(rows[1:])]
    manifest.write_text("\n".join([rows[0] + ",said", *texts]))

    def build(*, any_length: bool = False, **changes: object) -> Batches:
        changes = {"data.bucketing": 4, "data.text_column": "said"} | PLAIN | changes
        config = tone_config(manifest, **changes)
        data = dataset.load(config, tmp_path)
        return Batches(config, data, BadRecords(None), any_length=any_length)

    build.folder = manifest.parent
    return build


def first(source: Batches, count: int, start: int = 0, **options) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(source.train("train", 4, start, **options), count))


def rows(batches: list[dict]) -> list[dict[str, np.ndarray]]:
    """Each example by itself, in the order of the records."""
    found = [
        {name: values[row] for name, values in batch.items()}
        for batch in batches
        for row in range(len(batch["record"]))
    ]
    return sorted(found, key=lambda row: int(row["record"]))


def test_a_batch_is_a_pure_function_of_its_step(make):
    augmented = {
        "augmentation.random_crop": True,
        "augmentation.time_shift": 0.2,
        "augmentation.noise_probability": 1.0,
    }
    source = make(**augmented)
    whole = first(source, 9)
    assert_equal(first(make(**augmented), 2, 7), whole[7:])
    rows = [0, 3]  # of one of two processes
    expected = [{name: x[rows] for name, x in batch.items()} for batch in whole]
    assert_equal(first(source, 9, rows=np.array(rows)), expected)
    other = first(make(seed=1), 9)
    assert any((a["record"] != b["record"]).any() for a, b in zip(whole, other, strict=True))


@pytest.mark.parametrize("carried", ["log_mel", "waveform"])
def test_windows_hold_what_they_hold_without_buckets_and_only_padding_is_cut(make, carried):
    """Of 11 records in batches of 4, windows of 4 batches end within epochs."""
    bucketed = make(**{"data.input": carried})
    plain = make(**{"data.input": carried, "data.bucketing": 0})
    for window in range(2):
        found, expected = (rows(first(each, 4, 4 * window)) for each in (bucketed, plain))
        assert [row["record"] for row in found] == [row["record"] for row in expected]
        for one, other in zip(found, expected, strict=True):
            for name in other:
                if other[name].ndim:
                    kept = len(one[name])
                    is_mask = name in ("samples", "segment_mask", "token_mask")
                    assert not (is_mask and other[name][kept:].any())
                    # Batches of other shapes are added up in another order.
                    np.testing.assert_allclose(one[name], other[name][:kept], atol=1e-5)


def test_batches_have_few_shapes_and_little_padding(make):
    source = make(**{"data.bucketing": 8})
    found = first(source, 16)
    shapes = {(*batch["segment_mask"].shape, *batch["token_mask"].shape) for batch in found}
    buckets = source._buckets["train", 4]
    assert shapes <= {(4, sound, 4, text) for sound, text in buckets.shapes}
    assert 2 < len(shapes) <= len(buckets.shapes) <= SHAPES + 1
    plain = first(make(**{"data.bucketing": 0}), 16)
    for name in ("segment_mask", "token_mask"):
        share, before = (
            np.concatenate([1 - batch[name].reshape(-1) for batch in each]).mean()
            for each in (found, plain)
        )
        assert share < 0.6 * before
    assert "of the segments" in source.padding("train", 4)
    assert make(**{"data.bucketing": 0}).padding("train", 4) == ""


def test_padding_is_told_as_it_is(make, monkeypatch):
    monkeypatch.setattr(bucketing, "PLANNED", 8)
    source = make(**{"data.bucketing": 8})
    batches = first(source, 8)
    masks = [
        np.concatenate([1 - batch[name].reshape(-1) for batch in batches]).mean()
        for name in ("segment_mask", "token_mask")
    ]
    source.padding("train", 4)
    np.testing.assert_allclose(source._buckets["train", 4].padding, masks, atol=1e-6)


def test_shapes_are_the_ones_that_pad_least():
    lengths = np.stack([np.repeat([1, 2, 20], 8), np.full(24, 3)], axis=1)
    buckets = Buckets(Mixture([24], [1.0], 0), lengths, 8, 3, 0)
    np.testing.assert_array_equal(buckets.shapes, [[1, 3], [2, 3], [20, 3]])
    np.testing.assert_allclose(buckets.padding, 0)
    many = np.random.default_rng(0).integers(1, 60, (500, 2))
    buckets = Buckets(Mixture([500], [1.0], 0), many, 10, 32, 0)
    assert len(buckets.shapes) <= SHAPES + 1
    np.testing.assert_array_equal(buckets.shapes.max(axis=0), many.max(axis=0))
    # Of two lengths that have nothing to do with each other.
    assert (buckets.padding < 0.35).all()


def test_evaluation_keeps_its_order_and_is_cut_to_its_longest(make):
    found, expected = (
        list(make(**{"data.bucketing": window}).evaluation("val", 2)) for window in (4, 0)
    )
    for one, other in zip(found, expected, strict=True):
        for name in other:
            shape = tuple(slice(size) for size in one[name].shape)
            np.testing.assert_allclose(one[name], other[name][shape], atol=1e-5, err_msg=name)
    # Clips of 0.3 and 0.6 s, in segments of 0.25 s.
    assert found[0]["segment_mask"].shape == (2, 3)
    assert expected[0]["segment_mask"].shape == (2, 8)


def test_bad_files_are_survived(make):
    (make.folder / "train1.wav").write_text("no audio")
    (make.folder / "train4.wav").unlink()
    source = make()
    found = rows(first(source, 4))
    assert {int(row["record"]) for row in found if not row["valid"]} == {1, 4}
    assert len(source.bad_records) == 2
    assert all(np.isfinite(row["log_mel"]).all() for row in found)


def test_durations_of_the_manifest_are_taken_at_their_word(tone_config, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    lines = ["path,start,duration,split"]
    lines += [f"a.wav,{start},{seconds},train" for start, seconds in ((0, 0.2), (0.1, 0.6))]
    (tmp_path / "cuts.csv").write_text("\n".join([*lines, "a.wav,0.5,,train", "a.wav,0.3,,val"]))
    config = tone_config(tmp_path / "cuts.csv", **PLAIN, **{"data.task": ""})
    source = Batches(config, dataset.load(config, tmp_path), BadRecords(None))
    opened = []
    actual = source.reader.duration

    def duration(record, position):
        opened.append(record.start)
        return actual(record, position)

    monkeypatch.setattr(source.reader, "duration", duration)
    records = source.dataset.split("train").records
    np.testing.assert_allclose(bucketing.durations(records, source.reader, 2), [0.2, 0.6, 0.5])
    assert opened == [0.5]


def test_samples_are_cut_for_models_that_hear_any_number_of_them(make):
    changes = {"data.input": "waveform", "segmenting.segments": 1, "segmenting.seconds": 2.0}
    bucketed = make(any_length=True, **changes)
    fixed = make(**changes)
    found, expected = (rows(first(each, 4)) for each in (bucketed, fixed))
    sizes = set()
    for one, other in zip(found, expected, strict=True):
        size = one["waveform"].shape[1]
        np.testing.assert_array_equal(one["waveform"], other["waveform"][:, :size])
        np.testing.assert_array_equal(one["samples"], other["samples"])
        assert one["samples"] <= size
        sizes.add(size)
        assert size == 16_000 or size % 128 == 0
    assert len(sizes) > 2
    assert "of the samples" in bucketed.padding("train", 4)


def test_a_negative_number_of_batches_is_refused(make):
    with pytest.raises(ValueError, match=r"config\.data\.bucketing=-1 must be a number of batches"):
        make(**{"data.bucketing": -1})
