"""A table says the same on the terminal as in the report."""

import io
import math
import re
from urllib.parse import unquote

import numpy as np
import pytest
from rich.console import Console

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.reporting.tables import (
    Sound,
    Table,
    format_cell,
    is_sound,
    markdown,
    print_table,
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (np.float32(0.5), "0.5000"),
        (0.0, "0.0000"),
        (-0.25, "-0.2500"),
        (1.5e-5, "1.5e-05"),
        (12345.6, "1.235e+04"),
        (123.456, "123.5"),
        (np.int64(1234567), "1,234,567"),
        (np.True_, "yes"),
        ("0.5", "0.5"),
    ],
)
def test_cells_read_well(cell, text):
    assert format_cell(cell) == text


def test_printed_table_takes_brackets_as_text():
    buffer = io.StringIO()
    table = Table(
        "Tags [all]", ["tag", "f1"], [["[red]rock[/red]", 0.5], ["블루스", None]], "n [2]"
    )
    print_table(table, Console(file=buffer, width=80, force_terminal=False))
    printed = buffer.getvalue()
    for text in ("Tags [all]", "[red]rock[/red]", "0.5000", "블루스", "–", "n [2]"):
        assert text in printed


def test_no_name_is_cut_off_on_a_narrow_terminal():
    buffer = io.StringIO()
    name = "classification.label_smoothing=0.1"
    print_table(Table("t", ["cell", "f1"], [[name, 0.5]]), Console(file=buffer, width=24))
    letters = "".join(c for c in buffer.getvalue() if c not in "│ \n")
    assert "…" not in letters
    assert letters.count("0.1") == 1


def test_markdown_has_a_line_for_each_row():
    table = Table("Runs", ["cell", "n"], [["a=b|c", 1200], ["base", None]], "A note.")
    assert markdown(table).splitlines() == [
        *("**Runs**", "", "| cell | n |", "|---|---:|"),
        *(r"| a=b\|c | 1,200 |", "| base | – |", "", "A note."),
    ]


def test_only_columns_of_numbers_are_numeric():
    table = Table("t", ["a", "b", "c"], [["x", 1, 0.5], [2, None, np.float32(1)]])
    assert table.numeric == [False, True, True]
    assert Table("t", ["a"], []).numeric == [False]


def test_a_short_row_is_named():
    with pytest.raises(ValueError, match="table 't', row 1: 1 cells under 2 columns"):
        Table("t", ["a", "b"], [[1, 2], [3]])


def test_what_is_no_terminal_gets_whole_lines():
    buffer, name = io.StringIO(), "model/layers/attention/query/kernel/" * 9
    table = Table("Parameters of " + name, ["name", "n"], [[name, 1], ["b", 2]], "A note. " * 30)
    print_table(table, Console(file=buffer, width=40))
    found = buffer.getvalue().splitlines()
    assert found[0] == f"Parameters of {name}"
    assert [line.split()[1] for line in found if name in line][1:] == [name]
    assert found[-1].strip() == ("A note. " * 30).strip()
    assert len({len(line) for line in found[1:-1]}) == 1


def test_no_cell_acts_on_the_terminal():
    buffer = io.StringIO()
    name = "a\x1b[2J\u202e\nb"
    for terminal in (True, False):
        print_table(
            Table(name, [name], [[name]], name), Console(file=buffer, force_terminal=terminal)
        )
    assert buffer.getvalue().count("a\\x1b[2J\\u202e\\x0ab") == 8
    assert "\u202e" not in buffer.getvalue()
    assert "\\x0a" in markdown(Table("t", ["a"], [[name]]))


def test_a_sound_is_its_name_and_an_address_of_its_file_alone(tmp_path):
    name = 'a "b", <i>#1?&%41:é.wav'
    record = Record("one", tmp_path / "music" / name, start=1.5, duration=2.25)
    sound = Sound.of(record, tmp_path / "reports" / "x")
    assert str(sound) == name
    address, _, times = sound.source.partition("#")
    assert (tmp_path / "reports" / "x" / unquote(address)).resolve() == record.path.resolve()
    assert re.fullmatch(r"[\w./%-]+", address, re.ASCII)
    assert times == "t=1.500,3.750"
    assert "#" not in Sound.of(Record("two", tmp_path / "2.wav"), tmp_path).source


def test_a_record_of_a_shard_has_no_sound_of_its_own(tmp_path):
    sound = Sound.of(Record("a/b.wav", tmp_path / "1.array_record", place=3), tmp_path)
    assert not is_sound(sound)
    assert format_cell(sound) == "b.wav"
