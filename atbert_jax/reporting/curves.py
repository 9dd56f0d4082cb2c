"""Figures of one number against another, with how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atbert_jax.reporting.canvas import canvas, encode
from atbert_jax.reporting.fonts import lettering
from atbert_jax.reporting.plots import BLUE, COLOURS, GREY, LONGEST_CELL

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
    from matplotlib.ticker import NullFormatter, NullLocator

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


def reliability(bins: Sequence[Mapping[str, Any]]) -> bytes:
    """Draws how much of what a model says with a probability is right, and how often it says it.

    Args:
        bins: Of `metrics.calibration`: `probability`, `right` and `count` of each.

    Returns:
        A PNG. Points below the diagonal are said too surely, points above it too cautiously.

    Raises:
        ValueError: if there is no bin.
    """
    if not bins:
        raise ValueError("no calibration to draw: there is no bin")
    said, right, counts = ([each[k] for each in bins] for k in ("probability", "right", "count"))
    with lettering([]):
        figure = canvas(5.2, 5.4)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="as it should be")
        upper.vlines(said, said, right, color=COLOURS[1], lw=2, alpha=0.6)
        upper.plot(said, right, color=BLUE, marker="o", ms=6, label="the model")
        upper.set(ylabel="share that is right", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        upper.grid(alpha=0.25)
        upper.legend(frameon=False, fontsize=9, loc="best")
        middles = [min(int(10 * each), 9) / 10 + 0.05 for each in said]
        lower.bar(middles, counts, width=0.09, color=GREY)
        lower.set(xlabel="probability that the model says", ylabel="count")
        return encode(figure)


def scatter(points: Mapping[str, tuple[float, float]], across: str, up: str) -> bytes:
    """Draws named points; what is across is above 0, and its axis is logarithmic.

    Args:
        points: (x, y) by name.
        across: What x is.
        up: What y is.

    Returns:
        A PNG.

    Raises:
        ValueError: if there is no point.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

    if not points:
        raise ValueError(f"no {up} to draw: there is no point")
    with lettering([*points, across, up], LONGEST_CELL) as labels:
        figure = canvas(6.4, 4.2)
        axes = figure.subplots()
        for number, (text, (x, y)) in enumerate(zip(labels, points.values(), strict=False)):
            colour, marker = COLOURS[number % len(COLOURS)], "osD^v"[number % 5]
            axes.plot([x], [y], ls="", marker=marker, ms=8, color=colour, label=text)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel=labels[-2], ylabel=labels[-1])
        axes.margins(0.15)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8)
        return encode(figure)
