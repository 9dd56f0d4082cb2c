"""One evaluation in one HTML file that needs nothing else, with the numbers beside it as JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.input_pipeline.text.visible import visible_lines
from atbert_jax.reporting.tables import Table, format_cell, is_sound

TEMPLATE = "report.html.jinja"
SHOWN_SCALE = 0.65
ABBREVIATIONS = {"auc", "f1", "mae", "pr", "r2", "rmse", "roc"}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Figure:
    """A picture of the report: the bytes of a PNG, what it shows, and how to read it."""

    title: str
    png: bytes
    note: str = ""

    def __post_init__(self) -> None:
        if not self.png.startswith(PNG_SIGNATURE):
            raise ValueError(f"figure '{self.title}': the bytes are not those of a PNG")

    @property
    def width(self) -> int:
        """CSS pixels it is shown at where there is room: fewer than it has, so that it is sharp."""
        # Eight bytes of signature, eight of chunk header, then the width as the header's first.
        return round(int.from_bytes(self.png[16:20], "big") * SHOWN_SCALE)

    @property
    def data_uri(self) -> str:
        """The picture itself, written as an address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


class Section(NamedTuple):
    """What one part of an evaluation found: for `metrics.json`, and for the report."""

    values: Mapping[str, Any]
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """All that a report shows, in the order in which it shows it.

    Attributes:
        title: of the page.
        facts: what was evaluated, on what, when: named lines under the title.
        warnings: one line each on what a reader has to know before believing the numbers.
        summary: sentences that say what came of it.
        headline: the few numbers that it begins with, by what they are called.
        metrics: written to `metrics.json`.
        tables: shown in full.
        figures: shown after the tables.
        config: shown collapsed, as JSON.
    """

    title: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    summary: Sequence[str] = ()
    headline: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def write_report(output: Path, report: Report) -> Path:
    """Writes `report.html` and `metrics.json` into a folder, which is made where it is missing.

    Args:
        output: the folder; the two files are replaced when they are there.
        report: what to show. All text in it is escaped.

    Returns:
        The path of the HTML file.

    Raises:
        OSError: when the folder cannot be written.
    """
    page = Path(output) / "report.html"
    whole_file.write(page, render(report))
    numbers = json.dumps(plain(report.metrics), ensure_ascii=False, indent=2, allow_nan=False)
    whole_file.write(page.with_name("metrics.json"), numbers + "\n")
    return page


def render(report: Report) -> str:
    """Returns the HTML of a report: text escaped, style and pictures inside, no script.

    No link leads out of it.

    Sounds alone are elsewhere, unless they are excerpts: players name the files that they play.

    Characters that nobody sees, and those that turn the direction of reading, are shown as escapes.
    """
    import jinja2  # which predicting, that shares tables and figures with reports, does without

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible_lines(value) if isinstance(value, str) else value,
    )
    environment.filters |= {"cell": format_cell, "readable": readable}
    environment.tests["sound"] = is_sound
    config = json.dumps(plain(report.config), ensure_ascii=False, indent=2)
    return environment.get_template(TEMPLATE).render(report=report, config=config)


def plain(value: Any) -> Any:
    """Returns a value as JSON can hold it: numpy unwrapped, NaN and infinity None, paths text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


def readable(name: str) -> str:
    """Returns the name of a number as people read it."""
    words = name.replace("_", " ").split()
    return " ".join(word.upper() if word in ABBREVIATIONS else word for word in words)
