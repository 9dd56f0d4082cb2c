"""Tests of batches: pure functions of their step, whole in evaluation, safe from bad files."""

import gc
import itertools
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.batching import batches
from atbert_jax.input_pipeline.batching.bad_records import FILE, BadRecords
from atbert_jax.input_pipeline.batching.batches import Batches
from atbert_jax.input_pipeline.batching.log_mel import log_mel
from atbert_jax.input_pipeline.contract import Normalization
from atbert_jax.input_pipeline.manifest.records import ManifestError

AUGMENTED = {
    "augmentation.time_shift": 0.2,
    "augmentation.gain_db": 6.0,
    "augmentation.noise_probability": 0.5,
    "augmentation.frequency_masks": 1,
    "augmentation.time_masks": 1,
}
PLAIN = {"augmentation.random_crop": False, "normalization": "none"}


def build(config, folder: Path, measure=None) -> Batches:
    data = dataset.load(config, folder, measure=measure)
    return Batches(config, data, BadRecords(folder))


def first(stream, count: int) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(stream, count))


def assert_equal(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def by_record(found: list[dict], field: str = "log_mel") -> dict[int, list[np.ndarray]]:
    """The values of a field for each record, in the order in which they came."""
    values: dict[int, list[np.ndarray]] = {}
    for batch in found:
        for row in np.flatnonzero(batch["valid"]):
            values.setdefault(int(batch["record"][row]), []).append(batch[field][row])
    return values


def test_fields_have_their_shapes_and_types(tmp_path, tone_manifest, tone_config):
    config = tone_config(tone_manifest(3, 1, 1), **AUGMENTED, normalization="clip")
    source = build(config, tmp_path)
    # 0.25 s at 8 kHz are 2000 samples, 2000 // 128 + 1 frames.
    expected = {
        "log_mel": ((4, 2, 16, 16), np.float32),
        "samples": ((4, 2), np.int32),
        "segment_mask": ((4, 2), np.float32),
        "token_ids": ((4, 8), np.int32),
        "token_mask": ((4, 8), np.float32),
        "labels": ((4, 2), np.float32),
        "label_mask": ((4,), np.float32),
        "record": ((4,), np.int32),
        "valid": ((4,), np.float32),
    }
    for batch in (next(source.train("train", 4)), next(source.evaluation("train", 4))):
        assert {name: (x.shape, x.dtype) for name, x in batch.items()} == expected
        assert all(type(x) is np.ndarray for x in batch.values())
        split = source.dataset.split("train")
        for name in ("token_ids", "token_mask", "labels"):
            np.testing.assert_array_equal(batch[name], getattr(split, name)[batch["record"]])


def test_a_batch_is_a_pure_function_of_its_step(tmp_path, tone_manifest, tone_config):
    manifest = tone_manifest(7, 1, 1, seconds=(0.7, 0.3, 13.0))
    config = tone_config(manifest, **AUGMENTED, normalization="clip")
    source = build(config, tmp_path)
    whole = first(source.train("train", 4), 6)
    assert_equal(first(source.train("train", 4, 4), 2), whole[4:])
    # Neither the threads nor the memory have a say.
    config.data.update({"threads": 1, "memory_mb": 0})
    assert_equal(first(build(config, tmp_path).train("train", 4, 1), 5), whole[1:])
    config.seed = 1
    other = next(build(config, tmp_path).train("train", 4))
    assert not np.array_equal(other["log_mel"], whole[0]["log_mel"])


def test_rows_of_two_processes_are_the_global_batch(tmp_path, tone_manifest, tone_config):
    source = build(tone_config(tone_manifest(7), **AUGMENTED, normalization="clip"), tmp_path)
    whole = first(source.train("train", 4, 2), 3)
    for rows in ([0, 1], [2, 3], [0, 3], [1]):
        mine = first(source.train("train", 4, 2, rows=np.array(rows)), 3)
        assert_equal(mine, [{name: x[rows] for name, x in batch.items()} for batch in whole])


def test_an_epoch_has_every_record_once(tmp_path, tone_manifest, tone_config):
    source = build(tone_config(tone_manifest(6), normalization="clip"), tmp_path)
    records = np.concatenate([batch["record"] for batch in first(source.train("train", 4), 6)])
    for epoch in records.reshape(4, 6):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(6))


