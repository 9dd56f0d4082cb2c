"""The figures of a report, each drawn without a display and returned as the bytes of a PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from atbert_jax.reporting.canvas import canvas, encode
from atbert_jax.reporting.fonts import lettering

BLUE, ORANGE, GREEN, GREY = "#2563a8", "#d9730d", "#2f8f5b", "#9aa3ad"
# Okabe and Ito's colours, which people who see colours differently can tell apart.
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f6a00",
    "#444444",
    "#9467bd",
    "#17868b",
)
MOST_TICKS = 60
MOST_COUNTS = 25
LONGEST_CELL = 64


def confusion_matrix(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> bytes:
    """Draws who is taken for whom; colour is the share of the true class, numbers are counts.

    Args:
        matrix: (C, C) counts, rows are the truth.
        names: the C class names.

    Returns:
        A PNG. Rows without examples are grey; above 25 classes the numbers are left out.

    Raises:
        ValueError: when the matrix is not square, empty, or not as large as the names are many.
    """
    counts = np.asarray(matrix)
    size = len(names)
    if not size or counts.shape != (size, size):
        raise ValueError(f"a confusion matrix of {size} classes cannot be {counts.shape}")
    support = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_where(
        np.broadcast_to(support == 0, counts.shape), counts / np.maximum(support, 1)
    )
    with lettering(names) as labels:
        letters = max(map(len, labels))
        side = float(np.clip(0.32 * size + 0.08 * letters + 1.2, 4.2, 18))
        figure = canvas(side * 1.1, side)
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_facecolor("#e8eaed")
        ticks = range(0, size, math.ceil(size / MOST_TICKS))
        size_of_text = 9 if size <= MOST_COUNTS else 8
        shown = [labels[tick] for tick in ticks]
        axes.set_xticks(ticks, shown, rotation=90 if size > 6 else 30, fontsize=size_of_text)
        axes.set_yticks(ticks, shown, fontsize=size_of_text)
        if size <= 6:
            for tick in axes.get_xticklabels():
                tick.set(ha="right", rotation_mode="anchor")
        axes.set(xlabel="predicted", ylabel="true")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if size <= MOST_COUNTS:
            for row, column in np.argwhere(counts > 0):
                colour = "white" if shares[row, column] > 0.55 else "#1c2733"
                number = str(counts[row, column])
                axes.text(column, row, number, ha="center", va="center", color=colour, fontsize=8)
        figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.6, aspect=30)
        return encode(figure)


def training_curves(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Draws how the metrics went, one panel per metric with a line for each of its splits.

    Args:
        rows: as in `metrics.jsonl`: `step` and numbers named `split/metric`, or just `metric`.
            Entries that are no finite number are passed over, and so are metrics that are the
            same all the time.

    Returns:
        A PNG.

    Raises:
        ValueError: when there is no number to draw.
    """
    panels = _panels(rows)
    if not panels:
        raise ValueError(
            f"no training curve to draw: {len(rows)} rows without a step and a number that changes"
        )
    across = min(len(panels), 2 if len(panels) <= 4 else 3)
    down = math.ceil(len(panels) / across)
    splits = sorted({split for lines in panels.values() for split in lines})
    colours = {split: COLOURS[i % len(COLOURS)] for i, split in enumerate(splits)}
    with lettering([*panels, *splits]) as labels:
        label = dict(zip([*panels, *splits], labels, strict=True))
        figure = canvas(4.4 * across, 2.9 * down)
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        for axes, (metric, lines) in zip(grid, panels.items(), strict=False):
            for split, points in lines.items():
                steps, values = zip(*sorted(points), strict=True)
                marker = "o" if len(points) < 30 else None
                axes.plot(
                    steps, values, color=colours[split], marker=marker, ms=3, label=label[split]
                )
            axes.set_title(label[metric], fontsize=10, loc="left")
            axes.set_xlabel("step")
            axes.grid(alpha=0.25)
            if any(lines):
                axes.legend(frameon=False, fontsize=8)
        return encode(figure)


