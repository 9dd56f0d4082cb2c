"""Figures of one number against another, with how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.ticker import NullFormatter, NullLocator

from atbert_jax.reporting.canvas import canvas, encode
from atbert_jax.reporting.fonts import lettering
from atbert_jax.reporting.plots import COLOURS, GREY

# Accuracy with its interval, low and high.
Point = tuple[float, tuple[float, float]]


def label_curve(
    counts: Sequence[float],
    names: Sequence[str],
    systems: Mapping[str, Sequence[Point]],
    commonest: float,
) -> bytes:
    """Draws accuracy over the number of labels per class, with a band for its interval.

    Args:
        counts: (P,) labels per class, ascending.
        names: (P,) what is written under each.
        systems: P points of each system.
        commonest: Accuracy of always saying the commonest class, a line for comparison.

    Returns:
        A PNG.

    Raises:
        ValueError: if a system has not one point for each count.
    """
    for system, points in systems.items():
        if not len(counts) == len(names) == len(points) > 0:
            raise ValueError(f"'{system}' has {len(points)} points for {len(counts)} counts")
    with lettering([*systems, *names]) as labels:
        figure = canvas(6.8, 4.2)
        axes = figure.subplots()
        axes.axhline(commonest, color=GREY, lw=1, ls=":", label="always the commonest label")
        for number, (text, points) in enumerate(zip(labels, systems.values(), strict=False)):
            means = [mean for mean, _ in points]
            low, high = zip(*(interval for _, interval in points), strict=True)
            colour = COLOURS[number % len(COLOURS)]
            marker = "osD^v"[number % 5]
            axes.plot(counts, means, color=colour, marker=marker, ms=5, label=text)
            axes.fill_between(counts, low, high, color=colour, alpha=0.15, lw=0)
        axes.set_xscale("log")
        axes.set_xticks(counts, labels[len(systems) :])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="labels per class", ylabel="accuracy", ylim=(0, 1.02))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8, loc="best")
        return encode(figure)