def test_two_manifests_come_by_their_weights(tmp_path, tone_manifest, tone_config):
    paths = tone_manifest(6, 1, 1, name="one.csv"), tone_manifest(2, 1, 1, name="two.csv")
    config = tone_config(",".join(map(str, paths)), **PLAIN, **{"data.mixture": (1.0, 3.0)})
    source = build(config, tmp_path)
    records = np.concatenate([batch["record"] for batch in first(source.train("train", 8), 3)])
    assert (records < 6).sum() == 6
    found = by_record(list(source.evaluation("val", 4)))
    assert sorted(found) == [0, 1]


def test_evaluation_has_every_chunk_once(tmp_path, tone_manifest, tone_config):
    manifest = tone_manifest(2, 1, 3, seconds=(0.5, 0.2, 1.3, 13.1, 0.6, 1.0))
    source = build(tone_config(manifest, **AUGMENTED, normalization="none"), tmp_path)
    found = list(source.evaluation("test", 4))
    # Of 13.1 s, 0.6 s and 1.0 s in chunks of 0.5 s.
    counts = [27, 2, 2]
    assert len(found) == source.steps("test", 4) == 8
    valid = np.concatenate([batch["valid"] for batch in found])
    np.testing.assert_array_equal(valid, [1] * 31 + [0])
    assert found[-1]["label_mask"][-1] == 0
    records = np.concatenate([batch["record"] for batch in found])[:31]
    np.testing.assert_array_equal(records, np.repeat([0, 1, 2], counts))
    values, masks = by_record(found), by_record(found, "segment_mask")
    counts_of_samples = by_record(found, "samples")
    test = source.dataset.split("test").records
    for record, count in enumerate(counts):
        for chunk in range(count):
            waveform, samples = source.reader.segments(test[record], chunk)
            expected = log_mel(tf.constant(waveform), source.dataset.contract.spectrogram)
            np.testing.assert_allclose(values[record][chunk], expected, rtol=0, atol=1e-5)
            np.testing.assert_array_equal(masks[record][chunk], samples > 0)
            np.testing.assert_array_equal(counts_of_samples[record][chunk], samples)
    assert_equal(list(source.evaluation("test", 4)), found)


def test_evaluation_of_two_processes_is_the_global_one(tmp_path, tone_manifest, tone_config):
    source = build(tone_config(tone_manifest(7, seconds=(0.3, 1.2)), **PLAIN), tmp_path)
    whole = list(source.evaluation("train", 4))
    for rows in ([0, 1], [2, 3], [0, 3]):
        mine = list(source.evaluation("train", 4, np.array(rows)))
        assert_equal(mine, [{name: x[rows] for name, x in batch.items()} for batch in whole])


def test_nothing_is_kept_of_what_nobody_reads_any_more(tmp_path, tone_manifest, tone_config):
    source = build(tone_config(tone_manifest(6, 4, 1), normalization="clip"), tmp_path)
    stream = source.train("train", 2)
    assert list(source.evaluation("val", 2))
    reader, split = weakref.ref(source.reader), weakref.ref(source.dataset.split("train"))
    del source
    gc.collect()
    assert len(first(stream, 3)) == 3  # the stream needs no one but itself
    del stream
    gc.collect()
    assert reader() is None
    assert split() is None


