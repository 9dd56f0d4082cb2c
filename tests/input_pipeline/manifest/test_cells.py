"""What cells mean: labels in any form, whole numbers, times, and paths of other systems."""

import json

import numpy as np
import pandas as pd
import pytest

from atbert_jax.input_pipeline.manifest.records import ManifestError, read_manifest
from atbert_jax.input_pipeline.manifest.table_file import Table


def write(path, *lines: str):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def refusal(path, **options) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)
    return str(caught.value).removeprefix(str(path))


def labels(tmp_path, *cells: str) -> list[tuple[str, ...]]:
    rows = [{"path": f"{n}.wav", "labels": cell} for n, cell in enumerate(cells)]
    pd.DataFrame(rows).to_csv(tmp_path / "m.csv", index=False)
    return [record.labels for record in read_manifest(tmp_path / "m.csv")]


def test_lists_as_python_numpy_and_json_write_them(tmp_path):
    cells = ["['rock', 'pop']", '["rock", "pop"]', "['rock' 'pop']", "('rock', 'pop')", "rock|pop"]
    assert labels(tmp_path, *cells, "{'rock', 'pop'}") == [("rock", "pop")] * 6
    found = labels(tmp_path, '["it\'s"]', "['a, b']", "[]", "[1, 2]", "[3]", "['caf\\u00e9',]")
    assert found == [("it's",), ("a, b",), (), ("1", "2"), ("3",), ("café",)]


def test_brackets_that_are_part_of_a_name(tmp_path):
    names = ("[live]", "(live)", "rock [live]", "('80s)", "{a}", "[b", "['x'] and [y]")
    assert labels(tmp_path, *names[:-1]) == [(name,) for name in names[:-1]]


def test_half_a_list_is_refused(tmp_path):
    for cell in ("['rock', pop]", "['rock', 'pop]", "['a' + 'b']"):
        path = write(tmp_path / "m.jsonl", json.dumps({"path": "a.wav", "labels": cell}))
        assert ", row 1, field 'labels': ['" in (said := refusal(path))
        assert "looks like a list and is none; write the labels as rock|pop, or as" in said


def test_labels_groups_and_splits_are_composed(tmp_path):
    path = write(
        tmp_path / "m.csv",
        "path,label,split,group",
        "a.wav,café,train,Beyoncé",
        "b.wav,cafe\u0301,train\u200b,Beyonce\u0301",
        "c.wav,\u200bcafé,\ufefftrain,Beyonc\u00e9\u00a0",
    )
    found = read_manifest(path)
    assert {r.labels for r in found} == {("café",)}
    assert {r.split for r in found} == {"train"}
    assert {r.group for r in found} == {"Beyonc\u00e9"}
    held = read_manifest(path, hold_out="group=Beyonce\u0301")
    assert [r.split for r in held] == ["test"] * 3


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_whole_numbers_that_a_table_has_as_floats(tmp_path, kind):
    frame = pd.DataFrame(
        {
            "path": ["a.wav", "b.wav", "c.wav"],
            "label": np.array([0, 1, np.nan], kind),
            "start": np.array([1, 0.5, np.nan], kind),
        }
    )
    frame.to_parquet(tmp_path / "m.parquet")
    found = read_manifest(tmp_path / "m.parquet")
    assert [r.labels for r in found] == [("0",), ("1",), ()]
    assert [r.start for r in found] == [1.0, 0.5, 0.0]
    # What copies the table into another one keeps them.
    Table(tmp_path / "m.parquet").write(tmp_path / "copy.csv", [0, 1, 2], {})
    assert [r.labels for r in read_manifest(tmp_path / "copy.csv")] == [("0",), ("1",), ()]


def test_whole_numbers_in_json(tmp_path):
    rows = '{"path": "a", "label": 0.0}', '{"path": "b", "label": 2.5}', '{"path": "c"}'
    path = write(tmp_path / "m.jsonl", *rows)
    assert [r.labels for r in read_manifest(path)] == [("0",), ("2.5",), ()]


