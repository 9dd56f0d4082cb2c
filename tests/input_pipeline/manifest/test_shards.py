"""Records of shards are read as files are, at random access, and bad ones are named."""

import concurrent.futures
import dataclasses
import functools
import json

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from atbert_jax import predict
from atbert_jax.evaluation import prediction, pseudo_labels
from atbert_jax.evaluation.prediction import Answer
from atbert_jax.input_pipeline.audio import decoding
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.manifest import shards
from atbert_jax.input_pipeline.manifest.records import read_manifest
from atbert_jax.input_pipeline.manifest.table_file import ManifestError
from atbert_jax.input_pipeline.preparing import shard_writer
from atbert_jax.input_pipeline.preparing.shard_writer import ShardSettings, ShardWriter, pcm16
from tests import commands

RATE = 8000
NAME = "tones-train.array_record-00000-of-00001"


def write_shard(folder, audio_format="wav", lengths=(4000, 120_000, 2000)):
    """Noises of these lengths, their shard and its manifest."""
    generator = np.random.default_rng(0)
    clips = [pcm16(generator.uniform(-1, 1, length)) for length in lengths]
    settings = ShardSettings(RATE, audio_format, Spectrogram(RATE))
    with ShardWriter(folder / NAME, settings) as writer:
        for number, clip in enumerate(clips):
            writer.write(clip, id=f"a/{number}.mp3", text="é" * 200, labels=["x", "y"], group="")
    rows = [f"a/{number}.mp3,{NAME},{number}" for number in range(len(clips))]
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(["id,path,place", *rows]) + "\n", encoding="utf-8")
    return [clip / np.float32(2**15) for clip in clips], manifest


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_records_are_read_as_files_are(tmp_path, audio_format):
    clips, manifest = write_shard(tmp_path, audio_format)
    records = read_manifest(manifest)
    assert [record.place for record in records] == [0, 1, 2]
    assert [record.name for record in records] == ["0.mp3", "1.mp3", "2.mp3"]
    for record, clip in zip(records, clips, strict=True):
        np.testing.assert_array_equal(decoding.read_clip(record, RATE), clip)
        assert decoding.file_duration(record.path, RATE, place=record.place) == len(clip) / RATE
    part = decoding.read(records[1].path, RATE, 3.0, 0.5, place=1)
    np.testing.assert_array_equal(part, clips[1][24_000:28_000])
    # The second is long enough to be read in parts, the others are remembered.
    reader = Reader(RATE, Segmenting(2, 0.5), memory_mb=1)
    for _ in range(2):
        for record, clip in zip(records, clips, strict=True):
            segments, _ = reader.segments(record, chunk=0)
            expected = np.pad(clip, (0, RATE))[:RATE].reshape(2, -1)
            np.testing.assert_array_equal(segments, expected)


def test_threads_share_readers_and_few_stay_open(tmp_path, monkeypatch):
    clips, _ = write_shard(tmp_path)
    copies = [tmp_path / f"{NAME}{number}" for number in range(20)]
    for copy in copies:
        copy.hardlink_to(tmp_path / NAME)
    bounded = functools.lru_cache(maxsize=3)(shards._open.__wrapped__)
    monkeypatch.setattr(shards, "_open", bounded)
    jobs = [(copy, place) for place in (2, 0, 1) for copy in copies] * 3

    def is_right(job):
        path, place = job
        return np.array_equal(decoding.read(path, RATE, place=place), clips[place])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_right, jobs))
    assert bounded.cache_info().currsize == 3


def test_what_cannot_be_read_is_named(tmp_path):
    _, manifest = write_shard(tmp_path)
    first = read_manifest(manifest)[0]
    writer = ArrayRecordWriter(str(tmp_path / "bad.array_record-0"), "group_size:1")
    for junk in (b"", b"\x0a\xff", b"\x0a\x02ab", b"nothing"):
        writer.write(junk)
    writer.close()
    whole = (tmp_path / NAME).read_bytes()
    hit = bytearray(whole)
    hit[len(whole) // 2] ^= 1
    (tmp_path / "hit.array_record-0").write_bytes(hit)
    (tmp_path / "cut.array_record-0").write_bytes(whole[: len(whole) // 2])
    cases = [
        (NAME, 3, "record 3: the shard has 3 records"),
        ("none.array_record-0", 0, "record 0: not a readable shard (no such file)"),
        ("cut.array_record-0", 0, "record 0: not a readable shard ("),
        ("hit.array_record-0", 1, "record 1: not readable ("),
    ]
    junk = "no example with a field 'audio'"
    cases += [("bad.array_record-0", place, f"record {place}: {junk}") for place in range(4)]
    reader = Reader(RATE, Segmenting(2, 0.5))
    for name, place, reason in cases:
        record = dataclasses.replace(first, path=tmp_path / name, place=place)
        for read in (reader.segments, lambda record: decoding.read_clip(record, RATE)):
            with pytest.raises(AudioError) as caught:
                read(record)
            assert str(caught.value).startswith(f"{tmp_path / name}, {reason}")


def test_a_record_that_is_no_sound_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "encode", lambda *_: b"no sound")
    _, manifest = write_shard(tmp_path)
    record = read_manifest(manifest)[2]
    with pytest.raises(AudioError, match=f"{NAME}, record 2: not readable as audio .Format not"):
        decoding.read_clip(record, RATE)


def test_a_place_is_a_number_and_only_of_shards(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(f"path,place\na.wav,Paris\n{NAME},1\n", encoding="utf-8")
    assert [record.place for record in read_manifest(table)] == [None, 1]
    for place in ("", "-1", "1.0", "x"):
        table.write_text(f"path,place\n{NAME},{place}\n", encoding="utf-8")
        with pytest.raises(ManifestError, match=f"row 2, field 'place': '{place}' is no number"):
            read_manifest(table)
    table.write_text(f"path\n{NAME}\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="no column 'place'"):
        read_manifest(table)


def test_shards_are_read_without_tensorflow(tmp_path):
    _, manifest = write_shard(tmp_path)
    code = commands.WITHOUT_TENSORFLOW + (
        "from atbert_jax.input_pipeline.audio import decoding; "
        "from atbert_jax.input_pipeline.manifest import records; "
        "print(*(len(decoding.read_clip(r, 8000)) for r in records.read_manifest(sys.argv[1])))"
    )
    result = commands.run(manifest, code=code)
    assert result.stdout.split() == ["4000", "120000", "2000"], result.stderr


def test_answers_about_a_record_name_it(tmp_path):
    record = read_manifest(write_shard(tmp_path)[1])[0]
    answer = Answer(record, 0.5, {"probabilities": {"x": 1.0}}, np.zeros(1))
    about = {"path": str(tmp_path / NAME), "place": 0, "id": "a/0.mp3"}
    assert prediction.as_json(answer).items() >= about.items()
    assert predict.as_row(answer)[0] == "0.mp3"
    row = pseudo_labels._row(answer, tmp_path)
    (tmp_path / "pseudo.jsonl").write_text(json.dumps(row) + "\n")
    (again,) = read_manifest(tmp_path / "pseudo.jsonl")
    assert (again.id, again.path, again.place) == (record.id, record.path, record.place)
