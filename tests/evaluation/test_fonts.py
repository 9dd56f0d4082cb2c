"""Letters are drawn by a font that has them, and a name that none can draw becomes a number."""

import matplotlib as mpl
import pytest
from matplotlib import font_manager

from atbert_jax.evaluation import fonts

DEJAVU = font_manager.findfont("DejaVu Sans")


def test_latin_needs_no_other_font():
    assert fonts.families_for(["blåbärsjazz", "rock & roll"]) == (["DejaVu Sans"], set())


def test_families_cover_all_that_is_not_missing():
    families, missing = fonts.families_for(["발라드", "blå", "演歌"])
    letters = set()
    for family in families:
        letters |= set(map(chr, font_manager.get_font(font_manager.findfont(family)).get_charmap()))
    assert set("발라드blå演歌") - letters == missing


def test_undrawable_names_become_their_position(monkeypatch):
    monkeypatch.setattr(fonts, "_installed", lambda: {"DejaVu Sans": DEJAVU})
    with fonts.lettering(["blå", "발라드", "jazz"]) as labels:
        assert labels == ["blå", "#1", "jazz"]


def test_settings_last_as_long_as_the_context():
    before = mpl.rcParams["text.parse_math"], mpl.rcParams["font.family"]
    with fonts.lettering(["A$AP$"]) as labels:
        assert labels == ["A$AP$"]
        assert mpl.rcParams["text.parse_math"] is False
    assert (mpl.rcParams["text.parse_math"], mpl.rcParams["font.family"]) == before


@pytest.mark.parametrize(
    ("name", "label"),
    [("two\nlines", "two lines"), ("a" * 28, "a" * 28), ("a" * 40, "a" * 27 + "…")],
)
def test_long_names_are_cut(name, label):
    assert fonts.shortened(name) == label
