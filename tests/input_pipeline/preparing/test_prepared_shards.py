"""Shards are those of the manifest, whoever writes them and however often they are killed."""

import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atbert_jax import prepare
from atbert_jax.configs import defaults
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio import decoding
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.batching import batches
from atbert_jax.input_pipeline.batching.bad_records import BadRecords
from atbert_jax.input_pipeline.contract import Normalization
from atbert_jax.input_pipeline.manifest.records import Record, read_manifest
from atbert_jax.input_pipeline.manifest.shards import read_audio
from atbert_jax.input_pipeline.preparing import beam_pipeline, shard_plan
from atbert_jax.input_pipeline.preparing.band_statistics import log_mel
from atbert_jax.input_pipeline.preparing.shard_writer import Summary
from tests import commands

RATE = 8000
BAD, COPY, SAME, ORIGINAL = "bad", "copy", "same", "clip 3"
OPTIONS = ("--shards", f"--sample_rate={RATE}", "--records_per_shard=2", "--deduplicate")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Clips of several rates and channels, one of them bad and one a copy, with their manifest."""
    folder = tmp_path_factory.mktemp("clips")
    generator = np.random.default_rng(0)
    rows = ["id,path,text,labels,split,group,start,mood"]
    for number in range(9):
        rate, channels = (RATE, 22_050, 16_000)[number % 3], 1 + number % 2
        noise = generator.uniform(-0.5, 0.5, (rate + 100 * number, channels))
        soundfile.write(folder / f"{number}.flac", noise, rate)
        labels, split = ("low|loud", "high", "")[number % 3], ("train", "train", "test")[number % 3]
        rows.append(f"clip {number},{number}.flac,“{number}”,{labels},{split},g{number},,{number}")
    (folder / "bad.flac").write_bytes(b"nothing")
    (folder / "copy.flac").write_bytes((folder / "3.flac").read_bytes())
    rows.append(f"{BAD},bad.flac,,high,train,,,")
    rows.append(f"{COPY},copy.flac,a copy,high,test,,,")
    rows.append(f"{SAME},3.flac,the same clip in other words,high,train,,,")
    rows.append("part,5.flac,,,test,,0.25,1")
    table = folder / "clips.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def run(table: Path, output: Path, *options: str) -> None:
    prepare.main(["manifest", f"--root={table}", f"--output={output}", *OPTIONS, *options])


@pytest.fixture(scope="module")
def shards(table, tmp_path_factory) -> Path:
    """The folder that one process makes of them."""
    folder = tmp_path_factory.mktemp("one") / "noises"
    run(table, folder, "--processes=1")
    return folder


@pytest.fixture(scope="module")
def both(table, shards) -> list[tuple[Record, Record]]:
    """Each record of the shards behind the one that it was made of."""
    of_files = {record.id: record for record in read_manifest(table)}
    return [(of_files[record.id], record) for record in read_manifest(shards / "manifest.parquet")]


def test_what_the_table_says_is_kept(both):
    assert [file.id for file, _ in both] == [*(f"clip {n}" for n in range(9)), SAME, "part"]
    for file, record in both:
        for field in ("text", "labels", "split", "group"):
            assert getattr(record, field) == getattr(file, field)
    (_, part) = both[-1]
    assert (part.start, part.duration) == (0.0, 16_500 / 16_000 - 0.25)


def test_the_sound_is_that_of_the_files(both):
    for file, record in both:
        found, expected = decoding.read_clip(record, RATE), decoding.read_clip(file, RATE)
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.5001 / 2**15)
        if soundfile.info(file.path).samplerate == RATE and soundfile.info(file.path).channels == 1:
            np.testing.assert_array_equal(found, expected)


def test_tfds_reads_the_examples(shards, both):
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder_from_directory(shards)
    assert builder.info.splits["train"].num_examples + builder.info.splits["val"].num_examples == 7
    examples = {
        example["id"].decode(): (split, example)
        for split in builder.info.splits
        for example in builder.as_data_source(split=split)
    }
    assert len(examples) == len(both)
    for _, record in both:
        split, example = examples[record.id]
        assert split == record.split or (split, record.split) == ("val", "train")
        assert example["text"].decode() == record.text
        assert [label.decode() for label in example["labels"]] == list(record.labels)
        assert example["group"].decode() == record.group
        assert example["audio"][:4] == b"RIFF"


def test_what_is_not_there_is_named(shards):
    left_out, card = ((shards / name).read_text() for name in ("left_out.csv", "card.html"))
    for reason in ("bad.flac: not readable as audio", f"{COPY}: sounds exactly as {ORIGINAL}"):
        assert left_out.count(reason) == card.count(reason) == 1
    files = {file.name for file in shards.glob("*-of-?????")}
    summaries = [json.loads((shards / f"{name}.json").read_text()) for name in files]
    assert len(files) == 7
    assert all(card.count(text) == 1 for text in files | {s["checksum"] for s in summaries})
    assert sum(len(summary["bad"]) for summary in summaries) == 1
    assert sum(len(summary["copies"]) for summary in summaries) == 1


def test_what_is_odd_about_a_file_is_told(tmp_path, capfd):
    noise, other = np.random.default_rng(0).uniform(-0.5, 0.5, (2, RATE))
    soundfile.write(tmp_path / "odd.wav", np.stack([noise, -noise], 1), RATE)
    soundfile.write(tmp_path / "plain.wav", other, RATE)
    (tmp_path / "clips.csv").write_text("path,text\nplain.wav,plain\nodd.wav,odd\n")
    run(tmp_path / "clips.csv", tmp_path / "shards", "--processes=1")
    said = "has channels of opposite phase, which cancel each other"
    assert capfd.readouterr().out.count(f"odd.wav: {said}") == 1
    summaries = [Summary.load(f, shard_plan.HERE) for f in (tmp_path / "shards").glob("*-?????")]
    (remark,) = (remark for summary in summaries for remark in summary.odd.values())
    assert remark.startswith(said)
    assert (tmp_path / "shards" / "card.html").read_text().count(said) == 1
    for record in read_manifest(tmp_path / "shards" / "manifest.parquet"):
        expected = noise if record.text == "odd" else other
        np.testing.assert_allclose(decoding.read_clip(record, RATE), expected, rtol=0, atol=1e-4)


def kept(table: Path) -> Path:
    """The manifest of the files without what is not in the shards."""
    lines = [line for line in table.read_text().splitlines() if line[:4] not in ("bad,", COPY)]
    manifest = table.with_name("kept.csv")
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def test_batches_of_shards_are_those_of_files(table, shards, tone_config, tmp_path):
    found = []
    for manifest in (shards / "manifest.parquet", kept(table)):
        changes = {"data.task": "multi_label", "data.input": "waveform", "normalization": "none"}
        config = tone_config(manifest, **changes)
        data = dataset.load(config, tmp_path)
        source = batches.Batches(config, data, BadRecords(None))
        found.append([next(source.train("train", 8)), *source.evaluation("test", 4)])
    for ours, expected in zip(*found, strict=True):
        assert ours.keys() == expected.keys()
        for name in expected:
            tolerance = 0.5001 / 2**15 if name == "waveform" else 0
            np.testing.assert_allclose(ours[name], expected[name], rtol=0, atol=tolerance)


def test_training_takes_the_statistics_of_its_spectrogram(table, shards, tone_config, tmp_path):
    def load(manifest: Path, **changes: object) -> Normalization:
        changes |= {"data.task": "multi_label", "segmenting.segments": 1, "segmenting.seconds": 1.1}
        config = tone_config(manifest, **changes)
        config.spectrogram = defaults.get_config().spectrogram
        config.spectrogram.sample_rate = RATE
        return dataset.load(config, tmp_path, measure=lambda _: measured).contract.normalization

    measured = Normalization("clip")
    manifest = shards / "manifest.parquet"
    known = load(manifest)
    train = dataset.read_splits(tone_config(manifest).data)[0]["train"][0]
    values = [log_mel(decoding.read_clip(r, RATE), Spectrogram(RATE, 1024, 320)) for r in train]
    values = np.concatenate(values, axis=1).astype(np.float64)
    np.testing.assert_allclose(known.mean, values.mean(axis=1), rtol=0, atol=1e-9)
    np.testing.assert_allclose(known.std, values.std(axis=1), rtol=0, atol=1e-9)
    # Not where other records are trained on, nor where nothing was measured.
    assert load(manifest, **{"data.val_fraction": 0.4}) == measured
    assert load(kept(table)) == measured


def test_nothing_is_mixed_with_what_stands_in_the_folder(table, shards, tmp_path):
    for option, error in (
        ("--records_per_shard=3", "holds shards of records_per_shard=2, not 3; give another"),
        ("--format=flac", 'holds shards of audio_format="wav", not "flac"'),
        ("--sample_rate=4000", "holds shards of sample_rate=8000, not 4000"),
    ):
        with pytest.raises(SystemExit, match=error):
            run(table, shards, option)
    with pytest.raises(SystemExit, match="holds shards of other records; give another"):
        run(kept(table), shards)
    (tmp_path / "y-train.array_record-00000-of-00001").touch()
    with pytest.raises(SystemExit, match="is of another data set; give another --output"):
        run(table, tmp_path)
    assert not (shards / ".work").exists()


def test_what_is_finished_is_not_touched(table, shards, capsys):
    times = {file: file.stat().st_mtime_ns for file in shards.glob("*-of-*")}
    run(table, shards)
    assert times == {file: file.stat().st_mtime_ns for file in shards.glob("*-of-*")}
    assert f"11 of 13 records in 7 shards, see {shards / 'card.html'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--deduplicate",), "--deduplicate is of shards; add --shards"),
        (("--shards", "--region=here"), "unknown: --region=here .with --runner, it would be Beam"),
        (("--shards", "--sample_rate=7"), "error: 7 Hz is no sample rate"),
        (("--shards", "--records_per_shard=0"), "error: 0 records per shard; use 1 or more"),
    ],
)
def test_refusals(table, tmp_path, capsys, options, error):
    with pytest.raises(SystemExit) as caught:
        prepare.main(["manifest", f"--root={table}", f"--output={tmp_path / 'x'}", *options])
    assert re.search(error, f"{caught.value} {capsys.readouterr().err}")
    assert not (tmp_path / "x").exists()


def test_without_beam_there_is_a_way_out(table, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="error: shards are written by Apache Beam, which is not"):
        run(table, tmp_path / "x")


def test_shards_are_divided_anew(shards, both, tmp_path):
    folder = tmp_path / "anew"
    given = ("manifest", f"--root={shards / 'manifest.parquet'}", f"--output={folder}", "--shards")
    prepare.main([*given, f"--sample_rate={RATE}", "--processes=1", "--format=flac"])
    found = read_manifest(folder / "manifest.parquet")
    for (_, expected), record in zip(both, found, strict=True):
        assert (record.id, record.labels) == (expected.id, expected.labels)
        np.testing.assert_array_equal(
            decoding.read_clip(record, RATE), decoding.read_clip(expected, RATE)
        )
    with soundfile.SoundFile(io.BytesIO(read_audio(found[0].path, 0))) as file:
        assert (file.format, file.subtype) == ("FLAC", "PCM_16")


def test_workers_elsewhere_find_all_in_a_bucket(table, shards, tmp_path):
    """The folders of this test stand for what is mounted, and a link to them for the bucket."""
    mounted, bucket = table.parent.parent, tmp_path / "bucket"
    bucket.symlink_to(mounted)
    folder = mounted / "there" / "noises"
    runner = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    run(table, folder, runner, "--direct_running_mode=in_memory", f"--mount={mounted}={bucket}")
    assert contents(folder) == contents(shards)
    with pytest.raises(SystemExit, match="--mount=there; use the form /mounted/folder=gs://bucket"):
        run(table, tmp_path / "x", "--mount=there")


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_an_error_of_a_worker_is_one_line(tmp_path):
    options = {"processes": 1, "flags": (), "log": tmp_path / "log"}
    with pytest.raises(
        RuntimeError, match=r"^OSError: \[Errno 28\] No space left on device"
    ) as caught:
        beam_pipeline.run(full_disk, [(1,), (2,)], **options)
    assert "\n" not in str(caught.value)


def contents(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def workers(pid: int) -> list[int]:
    """The processes that Beam has started for a process."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )

    def descends(own: int) -> bool:
        return own == pid or (own in parents and descends(parents[own]))

    lines = {own: Path(f"/proc/{own}/cmdline").read_bytes() for own in parents if descends(own)}
    return [
        own for own, line in lines.items() if b"sdk_worker_main" in line and b"-c\0" not in line
    ]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_a_killed_worker_loses_nothing(table, shards, tmp_path):
    """Two workers, of which one waits at a clip that is a pipe until it is killed."""
    folder, clip = tmp_path / "noises", table.parent / "8.flac"
    sound = clip.read_bytes()
    clip.unlink()
    os.mkfifo(clip)
    outputs = [tmp_path / "stdout", tmp_path / "stderr"]
    options = (f"--root={table}", f"--output={folder}", *OPTIONS, "--processes=2")
    try:
        command = commands.start(("atbert_jax.prepare", "manifest", *options), *outputs)
        deadline = time.monotonic() + 120
        while len(finished := list(folder.glob("*-of-*.json"))) < 4:
            assert command.is_alive(), outputs[1].read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(workers(command.pid)[0], signal.SIGKILL)
        command.join(120)
    finally:
        clip.unlink()
        clip.write_bytes(sound)
    assert command.exitcode == 1
    assert outputs[1].read_text().startswith("error: a worker process ended suddenly")
    times = {file: file.stat().st_mtime_ns for file in finished}
    run(table, folder, "--processes=1")
    again = [file for file in finished if file.stat().st_mtime_ns != times[file]]
    # Of what was finished, only the shard with the copy is written again, without it.
    assert len(again) <= 1
    assert contents(folder) == contents(shards)
