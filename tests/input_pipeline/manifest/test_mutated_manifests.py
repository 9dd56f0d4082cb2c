"""Mutated manifests: each gives records, or is refused in a line that names the table."""

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from atbert_jax.input_pipeline.labelling import label_names
from atbert_jax.input_pipeline.manifest import table_formats
from atbert_jax.input_pipeline.manifest.records import (
    ManifestError,
    Record,
    read_manifest,
    split_records,
)
from tests import trial

MUTANTS_OF_EACH = 60
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


def rows() -> list[dict]:
    return [
        {
            "path": f"audio/räksmörgås {number}.wav",
            "id": f"clip{number}",
            "text": 'quiet, "slow"\nand 느린' if number % 3 else "",
            "label": ("folk", "rock | pop", None)[number % 3],
            "split": ("train", "val", "test")[number % 3],
            "group": f"artist {number // 4}",
            "start": 0.5 * number if number % 2 else None,
            "duration": 3.0,
            "valence": -0.25 * number,
        }
        for number in range(12)
    ]


def originals() -> dict[str, bytes]:
    """The same valid table in every format, by file name."""
    frame, table = pd.DataFrame(rows()), io.BytesIO()
    frame.to_parquet(table)
    return {
        "t.csv": frame.to_csv(index=False).encode(),
        "t.tsv": frame.to_csv(index=False, sep="\t").encode(),
        "t.json": json.dumps(rows(), ensure_ascii=False, indent=1).encode(),
        "t.jsonl": "\n".join(json.dumps(row) for row in rows()).encode(),
        "t.parquet": table.getvalue(),
    }


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    """Flips bits; half of the time at the end, where Parquet describes itself."""
    changed = bytearray(data)
    begin = int(rng.choice([0, len(data) * 3 // 4]))
    for place in rng.integers(begin, len(data), int(rng.integers(1, 12))):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def insert(data: bytes, rng: np.random.Generator) -> bytes:
    """Puts what should not be there somewhere into a file, once or in many places."""
    odd = [
        b"\0",
        b'"',
        b"\xff",
        b"\r",
        b"\n\n",
        b"\x1a",
        b"[",
        b"{",
        b"}",
        b",",
        b"\t",
        b"9" * 5000,
    ]
    odd += [b"\\ud800", b"NaN", b"-Infinity", b"1e999", b"null", b"\xef\xbb\xbf", b"\xc2\x85", b"["]
    piece = odd[int(rng.integers(len(odd)))]
    for _ in range(int(rng.choice([1, 1, 30]))):
        place = int(rng.integers(len(data)))
        data = data[:place] + piece + data[place:]
    return data


def encode_otherwise(data: bytes, rng: np.random.Generator) -> bytes:
    kinds = ["utf-16", "utf-16-le", "utf-32", "cp1252", "euc-kr", "utf-7", "utf-8-sig"]
    text = data.decode("utf-8", errors="replace")
    return text.encode(str(rng.choice(kinds)), errors="replace")


def swap_delimiters(data: bytes, rng: np.random.Generator) -> bytes:
    marks = [b",", b"\t", b";", b":", b"\n", b'"', b" ", b"|"]
    one, other = rng.choice(len(marks), 2, replace=False)
    return data.replace(marks[one], marks[other])


def retype(data: bytes, rng: np.random.Generator) -> bytes:
    """Replaces a value that occurs in the text formats by one of another type."""
    found = re.findall(rb"clip\d+|[0-9.]+|folk|train|null|artist|path|start|label", data)
    values = [
        b"",
        b"true",
        b"[]",
        b'["a", ["b"]]',
        b"{}",
        b"-1",
        b"1e308",
        b"inf",
        b"../x",
        b"/etc/x",
    ]
    value = values[int(rng.integers(len(values)))]
    return data.replace(found[int(rng.integers(len(found)))], value) if found else data


MUTATIONS: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "flip": flip,
    "cut": lambda data, rng: data[: int(rng.integers(len(data)))],
    "beheaded": lambda data, rng: data[int(rng.integers(1, len(data))) :],
    "insert": insert,
    "encoding": encode_otherwise,
    "delimiter": swap_delimiters,
    "type": retype,
    "twice": lambda data, rng: data + data,
    "behind": lambda data, rng: data + rng.bytes(int(rng.integers(1, 300))),
    "name": lambda data, rng: data,
}


def mutants(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of `count` mutants of every original."""
    rng = np.random.default_rng(seed)
    for name, data in originals().items():
        for number in range(count):
            mutation = list(MUTATIONS)[number % len(MUTATIONS)]
            suffix = str(rng.choice(SUFFIXES)) if mutation == "name" else Path(name).suffix
            mutant = f"{name.replace('.', '_')}_{mutation}_{number}{suffix}"
            yield mutant, MUTATIONS[mutation](data, rng)


def outcomes(path: Path) -> list[str]:
    """For each way to read it 'read', the refusal, or what is wrong with the answer."""

    def checked(**options: object) -> str:
        found = read_manifest(path, **options)
        for record in found:
            text = (record.id, str(record.path), record.text, record.split, record.group)
            "".join(text + record.labels).encode()
            times = (record.start, record.duration or 0.0, *record.targets)
            if not record.id or not record.path.is_absolute() or np.isinf(times).any():
                return str(record)
        try:
            split_records(found)
        except ManifestError as error:  # of all records: it knows of no table
            return "read" if "split" in str(error) else str(error)
        return "read"

    return [
        trial.outcome(lambda: checked(target_columns=("valence",)), ManifestError),
        trial.outcome(lambda: checked(label_column="group", allow_outside=True), ManifestError),
        trial.outcome(lambda: checked(hold_out="group=artist 1"), ManifestError),
    ]


def test_every_mutant_is_read_or_refused(tmp_path):
    files = dict(mutants(0, MUTANTS_OF_EACH))
    assert len(files) >= 100
    found = trial.run(__name__, originals(), files, tmp_path)
    assert found.keys() == files.keys()
    kinds = Counter()
    for name, answers in found.items():
        table = re.escape(str(tmp_path / "mutants" / name))
        for answer in answers:
            proper = rf"read|refused: {table}(, (row|line) [1-9]\d*)?(, field '.*')?: .*\w.*"
            assert re.fullmatch(proper, answer), (name, answer)
            assert len(answer) < 1200
            kinds[answer[:4]] += 1
    # The mutations are neither all harmless nor all fatal.
    assert min(kinds["read"], kinds["refu"]) > sum(kinds.values()) / 6


def refusal(path: Path, content: str | bytes, **options: object) -> str:
    """What is said of a table, after its name."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "euc-kr", "cp1252"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_other_encodings(tmp_path, encoding, suffix):
    text = originals()[f"t{suffix}"].decode()
    text = text.replace("\\ub290", "느").replace("\\u00e4", "ä")  # as JSON Lines escapes them
    assert "UTF-8" in refusal(tmp_path / f"t{suffix}", text.encode(encoding, errors="replace"))


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"path": "a", "text": "\\ud800"}', ", row 1, field 'text': '\\ud800' is no text"),
        ('{"path": "a", "label": ["\\udcff"]}', ", row 1, field 'label': '\\udcff' is no text"),
        ('{"path": "a", "t\\ud800": ""}', ", row 1: a field's name is no text"),
        ('{"path": "a\\u0000.wav"}', ", row 1, field 'path': 'a\\x00.wav' is no file name"),
    ],
)
def test_text_that_cannot_be_written(tmp_path, name, row, problem):
    content = f"[{row}]" if name == "t.json" else row
    assert refusal(tmp_path / name, content).startswith(problem)


