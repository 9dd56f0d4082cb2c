"""Names as people see them, and as they are compared."""

import json
import os

import pytest

from atbert_jax.input_pipeline.text.visible import (
    is_text,
    tidy,
    visible,
    visible_json,
    visible_lines,
)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("live [/disc] 2.wav", "live [/disc] 2.wav"),
        ("räksmörgås 느린 \U0001f3b5", "räksmörgås 느린 \U0001f3b5"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("a\u202egpj.wav", "a\\u202egpj.wav"),
        ("one\ntwo\tthree", "one\\x0atwo\\x09three"),
        ("rock\u200b", "rock\\u200b"),
        ("flag\U000e0067", "flag\\U000e0067"),
        (os.fsdecode(b"caf\xe9.wav"), "caf\\xe9.wav"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_what_cannot_be_seen_is_escaped(name, shown):
    assert visible(name) == shown
    shown.encode()


def test_lines_and_tabs_can_be_meant():
    assert visible_lines("one\n\ttwo\x07\n") == "one\n\ttwo\\x07\n"


@pytest.mark.parametrize(
    "name",
    [
        "café",
        "cafe\u0301",
        " café\u200b",
        "\ufeffcafé",
        "caf\u00e9\u202c",
        "c\u00adafé",
        "café\u2028",
    ],
)
def test_names_that_look_the_same_are_one(name):
    assert tidy(name) == "caf\u00e9"


def test_a_tidy_name_keeps_what_is_seen_or_spells():
    assert tidy("male  vocal\u00a0live") == "male vocal live"
    joined = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert tidy(joined) == joined
    flags = ("\U0001f3f4\U000e0067\U000e0062", "\U0001f3f4\U000e0065\U000e0073")
    assert len(set(map(tidy, flags))) == 2


def test_json_says_the_same_and_acts_on_nothing():
    given = {"caf\udce9\u202e": ["\x9b2J", "\x7f", "é \u200d \U0001f1e9", "\U000e0041", "\n"]}
    line = visible_json(given)
    assert json.loads(line) == given
    assert visible(line) == line
    assert "é" in line


def test_a_name_of_other_bytes_is_no_text():
    assert is_text("räksmörgås 느린.wav")
    assert not is_text(os.fsdecode(b"caf\xe9.wav"))
