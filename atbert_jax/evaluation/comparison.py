"""Runs of the cells of a grid -> mean and spread of each cell, and its difference to the base."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from atbert_jax.evaluation import grid
from atbert_jax.evaluation.grid import Settings
from atbert_jax.reporting.tables import Table, format_cell

LOWER_IS_BETTER = ("loss", "rmse", "mae")
BEST = " *"
NOTE = (
    "Mean ± standard deviation over {over}; * is the best mean. Minutes are what training took with"
    " all that belongs to it, compilation too, which is shorter where only the seed is another."
)
DIFFERENCES_NOTE = (
    "Mean ± standard deviation of the differences between runs with the same {over}; a difference"
    " that is small beside its deviation says nothing."
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one run.

    Attributes:
        cell: What differs from the base.
        replicate: What is averaged over: the seed, say.
        metrics: By name as `correct_pair/roc_auc`; None if the run is not done.
        parameters: Of the model, how many.
        seconds: That it took, by what took them.
        error: Why it failed; '' if it did not.
    """

    cell: Settings
    replicate: Settings
    metrics: Mapping[str, float | None] | None = None
    parameters: int | None = None
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Spread:
    """Values with their mean and standard deviation (of a sample, so with N - 1).

    Where there are too few values to say, these are None.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """Of the values."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Of the values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        text = format_cell(self.mean)
        return text if self.deviation is None else f"{text} ± {format_cell(self.deviation)}"


@dataclasses.dataclass(frozen=True)
class Row:
    """A cell beside the base.

    Attributes:
        cell: What differs from the base.
        runs: How many are done.
        failed: How many failed.
        metrics: Each metric over the runs that measured it.
        differences: To the base, over the replicates that both have; empty for the base.
        parameters: Of the model, or None.
        minutes: Of training, the mean of the runs that are done.
    """

    cell: Settings
    runs: int
    failed: int
    metrics: Mapping[str, Spread]
    differences: Mapping[str, Spread]
    parameters: int | None
    minutes: float | None


def main_metrics(
    measured: Iterable[Mapping[str, float | None]], preferred: Sequence[str] = ()
) -> list[str]:
    """The main metric of each objective and view, the preferred ones first.

    Where none is preferred it is the first that the objective's summary names.

    Args:
        measured: Metrics of each run by name, as `correct_pair/roc_auc`.
        preferred: Names of such.
    """
    groups: dict[str, str] = {}
    for metrics in measured:
        for name in metrics:
            group, _, own = name.rpartition("/")
            if group and own != "loss" and (group not in groups or name in preferred):
                groups[group] = name
    return sorted(groups.values(), key=lambda name: name not in preferred)


def compare(
    cells: Sequence[Settings], outcomes: Sequence[Outcome], metrics: Sequence[str]
) -> list[Row]:
    """One row for each cell.

    Args:
        cells: The base first.
        outcomes: Of their runs.
        metrics: Names of the metrics to show.
    """

    def values(cell: Settings, metric: str) -> dict[str, float]:
        return {
            grid.label(outcome.replicate): outcome.metrics[metric]
            for outcome in outcomes
            if outcome.cell == cell
            and outcome.metrics is not None
            and outcome.metrics.get(metric) is not None
        }

    rows = []
    for cell in cells:
        own = [outcome for outcome in outcomes if outcome.cell == cell]
        done = [outcome for outcome in own if outcome.metrics is not None]
        spreads, differences = {}, {}
        for metric in metrics:
            here, base = values(cell, metric), values(cells[0], metric)
            spreads[metric] = Spread(tuple(here.values()))
            both = [name for name in here if name in base]
            differences[metric] = Spread(tuple(here[name] - base[name] for name in both))
        minutes = Spread(tuple(outcome.seconds.get("training", 0.0) / 60 for outcome in done))
        rows.append(
            Row(
                cell=cell,
                runs=len(done),
                failed=sum(bool(outcome.error) for outcome in own),
                metrics=spreads,
                differences=differences if cell != cells[0] else {},
                parameters=done[0].parameters if done else None,
                minutes=minutes.mean,
            )
        )
    return rows


def best(rows: Sequence[Row], metric: str) -> float | None:
    """The best mean of a metric; None where fewer than two cells have it."""
    means = [row.metrics[metric].mean for row in rows]
    means = [mean for mean in means if mean is not None]
    choose = min if metric.endswith(LOWER_IS_BETTER) else max
    return choose(means) if len(means) > 1 else None


def tables(rows: Sequence[Row], over: str) -> list[Table]:
    """The results, and the differences to the base if there is another cell.

    Args:
        rows: From `compare`.
        over: What is averaged over, as in 'seed 0, 1, 2'.
    """
    metrics = list(rows[0].metrics)
    tops = {metric: best(rows, metric) for metric in metrics}

    def shown(row: Row, metric: str) -> str:
        if not row.runs and row.failed:
            return "failed"
        spread = row.metrics[metric]
        return f"{spread}{BEST if spread.mean is not None and spread.mean == tops[metric] else ''}"

    def signed(spread: Spread) -> str:
        return f"+{spread}" if (spread.mean or 0) > 0 else str(spread)

    results = [
        [
            grid.label(row.cell),
            f"{row.runs}, {row.failed} failed" if row.failed else row.runs,
            *(shown(row, metric) for metric in metrics),
            row.parameters,
            row.minutes,
        ]
        for row in rows
    ]
    columns = ["cell", "runs", *metrics, "parameters", "minutes of training"]
    found = [Table("Results", columns, results, NOTE.format(over=over))]
    if len(rows) > 1:
        differences = [
            [grid.label(row.cell), *(signed(row.differences[metric]) for metric in metrics)]
            for row in rows[1:]
        ]
        note = DIFFERENCES_NOTE.format(over=over)
        found.append(Table("Difference to the base", ["cell", *metrics], differences, note))
    return found


def numbers(rows: Sequence[Row], base: Settings) -> list[dict[str, Any]]:
    """The rows as flat numbers, for a spreadsheet.

    Args:
        rows: From `compare`.
        base: Value in the base of each field that differs in a cell.
    """
    return [
        {
            "cell": grid.label(row.cell),
            **base,
            **row.cell,
            "runs": row.runs,
            "failed": row.failed,
            **{
                f"{metric} {what}": value
                for metric, spread in row.metrics.items()
                for what, value in _flat(spread, row.differences.get(metric, Spread(()))).items()
            },
            "parameters": row.parameters,
            "minutes": row.minutes,
        }
        for row in rows
    ]


def _flat(spread: Spread, difference: Spread) -> dict[str, float | None]:
    return {
        "mean": spread.mean,
        "sd": spread.deviation,
        "difference": difference.mean,
        "difference sd": difference.deviation,
    }
