"""Frames of features: from audio and from files, cut, padded, masked and refused."""

from pathlib import Path

import numpy as np
import pytest

from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio import decoding
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.audio.music_features import MusicFeatures, extract
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.batching import batches
from atbert_jax.input_pipeline.batching.bad_records import BadRecords
from atbert_jax.input_pipeline.batching.frames import FrameReader
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.manifest.perturbation import Perturbation
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.training import trained
from tests import tiny

# 16 000 / 128 are 125 frames a second, and 28 columns.
SETTINGS = {"sample_rate": 16_000, "hop_length": 128, "n_fft": 512, "n_chroma": 4, "n_mfcc": 4}
SETTINGS |= {"n_mels": 8, "n_cqt_chroma": 8}
FEATURES = MusicFeatures(**SETTINGS)
CHANGES = {
    "data.input": "frames",
    "segmenting.segments": 1,
    "segmenting.seconds": 0.24,
    **{f"features.{name}": value for name, value in SETTINGS.items()},
}
FRAMES = 30


@pytest.fixture
def build(tone_manifest, tone_config, tmp_path):
    """Batches of tones of 0.5 and 0.2 seconds, 63 and 26 frames."""

    def make(**changes: object) -> batches.Batches:
        manifest = changes.pop("manifest", None) or tone_manifest(4, 2, 1, seconds=(0.5, 0.2))
        config = tone_config(manifest, **(CHANGES | changes))
        return batches.Batches(config, dataset.load(config, tmp_path), BadRecords(None))

    return make


def prepared(folder: Path, frames: int, columns: int = FEATURES.size) -> Record:
    values = np.random.default_rng(frames).normal(size=(frames, columns)).astype(np.float32)
    np.save(folder / f"{frames}.npy", values)
    return Record(f"{frames}", folder / f"{frames}.npy")


def reader(seconds: float = 0.24, **changes: object) -> FrameReader:
    return FrameReader(FEATURES, Segmenting(1, seconds, **changes))


def test_batches_of_chunks_hold_all_frames_of_every_clip(build):
    source = build()
    split = source.dataset.split("train")
    found: dict[int, list[np.ndarray]] = {}
    for batch in source.evaluation("train", 4):
        assert batch["frames"].shape == (4, FRAMES, 28)
        assert batch["frame_mask"].shape == (4, FRAMES)
        np.testing.assert_array_equal(batch["segment_mask"], batch["frame_mask"][:, :1])
        assert not batch["frames"][batch["frame_mask"] == 0].any()
        for row in np.flatnonzero(batch["valid"]):
            part = batch["frames"][row][batch["frame_mask"][row] > 0]
            found.setdefault(int(batch["record"][row]), []).append(part)
    assert [len(found[number]) for number in range(4)] == [3, 1, 3, 1]
    for number, parts in found.items():
        waveform = decoding.read(split.records[number].path, 16_000)
        np.testing.assert_array_equal(np.concatenate(parts), extract(waveform, FEATURES))


def test_training_crops_at_random_and_is_a_pure_function_of_its_step(build):
    source = build()
    stream = source.train("train", 4)
    seen = [next(stream) for _ in range(4)]
    again = next(source.train("train", 4, 2))
    for name, values in again.items():
        np.testing.assert_array_equal(values, seen[2][name], err_msg=name)
    crops = {batch["frames"][batch["record"] == 0].tobytes() for batch in seen}
    assert len(crops) > 1
    assert {int(n) for batch in seen for n in batch["frame_mask"].sum(axis=1)} == {26, 30}


def test_a_chunk_is_a_whole_number_of_frames(build):
    """So a clip of exactly its length is one chunk, with all of its frames."""
    contract = build(**{"segmenting.seconds": 0.2431}).dataset.contract
    assert contract.segmenting.seconds == FRAMES / 125
    assert contract.segmenting.count(FRAMES / 125, 125.0) == 1
    assert contract.normalization.kind == "none"


def test_prepared_frames_are_taken_as_they_are(tmp_path):
    record = prepared(tmp_path, 70)
    values, found = np.load(record.path), reader()
    assert found.duration(record) == 70 / 125
    for chunk, length in enumerate((30, 30, 10)):
        frames, mask = found.segments(record, chunk)
        np.testing.assert_array_equal(frames[:length], values[30 * chunk :][:length])
        assert mask.tolist() == [1] * length + [0] * (30 - length)
        assert not frames[length:].any()
    part = Record("part", record.path, start=0.08, duration=0.16)
    np.testing.assert_array_equal(found.segments(part)[0][:20], values[10:30])
    assert found.segments(part)[1].sum() == 20


