"""Quotes in CSV and TSV: what encloses a field, what is a letter, and what was forgotten."""

import pytest

from atbert_jax.input_pipeline.manifest.records import ManifestError, read_manifest


def records(path, *lines: str):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [(r.path.name, r.text, r.labels) for r in read_manifest(path)]


def refusal(path, *lines: str) -> str:
    with pytest.raises(ManifestError) as caught:
        records(path, *lines)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


def test_a_row_of_a_tsv_is_a_line_where_quotes_are_letters(tmp_path):
    found = records(
        tmp_path / "m.tsv",
        "path\ttext\tlabel",
        'a.wav\t"hello there\tx',
        'b.wav\tsay "no" now\ty',
        'c.wav\t"Heroes" live\tx',
        'd.wav\t"all, ""of"" it"\tx',
        'e.wav\t"\tx',
    )
    assert found == [
        ("a.wav", '"hello there', ("x",)),
        ("b.wav", 'say "no" now', ("y",)),
        ("c.wav", '"Heroes" live', ("x",)),
        ("d.wav", 'all, "of" it', ("x",)),
        ("e.wav", '"', ("x",)),
    ]


def test_a_quote_that_swallows_rows_of_a_tsv_swallows_none(tmp_path):
    rows = ("path\ttext\tlabel", 'a.wav\t"hello\tx', 'b.wav\tbye"\ty')
    found = records(tmp_path / "m.tsv", *rows)
    assert found == [("a.wav", '"hello', ("x",)), ("b.wav", 'bye"', ("y",))]


@pytest.mark.parametrize(
    ("rows", "row"),
    [
        (('a.wav,"hello there,x', 'b.wav,say "no" now,y'), 2),
        (("a.wav,x,y", 'b.wav,"hello,x', 'c.wav,"bye,y'), 3),
        (('a.wav,"hello"there,x',), 2),
        (('a.wav,"hello,x', "b.wav,bye,y"), 2),
        # Each line is a row, and so is what lies between the quotes.
        (("a.wav,b,c", 'b.wav,"hello,x', 'c.wav,bye",y'), 3),
    ],
)
def test_a_forgotten_quote_in_a_csv_is_named(tmp_path, rows, row):
    said = refusal(tmp_path / "m.csv", "path,text,label", *rows)
    assert said.startswith(f", row {row}: a quote opens")
    assert "write a quote that is a letter as two" in said


def test_fields_that_quotes_enclose_may_hold_anything(tmp_path):
    found = records(
        tmp_path / "m.csv",
        "path,text,label",
        'a.wav,"slow, sad',
        'and ""quiet""',
        'b, c.wav",x',
        '"b, c.wav",say "no" now,y',
        'd.wav,"",z',
    )
    assert found == [
        ("a.wav", 'slow, sad\nand "quiet"\nb, c.wav', ("x",)),
        ("b, c.wav", 'say "no" now', ("y",)),
        ("d.wav", "", ("z",)),
    ]


def test_lines_that_end_as_on_windows(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b'path,text\r\na.wav,"one\r\ntwo, ""three"""\r\nb.wav,x\r\n')
    assert [r.text for r in read_manifest(path)] == ['one\r\ntwo, "three"', "x"]


@pytest.mark.parametrize(
    ("lines", "hint"),
    [
        (("path;text", "a.wav;slow, sad"), "separated by semicolons: save it with commas"),
        (("path;text", "a.wav;slow"), "separated by semicolons: save it with commas"),
        (("path\ttext", "a.wav\tslow"), "separated by tabs: call it .tsv"),
        (("path\ttext", "a.wav\tslow, sad"), "separated by tabs: call it .tsv"),
        (("path,text", "a.wav,slow, sad; x"), "put quotes around fields that contain the sep"),
    ],
)
def test_other_separators_are_recognised(tmp_path, lines, hint):
    assert hint in refusal(tmp_path / "m.csv", *lines)
