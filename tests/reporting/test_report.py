"""The report is one file that needs nothing else, and no text in it becomes markup."""

import base64
import json
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from atbert_jax.reporting import plots
from atbert_jax.reporting.report import Figure, Report, write_report
from atbert_jax.reporting.tables import Table

EVIL = "<script>alert('1')</script>"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Collects tags, addresses and text, and checks that elements close in order."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.text, self.open, self.ids = [], [], [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href")]
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def report(**changes):
    png = plots.spectrogram(np.eye(4), 0.1)
    parts = {
        "title": f"Genres {EVIL}",
        "facts": {f"Checkpoint {EVIL}": f"runs/{EVIL}/7", "Split": EVIL, "Tracks": 1234},
        "warnings": [f"3 files unreadable: {EVIL}.mp3"],
        "metrics": {"accuracy": 0.75, "pr_auc": math.nan, "per_class": {EVIL: np.float32(0.5)}},
        "tables": [Table(EVIL, [EVIL, "f1"], [[EVIL, None], ["발라드", 0.5]], EVIL)],
        "figures": [Figure(f'" onload="x {EVIL}', png, EVIL)],
        "config": {"path": Path("/music") / EVIL, "deep": {"sizes": (1, 2)}},
    }
    return Report(**(parts | changes))


def test_report_is_one_file_without_links_or_scripts(tmp_path):
    page = write_report(tmp_path / "new" / "folder", report())
    html = page.read_text(encoding="utf-8")
    assert page == tmp_path / "new" / "folder" / "report.html"
    assert "http:" not in html
    assert "https:" not in html
    parsed = Page(html)
    assert not {"script", "link", "iframe", "a"} & set(parsed.tags)
    assert len(parsed.addresses) == 1
    assert parsed.addresses[0].startswith("data:image/png;base64,")
    png = base64.b64decode(parsed.addresses[0].partition(",")[2])
    assert png == report().figures[0].png
    assert 'width="' in html


def test_all_text_is_escaped_and_still_readable(tmp_path):
    html = write_report(tmp_path, report()).read_text(encoding="utf-8")
    assert "<script" not in html
    assert ' onload="' not in html
    text = "".join(Page(html).text)
    # Title twice, checkpoint twice, split, warning, four in the table, two at the figure, config.
    assert text.count(EVIL) == 13
    assert "발라드" in text
    assert "1,234" in text


def test_contents_lead_to_every_table_and_figure(tmp_path):
    one = report()
    tables, figures = list(one.tables) * 2, list(one.figures) * 2
    page = write_report(tmp_path, report(tables=tables, figures=figures))
    parsed = Page(page.read_text(encoding="utf-8"))
    links = [address for address in parsed.addresses if address.startswith("#")]
    assert links == [f"#{each}" for each in parsed.ids]
    assert links == ["#tables-1", "#tables-2", "#figures-1", "#figures-2"]
    assert "".join(parsed.text).count(EVIL) > 13


def test_headline_and_summary_are_shown_and_rounded(tmp_path):
    changes = {"headline": {"pr_auc_macro x": 1 / 3, "r2": math.nan}, "summary": [f"1 < {EVIL}"]}
    page = write_report(tmp_path, report(**changes)).read_text(encoding="utf-8")
    assert "<dt>PR AUC macro x</dt><dd>0.3333</dd>" in page
    assert "<dt>R2</dt><dd>–</dd>" in page
    assert "1 &lt; &lt;script&gt;" in page


def test_metrics_are_strict_json_beside_the_page(tmp_path):
    write_report(tmp_path, report())
    text = (tmp_path / "metrics.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert found == {"accuracy": 0.75, "pr_auc": None, "per_class": {EVIL: 0.5}}


def test_empty_parts_leave_nothing_behind(tmp_path):
    bare = report(warnings=[], metrics={}, tables=[], figures=[], config={})
    tags = Page(write_report(tmp_path, bare).read_text(encoding="utf-8")).tags
    assert not {"section", "table", "img", "details"} & set(tags)


def test_a_figure_has_to_be_a_png():
    with pytest.raises(ValueError, match="figure 'curves': the bytes are not those of a PNG"):
        Figure("curves", b"<svg>")


def test_nothing_unseen_turns_or_hides_what_is_read(tmp_path):
    name = "a\u202egpj.\x1b[2Jwav\u200b"
    shown = "a\\u202egpj.\\x1b[2Jwav\\u200b"
    tables = [Table(name, [name], [[name]], name)]
    changes = {"title": name, "facts": {name: name}, "warnings": [name], "config": {"a": name}}
    page = write_report(tmp_path, report(tables=tables, **changes))
    html = page.read_text(encoding="utf-8")
    assert not {"\u202e", "\x1b", "\u200b"} & set(html)
    assert html.count(shown) >= 8