@pytest.mark.parametrize(
    "value", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000], ids=["lists", "objects", "digits"]
)
def test_json_that_python_gives_up_on(tmp_path, value):
    row = f'{{"path": "a", "start": {value}}}'
    assert refusal(tmp_path / "t.json", f"[{row}]").startswith(": not usable as JSON (")
    lines = refusal(tmp_path / "t.jsonl", f'{{"path": "b"}}\n{row}')
    assert lines.startswith(", row 2: not usable as JSON (")


def test_a_nul_in_a_csv(tmp_path):
    message = refusal(tmp_path / "t.csv", "path,text\na.wav,x\nb\0.wav,y\n")
    assert message.startswith(", row 3, field 'path': 'b\\x00.wav' is no file name")


def test_a_message_is_one_line_that_can_be_read(tmp_path):
    message = refusal(tmp_path / "t.csv", 'path,start\na.wav,"1\n2\u2028\r3"\n')
    assert message.startswith(", row 2, field 'start': '1 2")
    message = refusal(tmp_path / "t.csv", f"path,start\na.wav,{'x' * 10**6}\n")
    assert message.startswith(", row 2, field 'start': 'xxx")
    assert message.endswith("xxx' is not a number; correct it, or leave it empty")
    assert len(message) < 1100


def test_labels_of_any_digits_have_an_order():
    labels = ("2", "²", "9" * 5000, "10", "٣", "a02", "a2", "a10")
    records = [Record(f"r{i}", Path("/a"), labels=(label,)) for i, label in enumerate(labels)]
    names = label_names({"train": records}, "multi_label")
    assert names == ["2", "10", "9" * 5000, "a02", "a2", "a10", "²", "٣"]


