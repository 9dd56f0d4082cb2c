"""Letters are drawn by a font that has them, and a name that none can draw becomes a number."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import font_manager

from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.models.keys import Keys
from atbert_jax.objectives.classification import Classification
from atbert_jax.reporting import fonts
from tests import tiny

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


@pytest.mark.parametrize("has_font", [True, False])
def test_a_report_has_every_name_whether_or_not_it_can_be_drawn(monkeypatch, recwarn, has_font):
    """Of emotions in Korean and Swedish; matplotlib would draw boxes, and warn of them."""
    names = ("공포", "놀람", "förvåning")
    missing = set("공포놀람") if not has_font else fonts.families_for(names)[1]
    if not has_font:
        monkeypatch.setattr(fonts, "_installed", lambda: {"DejaVu Sans": DEJAVU})
    contract = tiny.make_contract(labels=Labels("single_label", names))
    config = tiny.make_config(**{"classification.views": ("audio",)})
    make = lambda: Classification(  # noqa: E731
        config.classification, contract, tiny.Widths(4), rngs=Keys(0)
    )
    objective, truth = tiny.make_module(make), np.eye(3)[[0, 1, 2, 0]]
    outputs = {
        "audio": truth[::-1],
        "labels": truth,
        "label_mask": np.ones(4),
        "record": np.arange(4),
    }
    summary = objective.summarize(outputs, "mean")
    (table,), figures = objective.report(outputs, summary, "mean")
    assert [row[0] for row in table.rows] == list(names)
    numbers = ", ".join(f"#{n} {name}" for n, name in enumerate(names) if missing & set(name))
    named = [figure for figure in figures if figure.title != "Calibration"]
    for figure in named[:2]:
        assert ("No installed font" in figure.note) == bool(missing)
        assert numbers in figure.note
    assert not [str(each.message) for each in recwarn if "Glyph" in str(each.message)]


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