def test_short_clips_are_padded_and_silent_frames_are_real(tmp_path):
    record = prepared(tmp_path, 3)
    values = np.load(record.path)
    values[1] = 0  # a frame of zeros within the clip is a frame
    np.save(record.path, values)
    frames, mask = reader().segments(record)
    assert mask.tolist() == [1, 1, 1] + [0] * 27
    np.testing.assert_array_equal(frames[:3], values)


def test_a_waveform_in_a_npy_file_is_sound(tmp_path):
    tone = np.sin(np.arange(8000) / 5).astype(np.float32)
    np.save(tmp_path / "tone.npy", tone)
    record = Record("tone", tmp_path / "tone.npy")
    found, _ = reader(0.504).segments(record)
    np.testing.assert_array_equal(found, extract(tone, FEATURES))


def test_files_that_hold_other_features_are_refused_by_name(tmp_path):
    record = prepared(tmp_path, 40, columns=27)
    with pytest.raises(AudioError, match=r"40\.npy: has 27 columns, but config.features makes 28"):
        reader().segments(record)
    broken = prepared(tmp_path, 50)
    np.save(broken.path, np.full((50, 28), np.nan, np.float32))
    with pytest.raises(AudioError, match=r"50\.npy: holds features that are not finite"):
        reader().segments(broken)
    late = Record("late", prepared(tmp_path, 60).path, start=1.0)
    with pytest.raises(AudioError, match=r"starts at 1 s but ends at 0\.48 s"):
        reader().duration(late)
    noisy = Record("noisy", late.path, perturbation=Perturbation.parse("noise:0.4"))
    with pytest.raises(ValueError, match="only audio can be perturbed"):
        reader().segments(noisy)


def test_a_file_that_cannot_be_read_is_no_clip(build, tmp_path, tone_manifest):
    manifest = tone_manifest(4, 2, 1, seconds=0.5, name="some.csv")
    (manifest.parent / "train1.wav").write_bytes(b"nothing")
    batch = next(build(manifest=manifest).evaluation("train", 16))
    lost = batch["record"] == 1
    assert lost.any()
    for name in ("valid", "segment_mask", "frame_mask", "label_mask"):
        assert not batch[name][lost].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmenting.segments": 2}, "segments=2, layout='windows'; set segments=1"),
        ({"augmentation.gain_db": 6.0}, r"config.augmentation.gain_db changes sound"),
        ({"augmentation.time_masks": 1}, r"config.augmentation.time_masks changes sound"),
    ],
)
def test_what_cannot_be_done_to_frames_is_refused(build, changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_a_contract_with_features_is_restored(build, tmp_path):
    contract = build().dataset.contract
    contract.save(tmp_path)
    assert Contract.load(tmp_path) == contract


def test_predictions_hear_what_evaluations_heard(tone_manifest, tone_config, tmp_path):
    changes = {**tiny.MODEL, "model.name": "m3bert", "objectives.classification": 1.0}
    manifest = tone_manifest(4, 2, 3, seconds=(0.5, 0.2))
    config = tone_config(manifest, **CHANGES, **changes, **{"classification.views": ("audio",)})
    tiny.save_run(tmp_path / "run", config)
    model = trained.load(tmp_path / "run")
    data = dataset.load(config, tmp_path, contract=model.contract, tokenizer=model.tokenizer)
    records = data.split("test").records
    scores: dict[int, list] = {}
    for batch in batches.Batches(config, data, BadRecords(None)).evaluation("test", 4):
        _, outputs, kept = model.evaluate(batch)
        for row in np.flatnonzero(kept["valid"]):
            own = scores.setdefault(int(kept["record"][row]), [])
            own.append(np.asarray(outputs["classification"]["audio"][row]))
    for number, answer in enumerate(Predictor(model).predict(records)):
        found = list(answer.fields["probabilities"].values())
        np.testing.assert_allclose(found, np.mean(scores[number], axis=0), atol=1e-5)
        assert answer.duration == pytest.approx((63, 26)[(4 + 2 + number) % 2] / 125)