def per_class_bars(per_class: Mapping[str, Mapping[str, Any]], metric: str = "f1") -> bytes:
    """Draws one metric for each class, best first; classes where it is undefined come last.

    Args:
        per_class: {name: {metric: number or None}}; a `support` is shown beside the name.
        metric: which of the entries.

    Returns:
        A PNG.

    Raises:
        ValueError: when there is no class, or a class has no such metric.
    """
    lacking = [name for name, row in per_class.items() if metric not in row]
    if lacking or not per_class:
        raise ValueError(f"no '{metric}' to draw for {lacking[0] if lacking else 'any class'}")
    names = sorted(
        per_class, key=lambda n: (per_class[n][metric] is None, -(per_class[n][metric] or 0.0))
    )
    values = [per_class[name][metric] for name in names]
    with lettering(names) as labels:
        figure = canvas(6.4, float(np.clip(0.24 * len(names) + 1.1, 2, 30)))
        axes = figure.subplots()
        axes.barh(range(len(names)), [value or 0.0 for value in values], color=BLUE, height=0.72)
        for row, (name, value) in enumerate(zip(names, values, strict=True)):
            text = "undefined" if value is None else f"{value:.2f}"
            if "support" in per_class[name]:
                text += f"  (n = {per_class[name]['support']})"
            start = max(value or 0.0, 0.0)
            axes.annotate(
                text,
                (start, row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color="#55606b",
            )
        axes.set_yticks(range(len(names)), labels, fontsize=9)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(min(0.0, *(value or 0.0 for value in values), 0.0), None)
        axes.margins(x=0.2)
        axes.set_xlabel(metric)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
        return encode(figure)


def roc_curves(scores: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> bytes:
    """Draws the one-vs-rest ROC curve of each class and the micro average.

    Args:
        scores: (N, C).
        targets: (N, C) of 0 and 1; classes without positives or negatives are left out.
        names: the C class names; above ten classes the curves are grey and without a legend.

    Returns:
        A PNG.

    Raises:
        ValueError: when no class has both positives and negatives.
    """
    scores, truth = np.asarray(scores), np.asarray(targets) > 0.5
    drawn = [c for c in range(len(names)) if truth[:, c].any() and not truth[:, c].all()]
    if not drawn:
        raise ValueError("no ROC curve to draw: no class has both positive and negative examples")
    with lettering(names) as labels:
        figure = canvas(5.6, 5.2)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
        for position, c in enumerate(drawn):
            rates = sk.roc_curve(truth[:, c], scores[:, c])
            if len(drawn) <= len(COLOURS):
                area = sk.auc(rates[0], rates[1])
                colour, text = COLOURS[position], f"{labels[c]} ({area:.2f})"
                axes.plot(rates[0], rates[1], color=colour, lw=1.4, label=text)
            else:
                axes.plot(rates[0], rates[1], color=GREY, lw=0.7, alpha=0.6)
        rates = sk.roc_curve(truth[:, drawn].ravel(), scores[:, drawn].ravel())
        text = f"micro average ({sk.auc(rates[0], rates[1]):.2f})"
        axes.plot(rates[0], rates[1], color="black", lw=2, ls="--", label=text)
        axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        axes.legend(frameon=False, fontsize=8, loc="lower right")
        return encode(figure)


def pair_histogram(scores: np.ndarray, is_match: np.ndarray, weight: np.ndarray) -> bytes:
    """Draws how the scores of matching and of mismatched audio-text pairs lie apart.

    Args:
        scores: (M,) logit of a match minus logit of a mismatch.
        is_match: (M,) 1 or 0.
        weight: (M,) pairs with weight 0 are left out.

    Returns:
        A PNG.

    Raises:
        ValueError: when no pair is left.
    """
    kept = np.asarray(weight) != 0
    if not kept.any():
        raise ValueError("no pair score to draw: every weight is 0")
    scores, truth = np.asarray(scores)[kept], np.asarray(is_match)[kept] > 0
    edges = np.histogram_bin_edges(scores, bins=40)
    with lettering([]):
        figure = canvas(6.4, 3.2)
        axes = figure.subplots()
        for side, colour, text in ((True, GREEN, "match"), (False, ORANGE, "mismatch")):
            chosen = scores[truth == side]
            axes.hist(chosen, edges, color=colour, alpha=0.6, label=f"{text} (n = {len(chosen)})")
        axes.axvline(0, color="#1c2733", lw=1, ls=":")
        axes.set(xlabel="score (above 0: match)", ylabel="pairs")
        axes.legend(frameon=False, fontsize=9)
        return encode(figure)


def dots(names: Sequence[str], values: Mapping[str, Sequence[Sequence[float]]]) -> bytes:
    """Draws the runs of each cell of an ablation, with their mean and standard deviation.

    Args:
        names: of the R cells; the mean of the first is drawn through all of them.
        values: by metric, one panel each: for each cell its runs, or none.

    Returns:
        A PNG.

    Raises:
        ValueError: when a metric has no value, or not one entry for each cell.
    """
    for metric, rows in values.items():
        if len(rows) != len(names) or not any(map(len, rows)):
            raise ValueError(f"'{metric}' has {len(rows)} rows of values for {len(names)} cells")
    across = min(len(values), 3)
    down = math.ceil(len(values) / across)
    with lettering([*names, *values], LONGEST_CELL) as labels:
        letters = max(map(len, labels[: len(names)]))
        figure = canvas(0.075 * letters + 3.2 * across, down * (0.8 + 0.36 * len(names)))
        grid = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for axes in grid[len(values) :]:
            axes.set_visible(False)
        for axes, rows, title in zip(grid, values.values(), labels[len(names) :], strict=False):
            for place, row in enumerate(map(np.asarray, rows)):
                if not row.size:
                    continue
                colour = BLUE if place else "black"
                if not place:
                    axes.axvline(row.mean(), color=GREY, lw=1, ls=":")
                deviation = row.std(ddof=1) if row.size > 1 else 0
                axes.errorbar(row.mean(), place, xerr=deviation, fmt="o", color=colour, capsize=3)
                beside = np.full(row.size, place + 0.25)
                axes.plot(row, beside, "o", color=colour, ms=4, alpha=0.4, mew=0)
            axes.set_title(title, fontsize=9, loc="left")
            axes.set_yticks(range(len(names)), labels[: len(names)])
            axes.set_ylim(len(names) - 0.4, -0.5)
            axes.tick_params(labelsize=8)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=5)
            axes.grid(axis="x", alpha=0.25)
        return encode(figure)


def spectrogram(log_mel: np.ndarray, hop_seconds: float) -> bytes:
    """Draws a log-mel spectrogram, low bands at the bottom.

    Args:
        log_mel: (F, T).
        hop_seconds: time from one frame to the next.

    Returns:
        A PNG.

    Raises:
        ValueError: when it is not a filled (F, T) array.
    """
    log_mel = np.asarray(log_mel)
    if log_mel.ndim != 2 or not log_mel.size:
        raise ValueError(f"a spectrogram to draw is (bands, frames), not {log_mel.shape}")
    bands, frames = log_mel.shape
    with lettering([]):
        figure = canvas(7.2, 2.8)
        axes = figure.subplots()
        extent = (0, frames * hop_seconds, 0, bands)
        image = axes.imshow(log_mel, origin="lower", aspect="auto", cmap="magma", extent=extent)
        axes.set(xlabel="time (s)", ylabel="mel band")
        figure.colorbar(image, ax=axes, label="log energy", pad=0.01)
        return encode(figure)


def changes(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Says whether there is anything that `training_curves` would draw."""
    return bool(_panels(rows))


def _panels(
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """{metric: {split: [(step, value)]}} of those that change, losses first.

    The split of a bare metric is ''.
    """
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        if not _is_number(row.get("step")):
            continue
        for key, value in row.items():
            if key == "step" or not _is_number(value):
                continue
            split, _, metric = key.partition("/") if "/" in key else ("", "", key)
            panels.setdefault(metric, {}).setdefault(split, []).append((row["step"], value))
    changing = {
        metric: lines
        for metric, lines in panels.items()
        if any(len({value for _, value in points}) > 1 for points in lines.values())
    }
    return dict(sorted(changing.items(), key=lambda item: ("loss" not in item[0], item[0])))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