def test_a_failure_of_a_worker_names_the_record(tmp_path, tone_manifest, tone_config, monkeypatch):
    source = build(tone_config(tone_manifest(2), **PLAIN), tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(source.reader, "segments", fail)
    message = r"a data worker failed: .*record 'train0' \(.*train0\.wav\): MemoryError: no room"
    with pytest.raises(ValueError, match=message):
        next(source.evaluation("train", 4))


def test_spaced_evaluation_has_every_clip_once(tmp_path, tone_manifest, tone_config):
    config = tone_config(tone_manifest(2, 1, 5, seconds=2.0), **PLAIN)
    config.segmenting.layout = "spaced"
    found = list(build(config, tmp_path).evaluation("test", 5))
    np.testing.assert_array_equal(found[0]["record"], np.arange(5))
    assert len(found) == 1
    assert found[0]["segment_mask"].all()


def test_augmentation_differs_between_epochs(tmp_path, tone_manifest, tone_config):
    manifest = tone_manifest(4, 1, 1, seconds=1.0)
    crops = {"augmentation.random_crop": True, "normalization": "none"}
    for changes in (AUGMENTED | PLAIN, crops):
        source = build(tone_config(manifest, **changes), tmp_path)
        for one, other in by_record(first(source.train("train", 4), 2)).values():
            assert not np.array_equal(one, other)
    source = build(tone_config(manifest, **PLAIN), tmp_path)
    evaluated = by_record(list(source.evaluation("train", 4)))
    for record, (one, other) in by_record(first(source.train("train", 4), 2)).items():
        np.testing.assert_array_equal(one, other)
        # Without augmentation training sees what evaluation sees first.
        np.testing.assert_array_equal(one, evaluated[record][0])


def test_evaluation_is_not_augmented(tmp_path, tone_manifest, tone_config):
    manifest = tone_manifest(4, 1, 1, seconds=1.0)
    augmented = build(tone_config(manifest, **(PLAIN | AUGMENTED)), tmp_path)
    plain = build(tone_config(manifest, **PLAIN), tmp_path)
    assert_equal(list(augmented.evaluation("train", 4)), list(plain.evaluation("train", 4)))


@pytest.mark.parametrize("normalization", ["clip", "none"])
def test_a_bad_file_is_left_out_and_listed_once(
    tmp_path, tone_manifest, tone_config, normalization
):
    manifest = tone_manifest(4, 2, 1)
    config = tone_config(manifest, **AUGMENTED, normalization=normalization)
    good = build(config, tmp_path)
    expected = first(good.train("train", 4), 2), list(good.evaluation("val", 4))
    (manifest.parent / "train1.wav").write_text("no audio")
    (manifest.parent / "val0.wav").unlink()
    source = build(config, tmp_path)
    found = first(source.train("train", 4), 2), list(source.evaluation("val", 4))
    assert len(list(source.evaluation("val", 4))) == 1
    for bad, split_found, split_expected in zip((1, 0), found, expected, strict=True):
        for one, other in zip(split_found, split_expected, strict=True):
            rows = (one["record"] == bad) & (other["valid"] == 1)
            np.testing.assert_array_equal(one["valid"], other["valid"] * ~rows)
            np.testing.assert_array_equal(one["label_mask"], other["label_mask"] * ~rows)
            assert not one["segment_mask"][rows].any()
            # Silence, as it is or normalised.
            assert np.abs(one["log_mel"][rows]).max(initial=0) < 14
            for name in one:
                np.testing.assert_array_equal(one[name][~rows & (one["valid"] > 0)],
                                              other[name][~rows & (one["valid"] > 0)])  # fmt: skip
                assert np.isfinite(one[name]).all()
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    reasons = {line["id"]: line["reason"] for line in lines}
    assert len(lines) == len(source.bad_records) == 2
    assert set(reasons) == {"train1", "val0"}
    assert "train1.wav: not readable as audio" in reasons["train1"]
    assert "val0.wav: not readable as audio (no such file)" in reasons["val0"]


@pytest.mark.parametrize("layout", ["windows", "spaced"])
def test_very_short_and_very_long_together(tmp_path, tone_manifest, tone_config, layout):
    config = tone_config(tone_manifest(2, 1, 1, seconds=(0.2, 60.0)), normalization="clip")
    config.segmenting.layout = layout
    batch = next(build(config, tmp_path).train("train", 2))
    assert batch["log_mel"].shape == (2, 2, 16, 16)
    assert np.isfinite(batch["log_mel"]).all()
    short = [1, 0] if layout == "windows" else [1, 1]
    np.testing.assert_array_equal(batch["segment_mask"][batch["record"] == 0], [short])
    np.testing.assert_array_equal(batch["segment_mask"][batch["record"] == 1], [[1, 1]])
    np.testing.assert_array_equal(batch["valid"], [1, 1])


@pytest.mark.parametrize("normalization", ["clip", "dataset"])
def test_padding_changes_no_real_segment(tmp_path, tone_manifest, tone_config, normalization):
    manifest = tone_manifest(4, 1, 1)

    def values(segments: int) -> np.ndarray:
        config = tone_config(manifest, normalization=normalization)
        config.segmenting.segments = segments
        source = build(config, tmp_path, lambda data: batches.measure_normalization(config, data))
        batch = next(source.evaluation("train", 4))
        np.testing.assert_array_equal(batch["segment_mask"].sum(axis=1), [2] * 4)
        return batch["log_mel"]

    bare, padded = values(2), values(5)
    np.testing.assert_allclose(padded[:, :2], bare, rtol=0, atol=1e-4)


def test_measure_is_the_mean_and_deviation_of_the_real_segments(
    tmp_path, tone_manifest, tone_config
):
    manifest = tone_manifest(40, 1, 1, seconds=(0.5, 0.2, 2.0))
    # A clip that cannot be read does not count.
    (manifest.parent / "train7.wav").write_text("no audio")
    config = tone_config(manifest, **AUGMENTED)
    data = dataset.load(config, tmp_path)
    found = batches.measure_normalization(config, data)
    reader = Batches(config, data, BadRecords(None)).reader
    frames = []
    for number, record in enumerate(data.split("train").records):
        if number != 7:
            waveform, samples = reader.segments(record)
            segments = log_mel(tf.constant(waveform), data.contract.spectrogram).numpy()
            segments = segments[samples > 0]
            frames.append(segments.transpose(0, 2, 1).reshape(-1, 16).astype(np.float64))
    frames = np.concatenate(frames)
    assert found.kind == "dataset"
    np.testing.assert_allclose(found.mean, frames.mean(axis=0), rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.std, frames.std(axis=0), rtol=0, atol=1e-4)
    assert data.contract.normalization == Normalization("dataset")


def test_measured_batches_are_normalised(tmp_path, tone_manifest, tone_config):
    config = tone_config(tone_manifest(8))
    source = build(config, tmp_path, lambda data: batches.measure_normalization(config, data))
    values = next(source.evaluation("train", 8))["log_mel"]
    np.testing.assert_allclose(values.mean(axis=(0, 1, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(values.std(axis=(0, 1, 3)), 1, atol=1e-3)


def test_measure_takes_clips_evenly(tmp_path, tone_manifest, tone_config, monkeypatch):
    monkeypatch.setattr(batches, "MEASURED_CLIPS", 3)
    config = tone_config(tone_manifest(7, 1, 1))
    data = dataset.load(config, tmp_path)
    taken = []

    def chunks(source, split, batch_size, counts):
        taken.extend(np.flatnonzero(counts))
        return iter(())

    monkeypatch.setattr(Batches, "chunks", chunks)
    with pytest.raises(AudioError):
        batches.measure_normalization(config, data)
    assert taken == [0, 3, 6]


def test_nothing_readable_and_nothing_there(tmp_path, tone_manifest, tone_config):
    manifest = tone_manifest(2, 1, 0)
    for number in range(2):
        (manifest.parent / f"train{number}.wav").unlink()
    config = tone_config(manifest)
    data = dataset.load(config, tmp_path)
    with pytest.raises(AudioError, match="not one file of the training split could be read"):
        batches.measure_normalization(config, data)
    source = Batches(config, data, BadRecords(None))
    for make in (source.train, source.evaluation):
        with pytest.raises(ManifestError, match="split 'test' has no records"):
            next(make("test", 2))


def test_start_and_duration_of_records(tmp_path, tone_config):
    """Two records of one file, one of each half, are silence and sound."""
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 4000)
    soundfile.write(tmp_path / "a.wav", np.concatenate([np.zeros(4000), sound]), 8000, "FLOAT")
    rows = ("path,label,split,start,duration", "a.wav,x,train,0,0.45", "a.wav,y,train,0.5,",
            "a.wav,x,val,0.1,")  # fmt: skip
    (tmp_path / "cuts.csv").write_text("\n".join(rows))
    source = build(tone_config(tmp_path / "cuts.csv", **PLAIN), tmp_path)
    silent, loud = next(source.evaluation("train", 2))["log_mel"]
    np.testing.assert_allclose(silent, np.log(1e-6), rtol=1e-6)
    assert loud.min() > np.log(1e-3)
