"""Tests of bad records: each is listed once, whoever meets it."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from atbert_jax.input_pipeline.audio import remarks
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.batching.bad_records import FILE, ODD_FILE, BadRecords
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.manifest.shards import where


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").splitlines()]


def test_lists_each_record_once(tmp_path, caplog):
    bad = BadRecords(tmp_path)
    assert len(bad) == 0
    first, second = Record("a", Path("/x/låt.wav")), Record("b", Path("/x/b.wav"))
    with caplog.at_level(logging.WARNING):
        for record in (first, second, first, first):
            bad.add(record, AudioError(f"{record.path}: no such file"))
    assert len(bad) == 2
    assert rows(tmp_path) == [
        {"id": "a", "path": "/x/låt.wav", "reason": "/x/låt.wav: no such file"},
        {"id": "b", "path": "/x/b.wav", "reason": "/x/b.wav: no such file"},
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "left out: /x/låt.wav: no such file",
        "left out: /x/b.wav: no such file",
    ]


def test_one_id_in_two_manifests_is_two_records(tmp_path):
    bad = BadRecords(tmp_path)
    for folder in ("one", "two"):
        bad.add(Record("a.wav", Path(f"/{folder}/a.wav")), AudioError("no such file"))
    assert len(bad) == len(rows(tmp_path)) == 2


def test_without_a_folder_only_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = BadRecords(None)
    bad.add(Record("a", Path("a.wav")), AudioError("no such file"))
    assert len(bad) == 1
    assert not list(tmp_path.iterdir())


def test_many_threads(tmp_path):
    bad = BadRecords(tmp_path)
    records = [Record(str(number), Path(f"{number}.wav")) for number in range(20)] * 20
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda record: bad.add(record, AudioError("broken")), records))
    assert len(bad) == 20
    assert sorted(int(row["id"]) for row in rows(tmp_path)) == list(range(20))


def test_what_is_said_ends_and_what_is_counted_does_not(tmp_path, caplog):
    bad = BadRecords(tmp_path)
    assert bad.first == ""
    for number in range(100):
        path = Path(f"/x/{number}\x1b.wav")
        bad.add(Record(str(number), path), AudioError(f"{path}: no such file"))
    assert len(bad) == len(rows(tmp_path)) == 100
    assert bad.first == "/x/0\x1b.wav: no such file"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 21
    assert said[0] == "left out: /x/0\\x1b.wav: no such file"
    assert "counted" in said[-1]


def test_odd_records_are_counted_beside_the_bad_ones(tmp_path):
    bad = BadRecords(tmp_path)
    odd, plain, shard = tmp_path / "odd.wav", tmp_path / "plain.wav", tmp_path / "shard"
    remarks.add(str(odd), "is upside down")
    remarks.add(str(odd), "and blue")
    remarks.add(where(shard, 7), "is red")
    records = [Record(str(n), path) for n, path in enumerate((odd, odd, plain))]
    records += [Record("4", shard, place=7), Record("5", shard, place=8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bad.note, records * 20))
    assert (len(bad), bad.odd) == (0, 3)
    lines = [json.loads(line) for line in (tmp_path / ODD_FILE).read_text("utf-8").splitlines()]
    assert sorted(lines, key=lambda line: line["id"]) == [
        {"id": "0", "path": str(odd), "reason": "is upside down; and blue"},
        {"id": "1", "path": str(odd), "reason": "is upside down; and blue"},
        {"id": "4", "path": str(shard), "reason": "is red"},
    ]
    assert not (tmp_path / FILE).exists()
