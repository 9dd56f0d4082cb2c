"""What is in prepared data, on one HTML page: counts, hours, labels, splits, what was left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.preparing.shard_plan import Plan, Sharding
from atbert_jax.input_pipeline.preparing.shard_writer import Summary
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.reporting.canvas import canvas, encode
from atbert_jax.reporting.fonts import lettering
from atbert_jax.reporting.report import Figure, Report, render
from atbert_jax.reporting.tables import Table

FILE = "card.html"
# Rows of a table, and labels of the picture; ten thousand shards would make no page.
SHOWN = 200
BARS = 40


def write(
    folder: Path,
    sharding: Sharding,
    plans: Mapping[str, Plan],
    summaries: Mapping[str, Summary],
    records: Sequence[Record],
    left_out: Mapping[str, str],
) -> Path:
    """Writes `card.html`.

    Args:
        folder: Where to.
        sharding: How the corpus was divided.
        plans: The shards of each split.
        summaries: Of each shard.
        records: Of the corpus.
        left_out: Why, by path or id of what is not in the shards.

    Returns:
        The page.
    """
    settings, rate = sharding.shards, sharding.shards.sample_rate
    kept = [pair for name in summaries for pair in summaries[name].kept]
    seconds = np.array([count for _, count in kept]) / rate
    labels = Counter(label for row, _ in kept for label in records[row].labels)
    tables = [_splits(plans, summaries, records, rate)]
    if left_out:
        tables.append(_table("Left out", ["record", "reason"], left_out.items()))
    odd = [
        [records[row].id, remark]
        for name in summaries
        for row, remark in summaries[name].odd.items()
    ]
    if odd:
        tables.append(_table("Not heard as written", ["record", "what was done"], odd))
    shards = [
        [name, len(summary.kept), summary.size / 2**20, summary.checksum]
        for name, summary in summaries.items()
    ]
    tables.append(_table("Shards", ["file", "records", "MiB", "SHA-256"], shards))
    figures = [Figure("Length of the records", _lengths(seconds))]
    if labels:
        note = f"The {BARS} most frequent of {len(labels)}." if len(labels) > BARS else ""
        figures.insert(0, Figure("Labels", _bars(labels.most_common(BARS)), note))
    report = Report(
        title=sharding.name,
        facts={
            "sound": f"{settings.audio_format.upper()}, mono, 16 bits, {rate} Hz",
            "records with text": sum(bool(records[row].text) for row, _ in kept),
            "records with labels": sum(bool(records[row].labels) for row, _ in kept),
        },
        metrics={
            "records": len(kept),
            "hours": float(seconds.sum() / 3600),
            "labels": len(labels),
            "shards": len(summaries),
            "left_out": len(left_out),
            "odd": len(odd),
        },
        tables=tables,
        figures=figures,
    )
    page = folder / FILE
    whole_file.write(page, render(report))
    return page


def _table(title: str, columns: list[str], rows: Sequence) -> Table:
    rows = list(map(list, rows))
    more = f"The first {SHOWN} of {len(rows)}." if len(rows) > SHOWN else ""
    return Table(title, columns, rows[:SHOWN], more)


def _splits(
    plans: Mapping[str, Plan],
    summaries: Mapping[str, Summary],
    records: Sequence[Record],
    rate: int,
) -> Table:
    rows = []
    for split, plan in plans.items():
        kept = [pair for name in plan for pair in summaries[name].kept]
        given = {records[row].split for row, _ in kept}
        drawn = "drawn" if given == {""} else "the corpus' own"
        hours = sum(count for _, count in kept) / rate / 3600
        rows.append([split, len(kept), hours, len(plan), drawn])
    columns = ["split", "records", "hours", "shards", "origin"]
    note = "Drawn splits are those that training draws by default; another setting draws others."
    return Table("Splits", columns, rows, note if any(row[-1] == "drawn" for row in rows) else "")


def _bars(counts: Sequence[tuple[str, int]]) -> bytes:
    names, values = zip(*counts, strict=True)
    with lettering(names) as shown:
        figure = canvas(8, 0.6 + 0.24 * len(names))
        axes = figure.subplots()
        bars = axes.barh(np.arange(len(names)), values, color="#2563a8")
        axes.bar_label(bars, padding=3, fontsize=8)
        axes.set_yticks(np.arange(len(names)), shown, fontsize=9)
        axes.invert_yaxis()
        axes.set_xlabel("records")
        return encode(figure)


def _lengths(seconds: np.ndarray) -> bytes:
    figure = canvas(8, 2.6)
    axes = figure.subplots()
    axes.hist(seconds, bins=40, color="#2563a8")
    axes.set_xlabel("seconds")
    axes.set_ylabel("records")
    return encode(figure)
