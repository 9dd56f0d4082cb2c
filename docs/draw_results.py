"""Draws the README's picture from the table of docs/results.md: `python docs/draw_results.py`."""

from pathlib import Path

import matplotlib.pyplot as plt

DOCS = Path(__file__).parent
HEADING = "## Taggers on few notes"
BASELINE = "MFCC statistics + logistic regression, 16 kHz"


def accuracies(markdown: str) -> dict[str, float]:
    """Accuracy by network, in the order of the table below the heading."""
    section = markdown.partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("| ")]
    return {cells[0].strip(" `"): float(cells[1]) for cells in rows[1:]}


def main() -> None:
    """Writes images/taggers.png: a bar for each network, and a line for the baseline."""
    found = accuracies((DOCS / "results.md").read_text(encoding="utf-8"))
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
    figure.savefig(DOCS / "images" / "taggers.png", dpi=120)


if __name__ == "__main__":
    main()