def test_an_end_is_a_duration(tmp_path):
    path = write(tmp_path / "m.csv", "path,start,end", "a.wav,1.1,3.3", "b.wav,,2", "c.wav,4,")
    found = read_manifest(path)
    assert [(r.start, r.duration) for r in found] == [(1.1, 2.2), (0.0, 2.0), (4.0, None)]
    path = write(tmp_path / "m.csv", "path,start,end,duration", "a.wav,1,3,2.001", "a.wav,5,,7")
    assert [r.duration for r in read_manifest(path)] == [2.0, 7.0]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a.wav,3,3,", "row 2, field 'end': 3.0 s is not behind the start, 3.0 s"),
        ("a.wav,3,1,", "row 2, field 'end': 1.0 s is not behind the start, 3.0 s"),
        (
            "a.wav,1,3,4",
            "row 2, field 'end': 3.0 s is 2.0 s behind the start, but field",
        ),
        ("a.wav,1,0:30,", "row 2, field 'end': '0:30' is not a number"),
    ],
)
def test_an_end_that_cannot_be(tmp_path, row, problem):
    assert problem in refusal(write(tmp_path / "m.csv", "path,start,end,duration", row))


def test_times_of_other_names_are_said(tmp_path, caplog):
    read_manifest(write(tmp_path / "m.csv", "path,start_time,offset", "a.wav,1,2"))
    assert "m.csv: column start_time, offset is not read, and whole files are heard" in caplog.text
    caplog.clear()
    read_manifest(write(tmp_path / "m.csv", "path,start_time,start", "a.wav,1,2"))
    assert not caplog.text


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("sub\\a.wav", "no such file; paths of this table have backslashes, as on Windows"),
        ("C:\\music\\a.wav", "no such file; a path of Windows"),
        ("C:/music/a.wav", "no such file; a path of Windows"),
        ("~/a.wav", "no such file; shells alone know what ~ and $ stand for"),
        ("$HOME/a.wav", "no such file; shells alone know what ~ and $ stand for"),
        ("s3://bucket/a.wav", "is an address, not a file"),
        ("https://example.org/a.wav", "is an address, not a file"),
    ],
)
def test_paths_of_elsewhere(tmp_path, path, reason):
    table = write(tmp_path / "m.csv", "path", "ok.wav", path)
    for allow_outside in (False, True):
        said = refusal(table, allow_outside=allow_outside)
        assert said.startswith(f", row 3, field 'path': {path}: {reason}")


@pytest.mark.parametrize("name", ["a\\b.wav", "~x.wav", "$5.wav", "12:30.wav", "~", "a$b~c.wav"])
def test_odd_names_of_files_that_are_there(tmp_path, name):
    (tmp_path / name).touch()
    (record,) = read_manifest(write(tmp_path / "m.csv", "path", name))
    assert record.path == tmp_path.resolve() / name


def test_links_must_not_lead_out(tmp_path):
    inside, outside = tmp_path / "set", tmp_path / "else"
    (outside / "sub").mkdir(parents=True)
    (inside / "own").mkdir(parents=True)
    (inside / "own/a.wav").touch()
    (inside / "again").symlink_to(inside / "own")
    (inside / "b.wav").symlink_to(inside / "own/a.wav")
    (inside / "file.wav").symlink_to(outside / "x.wav")
    (inside / "folder").symlink_to(outside)
    good = write(inside / "good.csv", "path", "again/a.wav", "b.wav", "own/a.wav", "gone/c.wav")
    assert len(read_manifest(good)) == 4
    for path in ("file.wav", "folder/x.wav", "folder/sub/y.wav"):
        table = write(inside / "m.csv", "path", "own/a.wav", path)
        said = refusal(table)
        assert said.startswith(f", row 3, field 'path': '{path}' is outside the folder")
        assert "by a link; " in said
        assert "--allow_outside" in said
        assert len(read_manifest(table, allow_outside=True)) == 2


def test_no_message_acts_on_the_terminal(tmp_path):
    path = write(tmp_path / "m.csv", "path,start", "a.wav,\x1b[2J\u202e")
    assert "'\\x1b[2J\\u202e' is not a number" in refusal(path)
