"""Tests of manifests: formats, and errors that say where."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from atbert_jax.input_pipeline.manifest.records import (
    ManifestError,
    Record,
    read_manifest,
    split_records,
)

ROWS = [
    {
        "path": "audio/노래.wav",
        "id": "001",
        "text": "느린 피아노, 그리고 비",
        "labels": "발라드|느린",
        "split": "train",
        "group": "가수",
        "start": "1.5",
        "duration": "10",
        "valence": "-0.25",
    },
    {
        "path": "audio/räksmörgås å.flac",
        "id": "002",
        "text": 'en låt "utan" namn | och mer',
        "labels": " visa | | visa|äldre ",
        "split": "val",
        "group": "",
        "start": "",
        "duration": "",
        "valence": "",
    },
]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding, newline="")
    return path


def table(tmp_path: Path, *lines: str, name: str = "tracks.csv") -> Path:
    return write(tmp_path / name, "".join(line + "\n" for line in lines))


def failure(path: Path, **options) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def write_as(suffix: str, folder: Path) -> Path:
    path = folder / f"tracks{suffix}"
    typed = [
        {
            **row,
            "labels": row["labels"].split("|"),
            "start": float(row["start"]) if row["start"] else None,
            "duration": int(row["duration"]) if row["duration"] else None,
            "valence": float(row["valence"]) if row["valence"] else None,
        }
        for row in ROWS
    ]
    if suffix == ".csv":
        pd.DataFrame(ROWS).to_csv(path, index=False)
    elif suffix == ".tsv":
        pd.DataFrame(ROWS).to_csv(path, index=False, sep="\t", encoding="utf-8-sig")
    elif suffix == ".json":
        path.write_text(json.dumps(typed, ensure_ascii=False), encoding="utf-8")
    elif suffix == ".parquet":
        pd.DataFrame(typed).to_parquet(path)
    else:
        lines = [json.dumps(row) for row in typed]
        path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet"])
def test_every_format_gives_the_same_records(tmp_path, suffix):
    found = read_manifest(write_as(suffix, tmp_path), target_columns=("valence",))
    first, second = found
    assert first == Record(
        id="001",
        path=tmp_path.resolve() / "audio" / "노래.wav",
        text="느린 피아노, 그리고 비",
        labels=("발라드", "느린"),
        split="train",
        group="가수",
        start=1.5,
        duration=10.0,
        targets=(-0.25,),
    )
    assert second.path == tmp_path.resolve() / "audio" / "räksmörgås å.flac"
    assert second.text == 'en låt "utan" namn | och mer'
    assert second.labels == ("visa", "äldre")
    assert (second.start, second.duration) == (0.0, None)
    assert np.isnan(second.targets[0])


@pytest.mark.parametrize("name", ["tracks.csv", "tracks.json", "tracks.jsonl"])
def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path, name):
    text = {"csv": "path,text\na.wav,x\n", "json": '[{"path": "a.wav", "text": "x"}]'}
    text["jsonl"] = text["json"][1:-1]
    path = write(tmp_path / name, text[name.split(".")[1]], encoding="utf-8-sig")
    assert read_manifest(path)[0].id == "a.wav"


def test_numbers_stay_the_text_that_was_written(tmp_path):
    csv = table(tmp_path, "path,id,label,text", "a.wav,007,1.0,NA", "b.wav,08,10,null")
    assert [(r.id, r.labels, r.text) for r in read_manifest(csv)] == [
        ("007", ("1.0",), "NA"),
        ("08", ("10",), "null"),
    ]


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_whole_numbers_stay_whole_beside_missing_cells(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    rows = pd.DataFrame({"path": ["a", "b"], "label": pd.array([3, None], "Int64")})
    rows.to_parquet(path) if suffix == ".parquet" else rows.to_json(path, orient="records")
    assert [record.labels for record in read_manifest(path)] == [("3",), ()]


def test_lines_may_end_in_crlf_and_be_blank(tmp_path):
    path = write(tmp_path / "t.csv", "path, text \r\na.wav , slow \r\n\r\nb.wav,fast\r\n\r\n")
    assert [(r.id, r.text) for r in read_manifest(path)] == [("a.wav", "slow"), ("b.wav", "fast")]


def test_blank_lines_do_not_shift_row_numbers(tmp_path):
    path = table(tmp_path, "path,start", "a.wav,0", "", "b.wav,soon")
    assert "row 4, field 'start': 'soon' is not a number" in failure(path)
    lines = table(tmp_path, '{"path": "a"}', "", '{"path": "b", "start": "x"}', name="t.jsonl")
    assert "row 3, field 'start'" in failure(lines)


def test_named_columns(tmp_path):
    path = table(tmp_path, "path,caption,genre,fold,artist", "a.wav,hello,pop|rock,3,x")
    (record,) = read_manifest(
        path,
        text_column="caption",
        label_column="genre",
        split_column="fold",
        group_column="artist",
    )
    assert (record.text, record.labels) == ("hello", ("pop", "rock"))
    assert (record.split, record.group) == ("3", "x")


@pytest.mark.parametrize(
    "options",
    [
        {"text_column": "mood"},
        {"label_column": "mood"},
        {"split_column": "mood"},
        {"group_column": "mood"},
        {"target_columns": ("mood",)},
        {"hold_out": "mood=sad"},
    ],
)
def test_missing_named_column_says_which_exist(tmp_path, options):
    message = failure(table(tmp_path, "path,caption", "a.wav,x"), **options)
    assert "no column 'mood' (columns: path, caption)" in message


def test_missing_path_column(tmp_path):
    assert "no column 'path' (columns: file, text)" in failure(table(tmp_path, "file,text", "a,b"))
    semicolons = failure(table(tmp_path, "path;text", "a;b"))
    assert "no column 'path' (columns: path;text)" in semicolons
    assert "commas" in semicolons


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", ""),
        ("t.csv", "path,text\n"),
        ("t.csv", "path\n\n\n"),
        ("t.tsv", "path\ttext\n"),
        ("t.json", "[]"),
        ("t.json", ""),
        ("t.jsonl", "\n"),
    ],
)
def test_empty_table(tmp_path, name, content):
    assert "no rows" in failure(write(tmp_path / name, content))


def test_empty_parquet_table(tmp_path):
    pd.DataFrame({"path": pd.Series([], dtype=str)}).to_parquet(tmp_path / "t.parquet")
    assert "no rows" in failure(tmp_path / "t.parquet")


def test_unknown_extension_and_missing_file(tmp_path):
    assert "unknown table extension '.xlsx'; use .csv" in failure(tmp_path / "tracks.xlsx")
    assert "no such file" in failure(tmp_path / "tracks.csv")


def test_wrong_encoding_names_the_row(tmp_path):
    path = write(tmp_path / "t.csv", "path,text\na.wav,x\nb.wav,låt\n", encoding="cp1252")
    message = failure(path)
    assert "row 3" in message
    assert "UTF-8" in message
    assert "UTF-8" in failure(write(tmp_path / "t.json", '[{"path": "å"}]', encoding="latin-1"))


@pytest.mark.parametrize(
    ("lines", "row"),
    [
        (("path,text", "a.wav,slow, sad", "b.wav,x"), 2),
        (("path,text", "a.wav,slow, sad", "b.wav,x,y"), 2),
        (("path,text", "a.wav,slow", "b.wav,x,y"), 3),
        (("path,text", "a.wav,slow", 'b.wav,"x'), 3),
    ],
)
def test_row_with_too_many_fields_or_an_open_quote(tmp_path, lines, row):
    message = failure(table(tmp_path, *lines))
    assert f"row {row}" in message
    assert "quote" in message


def test_column_that_occurs_twice(tmp_path):
    message = failure(table(tmp_path, "path,label,label", "a.wav,x,y"))
    assert "row 1: several columns 'label'" in message


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.json", '{"path": "a"}', "not a list of objects"),
        ("t.json", '[{"path": "a"}, 3]', "row 2: not an object"),
        ("t.json", '[{"path": "a"},\n oops]', "line 2: not JSON"),
        ("t.jsonl", '{"path": "a"}\n{"path": \n', "row 2: not JSON"),
        ("t.jsonl", '{"path": "a"}\n["b"]\n', "row 2: not an object"),
        ("t.parquet", "path\na\n", "not a Parquet table"),
    ],
)
def test_malformed_json_and_parquet(tmp_path, name, content, expected):
    assert expected in failure(write(tmp_path / name, content))


def test_nested_value_where_text_belongs(tmp_path):
    path = write(tmp_path / "t.json", '[{"path": "a"}, {"path": "b", "text": ["x", "y"]}]')
    assert "row 2, field 'text': expected text or a number, got a list" in failure(path)


@pytest.mark.parametrize("path", ["../secret.wav", "/etc/secret.wav", "audio/../../x.wav"])
def test_path_outside_the_root(tmp_path, path):
    folder = tmp_path / "set"
    folder.mkdir()
    csv = table(folder, "path", "ok.wav", path)
    assert f"row 3, field 'path': '{path}' is outside the folder" in failure(csv)
    allowed = read_manifest(csv, allow_outside=True)[1].path
    assert allowed == (folder.resolve() / path).resolve()


def test_path_that_only_looks_outside(tmp_path):
    inside = tmp_path.resolve() / "in.wav"
    csv = table(tmp_path, "path", "audio/../a.wav", "b..wav", "./c.wav", str(inside))
    assert [r.path for r in read_manifest(csv)] == [
        tmp_path.resolve() / name for name in ("a.wav", "b..wav", "c.wav", "in.wav")
    ]


def test_a_neighbour_with_the_same_prefix_is_outside(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    csv = table(folder, "path", "../set_of_others/a.wav")
    assert "row 2, field 'path'" in failure(csv)


def test_root_and_empty_path(tmp_path):
    csv = table(tmp_path, "path,text", "a.wav,x", ",y")
    assert "row 3, field 'path': empty" in failure(csv)
    csv = table(tmp_path, "path", "a.wav")
    assert read_manifest(csv, root=tmp_path / "else")[0].path == tmp_path.resolve() / "else/a.wav"


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("start", "-1", "before the file begins"),
        ("start", "inf", "not finite"),
        ("start", "0:30", "'0:30' is not a number"),
        ("duration", "0", "no length"),
        ("duration", "-2", "no length"),
        ("duration", "1e999", "not finite"),
        ("duration", "0,5", "'0,5' is not a number"),
        ("valence", "high", "'high' is not a number"),
        ("valence", "-inf", "not finite"),
    ],
)
def test_bad_numbers(tmp_path, field, value, problem):
    csv = table(tmp_path, f"path,{field}", "a.wav,1", f'b.wav,"{value}"')
    options = {"target_columns": ("valence",)} if field == "valence" else {}
    message = failure(csv, **options)
    assert f"row 3, field '{field}': " in message
    assert problem in message


def test_duplicate_ids_name_both_rows(tmp_path):
    csv = table(tmp_path, "path,id", "a.wav,x", "b.wav,y", "c.wav,x")
    assert "row 4, field 'id': 'x' is the id of row 2 too" in failure(csv)
    csv = table(tmp_path, "path", "a.wav", "b.wav", "a.wav")
    assert "row 4, field 'path': 'a.wav' is the id of row 2 too" in failure(csv)
    csv = table(tmp_path, "path,start", "a.wav,1", "a.wav,2", "a.wav,1.0")
    assert "row 4, field 'path': 'a.wav@1' is the id of row 2 too" in failure(csv)


def test_repeated_paths_with_other_starts_or_ids(tmp_path):
    csv = table(tmp_path, "path,start", "a.wav,", "b.wav,5", "a.wav,2.50", "a.wav,1234.5678")
    ids = [record.id for record in read_manifest(csv)]
    assert ids == ["a.wav@0", "b.wav", "a.wav@2.5", "a.wav@1234.5678"]
    csv = table(tmp_path, "path,id", "a.wav,x", "a.wav,y", "b.wav,")
    assert [record.id for record in read_manifest(csv)] == ["x", "y", "b.wav"]


def test_label_and_labels_together_need_a_choice(tmp_path):
    csv = table(tmp_path, "path,label,labels", "a.wav,x,y")
    assert "columns 'labels' and 'label' are both there" in failure(csv)
    assert read_manifest(csv, label_column="label")[0].labels == ("x",)


def test_a_large_table_reads_in_seconds(tmp_path):
    n = 200_000
    path = tmp_path / "large.csv"
    columns = {"path": [f"{i % 997}/{i}.mp3" for i in range(n)], "labels": "a|b", "start": "0.5"}
    pd.DataFrame(columns).to_csv(path, index=False)
    begin = time.process_time()  # of this process: others may keep the machine busy
    found = read_manifest(path)
    splits = split_records(found)
    assert time.process_time() - begin < 20
    assert found[n - 1].path.name == f"{n - 1}.mp3"
    assert {name: len(part) / n for name, part in splits.items()} == pytest.approx(
        {"train": 0.8, "val": 0.1, "test": 0.1}, abs=0.005
    )
