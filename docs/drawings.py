"""Draws the pictures of README and docs from what they show: `python docs/drawings.py`.

The taggers' accuracies are those of the table in docs/results.md, the layers those that
tests/test_layers.py holds.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from tests.test_layers import LAYERS  # noqa: E402

HEADING = "## Taggers on few notes"
BASELINE = "MFCC statistics + logistic regression, 16 kHz"
COMMANDS = "the commands: atbert train, evaluate, predict, convert, prepare, ..."
# Of a layer in the picture: its left edge, its width, its height, and the gap between two.
LEFT, WIDTH, HEIGHT, GAP = 60, 560, 34, 10
COLORS = ("#dbe7f5", "#e3eee0", "#f7ead2", "#f3e1ea")


def accuracies(markdown: str) -> dict[str, float]:
    """Accuracy by network, in the order of the table below the heading."""
    section = markdown.partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("| ")]
    return {cells[0].strip(" `"): float(cells[1]) for cells in rows[1:]}


def draw_taggers(found: dict[str, float], file: Path) -> None:
    """A bar for each network, and a line for the baseline."""
    baseline = found[BASELINE]
    networks = {name: value for name, value in found.items() if not name.startswith("MFCC")}
    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    names, values = list(networks)[::-1], list(networks.values())[::-1]
    colors = ["#4c72b0" if value >= baseline else "#a9bcd9" for value in values]
    axes.bar_label(axes.barh(names, values, color=colors), fmt="%.3f", padding=3, fontsize=8)
    axes.axvline(baseline, color="#c44e52", linestyle="--")
    axes.text(baseline + 0.005, -0.4, f"MFCC, 16 kHz: {baseline:.3f}", color="#c44e52", fontsize=8)
    axes.set(xlim=(0, 1.05), xlabel="accuracy on 64 notes of 16 instruments")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


def layers_picture(layers: Sequence[set[str]]) -> str:
    """The layers as SVG, the first one on the bottom; the last one, of the commands, on top.

    Args:
        layers: Names of the packages of each.
    """
    rows = [[COMMANDS]]
    rows += [sorted(name.removeprefix("atbert_jax.") for name in layer) for layer in layers[-2::-1]]
    boxes = []
    for number, names in enumerate(rows):
        y, width = GAP + number * (HEIGHT + GAP), (WIDTH - 8 * (len(names) - 1)) / len(names)
        for place, name in enumerate(names):
            x = LEFT + place * (width + 8)
            color = COLORS[number % len(COLORS)]
            boxes += [
                f'<rect x="{x:g}" y="{y}" width="{width:g}" height="{HEIGHT}" rx="4"'
                f' fill="{color}" stroke="#5a6a7a"/>',
                f'<text x="{x + width / 2:g}" y="{y + 22}">{name}</text>',
            ]
    end = GAP + len(rows) * (HEIGHT + GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + GAP} {end}">',
        "<style>text { font: 14px sans-serif; text-anchor: middle; fill: #1d2730 }</style>",
        f'<path d="M 30 {end - 14} V 22" stroke="#5a6a7a" stroke-width="2"/>',
        '<path d="M 23 24 L 30 14 L 37 24 Z" fill="#5a6a7a"/>',
        f'<text transform="translate(18 {end // 2}) rotate(-90)" style="fill: #7a8a9a">'
        "imported by what is above</text>",
        *boxes,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes both into docs/images."""
    found = accuracies((DOCS / "results.md").read_text(encoding="utf-8"))
    draw_taggers(found, DOCS / "images" / "taggers.png")
    (DOCS / "images" / "layers.svg").write_text(layers_picture(LAYERS), encoding="utf-8")


if __name__ == "__main__":
    main()