def parquet_refusal(path: Path, table: pyarrow.Table) -> str:
    parquet.write_table(table, path)
    return refusal(path, path.read_bytes())


def test_parquet_columns_that_are_no_text(tmp_path):
    path = tmp_path / "t.parquet"
    offsets, text = (pyarrow.py_buffer(part) for part in (b"\0\0\0\0\2\0\0\0", b"\xff\xfe"))
    broken = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, offsets, text])
    assert "Invalid UTF8" in parquet_refusal(path, pyarrow.table({"path": broken}))
    twice = pyarrow.table([["a"], ["b"]], names=["path", "path"])
    assert parquet_refusal(path, twice).startswith(": several columns 'path'")
    raw = parquet_refusal(path, pyarrow.table({"path": [b"a.wav"]}))
    assert raw.startswith(", row 1, field 'path': expected text or a number, got a bytes")


def test_parquet_is_read_without_what_pandas_wrote_about_itself(tmp_path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"path": ["a.wav"], "text": ["x"]}).set_index("path").to_parquet(path)
    assert [record.id for record in read_manifest(path)] == ["a.wav"]
    table = pyarrow.table({"path": ["a.wav"]}).replace_schema_metadata({b"pandas": b'{"columns"'})
    parquet.write_table(table, path)
    assert [record.id for record in read_manifest(path)] == ["a.wav"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_million_rows_take_seconds_and_less_than_two_gigabytes(tmp_path):
    path, count = tmp_path / "large.csv", 1_000_000
    lines = (f"{i % 997}/{i}.mp3,노래 {i},pop|rock,{i % 100}\n" for i in range(count))
    path.write_text("path,text,labels,start\n" + "".join(lines), encoding="utf-8")
    code = (
        "import re, resource, sys, atbert_jax.input_pipeline.manifest.records as sources\n"
        "before = resource.getrusage(resource.RUSAGE_SELF)\n"
        "records = sources.read_manifest(sys.argv[1])\n"
        "after = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(len(records), records[-1].path.name, records[-1].text)\n"
        "print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)\n"
        # Its ru_maxrss would begin with what the process of the tests took when it forked.
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        cwd=trial.ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    found, seconds, peak = done.stdout.splitlines()
    assert found == f"{count} {count - 1}.mp3 노래 {count - 1}"
    assert float(seconds) < 60  # of this process: others may keep the machine busy
    assert int(peak) < 2 * 2**20


# Arrow's own schema, where it is stored, keeps dictionaries as they are.
@pytest.mark.parametrize("stored", [False, True])
def test_tables_that_unpack_to_more_than_a_limit(tmp_path, monkeypatch, stored):
    monkeypatch.setattr(table_formats, "LARGEST", 2**24)
    path, text = tmp_path / "t.parquet", "x" * 2**15
    cells = pyarrow.DictionaryArray.from_arrays(np.zeros(600, np.int32), [text])
    paths = [f"{n}.wav" for n in range(600)]
    parquet.write_table(pyarrow.table({"path": paths, "text": cells}), path, store_schema=stored)
    assert path.stat().st_size < 2**16
    message = refusal(path, path.read_bytes())
    assert message.startswith(": holds more than 16 MiB, unpacked; write several")


def test_tables_that_say_they_unpack_to_more_than_a_limit_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(table_formats, "LARGEST", 2**24)
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", lambda *_: pytest.fail("unpacked"))
    path = tmp_path / "t.parquet"
    texts = [chr(97 + number) * 2**20 for number in range(20)]
    table = pyarrow.table({"path": [f"{n}.wav" for n in range(20)], "text": texts})
    parquet.write_table(table, path, compression="gzip")
    assert path.stat().st_size < 2**17
    assert refusal(path, path.read_bytes()).startswith(": holds more than 16 MiB, unpacked")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_of_too_many_columns(tmp_path, suffix):
    path, names = tmp_path / f"t{suffix}", ["path", *(f"c{n}" for n in range(10_000))]
    if suffix == ".csv":
        path.write_text(",".join(names) + "\n")
    else:
        parquet.write_table(pyarrow.table({name: ["a"] for name in names}), path)
    assert refusal(path, path.read_bytes()).startswith(": has 10,001 columns, more than 10,000")
