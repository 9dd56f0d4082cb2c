"""What a page shows, as HTML in which nothing from outside is more than text."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from atbert_jax.evaluation.taggram import MOST_TAGS, Taggram
from atbert_jax.input_pipeline.text.visible import visible
from atbert_jax.library.embedding_index import Hit

# Gradio fills templates in the browser; no name may look like a part of one.
OF_TEMPLATES = {ord(letter): f"&#{ord(letter)};" for letter in "${}`\\"}
ROW, WIDTH = 22, 1000  # of a taggram, in units of the picture


def text(value: object) -> str:
    """Anything as text: characters that cannot be seen are written out, no mark is markup."""
    return html.escape(visible(str(value))).translate(OF_TEMPLATES)


def note(message: object) -> str:
    """A line about what went wrong, or what there is."""
    return f'<p class="note" role="status">{text(message)}</p>'


def player(number: int, *, starts: bool = False) -> str:
    """Plays a sound of this number (see `sounds`)."""
    how = "autoplay" if starts else 'preload="none"'
    return f'<audio controls {how} src="sound/{int(number)}"></audio>'


def hits(found: Sequence[tuple[Hit, int]]) -> str:
    """Answers of a search, the nearest first, each with its sound's number."""
    names = list(found[0][0].columns) if found else []
    head = "".join(f"<th>{text(name)}</th>" for name in ("", "file", "from (s)", "cosine", *names))
    rows = [
        f"<tr><td>{player(number)}</td><td>{text(hit.record.path.name)}<br>"
        f"<small>{text(hit.record.path.parent)}</small></td>"
        f"<td>{hit.start:.2f}</td><td>{hit.score:.3f}</td>"
        + "".join(f"<td>{text(hit.columns[name])}</td>" for name in names)
        + "</tr>"
        for hit, number in found
    ]
    return f'<table class="answers"><tr>{head}</tr>{"".join(rows)}</table>'


def probabilities(title: str, found: Mapping[str, float]) -> str:
    """Labels with their probabilities."""
    rows = [
        f"<tr><td>{text(name)}</td><td><meter value='{value:.4f}'></meter></td>"
        f"<td>{value:.3f}</td></tr>"
        for name, value in found.items()
    ]
    return f'<h3>{text(title)}</h3><table class="answers">{"".join(rows)}</table>'


def taggram(found: Taggram, number: int) -> str:
    """The labels of a clip by time, with a player whose place a line shows."""
    order = np.argsort(-found.answer, kind="stable")[:MOST_TAGS]
    x = np.asarray(found.edges) / max(found.duration, 1e-9) * WIDTH
    cells = [
        f'<rect x="{x[k]:.1f}" y="{row * ROW}" width="{x[k + 1] - x[k]:.2f}" height="{ROW}"'
        f' fill-opacity="{float(np.sqrt(max(found.scores[k, c], 0))):.3f}"/>'
        for row, c in enumerate(order)
        for k in range(len(found.scores))
    ]
    height = ROW * len(order)
    names = "".join(f"<div>{text(found.names[c])}</div>" for c in order)
    whole = "".join(f"<div>{found.answer[c]:.2f}</div>" for c in order)
    return (
        f'<div class="taggram" data-seconds="{found.duration:.3f}">{player(number)}'
        f'<div class="rows"><div class="names">{names}</div>'
        f'<svg viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" height="{height}"'
        f' role="img" aria-label="labels by time">{"".join(cells)}'
        f'<line class="place" x1="0" x2="0" y1="0" y2="{height}"/></svg>'
        f'<div class="whole">{whole}</div></div>'
        f"<small>0 to {found.duration:.1f} s; the stronger the colour, the more probable. On the"
        " right: of the whole clip. Click to go to a moment.</small></div>"
    )
