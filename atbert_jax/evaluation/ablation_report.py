"""What came of an ablation: numbers as JSON and CSV, tables as Markdown, and a report as HTML."""

import csv
import dataclasses
import datetime
import io
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import ml_collections

from atbert_jax.evaluation import grid
from atbert_jax.evaluation.comparison import (
    Outcome,
    Row,
    compare,
    main_metrics,
    numbers,
    tables,
)
from atbert_jax.evaluation.grid import Settings
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.reporting import plots
from atbert_jax.reporting.report import Figure, Report, render
from atbert_jax.reporting.tables import Table, markdown


def write_comparison(
    workdir: Path,
    config: ml_collections.ConfigDict,
    cells: Sequence[Settings],
    outcomes: Sequence[Outcome],
    metrics: Sequence[str],
    split: str,
) -> list[Table]:
    """Writes `ablation.json`, `ablation.csv`, `ablation.md` and `report.html`.

    Args:
        workdir: Where to.
        config: The base.
        cells: The base first.
        outcomes: Of all runs, done or not.
        metrics: To compare by; none for the main one of each objective.
        split: That was evaluated on.

    Returns:
        The tables.
    """
    preferred = [stage.evaluation.best_metric for stage in grid.stages(config).values()]
    measured = [outcome.metrics or {} for outcome in outcomes]
    rows = compare(cells, outcomes, metrics or main_metrics(measured, preferred))
    found = tables(rows, grid.ranges([outcome.replicate for outcome in outcomes]))
    known = grid.known_fields(config)
    flat = numbers(rows, {field: known[field] for cell in cells for field in cell})
    everything = {
        "split": split,
        "cells": flat,
        "runs": [dataclasses.asdict(outcome) for outcome in outcomes],
    }
    text = json.dumps(everything, ensure_ascii=False, indent=2) + "\n"
    whole_file.write(workdir / "ablation.json", text)
    with io.StringIO(newline="") as table:
        writer = csv.DictWriter(table, flat[0])
        writer.writeheader()
        writer.writerows(flat)
        whole_file.write(workdir / "ablation.csv", table.getvalue())
    text = "\n".join(markdown(table) for table in found)
    whole_file.write(workdir / "ablation.md", text)
    page = render(_report(config, rows, outcomes, found, split))
    whole_file.write(workdir / "report.html", page)
    return found


def _report(
    config: ml_collections.ConfigDict,
    rows: Sequence[Row],
    outcomes: Sequence[Outcome],
    found: Sequence[Table],
    split: str,
) -> Report:
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    done = sum(outcome.metrics is not None for outcome in outcomes)
    spent = sum(sum(outcome.seconds.values()) for outcome in outcomes)
    names = [grid.label(row.cell) for row in rows]
    values = {
        metric: [row.metrics[metric].values for row in rows]
        for metric in rows[0].metrics
        if any(row.metrics[metric].values for row in rows)
    }
    note = (
        "A dot is a run, a bar the mean with its standard deviation; the line is the base's mean."
    )
    return Report(
        title="Ablation",
        facts={
            "Split": split,
            "Runs": f"{done} of {len(outcomes)}",
            "Cost": f"{spent / 60:,.1f} minutes on {device}",
            "Date": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
        },
        warnings=[
            f"{grid.label(outcome.cell)} {grid.label(outcome.replicate)} failed: {outcome.error}"
            for outcome in outcomes
            if outcome.error
        ],
        tables=found,
        figures=[Figure("Runs", plots.dots(names, values), note)] if values else [],
        config=json.loads(config.to_json_best_effort()),
    )
