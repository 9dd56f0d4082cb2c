"""Reports of several runs -> one table, and a picture of quality against size."""

import dataclasses
import datetime
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from atbert_jax import choices
from atbert_jax.evaluation import compared_systems, retrieval
from atbert_jax.evaluation.comparison import main_metrics
from atbert_jax.input_pipeline.progress import Terminal
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.reporting import curves
from atbert_jax.reporting.report import Figure, Report, write_report
from atbert_jax.reporting.tables import Table, format_range, print_table
from atbert_jax.training.validation import scalars

FILE, REPORT = "metrics.json", "report"
# Of an evaluation, what it was of; parts of it that are no metrics of the model's objectives.
EVALUATED = "evaluated"
OTHERS = {EVALUATED, "systems", "verdict", "chosen", "label_curve", "zero_shot", "correlations"}
OTHERS |= {"robustness", "text_columns", "retrieval"}
RECALL = "recall_at_10"
PREFERRED = ("correct_pair/roc_auc",)
# What reports have to share to be compared, by how it is said; a value of '' is of no matter.
SHARED = {
    "on the same records": "{records} of {split}, ids {record_ids}",
    "on clips that were perturbed alike": "{perturbation}",
    "in the same chunks": "{chunks}",
    "with texts of the same column": "{text_column}",
}
TOLD = ("records", "split", "record_ids", "perturbation", "chunks", "text_column")


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one report says.

    Attributes:
        name: Of its folder, unlike those of the others.
        about: Of the evaluation: `model`, `checkpoint`, `step`, `parameters`, and those of `TOLD`;
            reports of before these were told lack some, or all.
        metrics: Numbers by name as `classification/audio/accuracy`.
        interval: Of the accuracy of the first view, if it has one.
    """

    name: str
    about: dict[str, Any]
    metrics: dict[str, float | None]
    interval: tuple[float, float] | None


def find(folder: Path) -> Path:
    """The file of the report in a folder, or in its folder `report`.

    Raises:
        ValueError: if there is none.
    """
    files = [folder / FILE, folder / REPORT / FILE]
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        raise ValueError(
            f"{folder}: no {FILE} here or in its folder `{REPORT}`; make it with `atbert evaluate"
            f" --checkpoint RUN --output {folder}`"
        )
    return file


def names(folders: Sequence[Path]) -> list[str]:
    """What tells folders apart: as `a` and `b` of `runs/a/report` and `runs/b/report`.

    Of each path the last part, with as many before it as it takes to be the only one of that name;
    what all paths end in is left out.

    Args:
        folders: Two or more, all different.
    """
    paths = [folder.resolve().parts for folder in folders]
    while len({path[-1:] for path in paths}) == 1:
        paths = [path[:-1] for path in paths]
    ends = Counter(path[-count:] for path in paths for count in range(1, len(path) + 1))
    found = []
    for path in paths:
        tails = (path[-count:] for count in range(1, len(path) + 1))
        found.append(str(Path(*next((tail for tail in tails if ends[tail] == 1), path))))
    return found


def read(file: Path, name: str) -> Measured:
    """A report.

    Args:
        file: See `find`.
        name: To call it by.

    Raises:
        ValueError: if it is damaged.
    """
    found = whole_file.read_json(file, "evaluate again")
    own = {name: value for name, value in found.items() if name not in OTHERS}
    metrics = {name: value for name, value in scalars(own).items() if "/" in name}
    search = found.get("retrieval", {})
    for direction in (retrieval.TEXT_TO_AUDIO, retrieval.AUDIO_TO_TEXT):
        if stages := search.get(direction):
            best = stages.get(retrieval.RERANKED, stages[retrieval.CANDIDATES])
            metrics[f"{direction}/{RECALL}"] = best[RECALL]
    first = next(iter(found.get("systems", {}).values()), {})
    interval = first.get(compared_systems.INTERVAL)
    return Measured(name, found.get(EVALUATED, {}), metrics, interval)


def compare(
    folders: Sequence[Path], output: Path, metrics: Sequence[str], console: Console | None = None
) -> dict[str, Any]:
    """Writes `report.html` and `metrics.json` of several reports, and prints their table.

    Args:
        folders: See `find`; two or more.
        output: Folder of the page; none of those that are read.
        metrics: Names as `classification/audio/macro_f1`; none for the main one of each objective
            and view, and the recall of searches.
        console: Where to talk.

    Returns:
        What the new `metrics.json` holds.

    Raises:
        ValueError: if there are fewer than two, one is no report or the same as another, the page
            would replace one, or none has one of the metrics.
    """
    console = console or Terminal()
    if len(folders) < 2:
        raise ValueError("give two or more folders of `atbert evaluate` to compare")
    files = _files(folders, output)
    whole_file.claim(output)
    found = [read(*each) for each in zip(files, names(folders), strict=True)]
    known = sorted({name for each in found for name in each.metrics})
    for metric in metrics:
        choices.require("--metrics", metric, known)
    chosen = list(metrics) or main_metrics([each.metrics for each in found], PREFERRED)
    chosen = [name for name in chosen if any(each.metrics.get(name) is not None for each in found)]
    table = _table(found, chosen)
    values = {
        "runs": [
            {"name": each.name, **each.about, "metrics": each.metrics, "interval": each.interval}
            for each in found
        ]
    }
    report = Report(
        title="Comparison of runs",
        facts={"Reports": len(found), "Date": f"{datetime.datetime.now():%Y-%m-%d %H:%M}"},
        warnings=_warnings(found),
        metrics=values,
        tables=[table],
        figures=_figures(found, chosen),
    )
    page = write_report(output, report)
    print_table(table, console)
    for warning in report.warnings:
        console.print(warning, highlight=False, markup=False)
    console.print(f"report: {page}", highlight=False, markup=False, soft_wrap=True)
    return values


def _files(folders: Sequence[Path], output: Path) -> list[Path]:
    """The files of the reports, all different, and none in the place of the page."""
    files: dict[Path, Path] = {}
    for folder in folders:
        file = find(folder).resolve()
        if file in files:
            raise ValueError(
                f"{folder}: is the same report as {files[file]}; name each of them once"
            )
        files[file] = folder
        if output.is_dir() and any(map(output.samefile, (folder, file.parent))):
            raise ValueError(
                f"--output={output}: is compared itself, and its report would be replaced; name"
                " another folder"
            )
    return list(files)


def _table(found: Sequence[Measured], metrics: Sequence[str]) -> Table:
    has_intervals = any(each.interval for each in found)
    rows = []
    for each in found:
        interval = [format_range(*each.interval) if each.interval else ""] if has_intervals else []
        numbers = [each.metrics.get(name) for name in metrics]
        model = each.about.get("model", "")
        rows.append([each.name, model, *numbers, *interval, each.about.get("parameters")])
    columns = ["report", "model", *metrics, *["95 % interval of accuracy"] * has_intervals]
    return Table("Runs", [*columns, "parameters"], rows)


def _warnings(found: Sequence[Measured]) -> list[str]:
    """What makes reports hard to compare."""
    is_told = {each.name: all(each.about.get(key) is not None for key in TOLD) for each in found}
    told = [each for each in found if is_told[each.name]]
    warnings = []
    for how, text in SHARED.items():
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for each in told:
            alike[text.format(**each.about)].append(each.name)
        alike.pop("", None)
        if len(alike) > 1:
            listed = "; ".join(f"{', '.join(group)}: {value}" for value, group in alike.items())
            warnings.append(f"Not all were measured {how} ({listed}).")
    if old := ", ".join(name for name, is_one in is_told.items() if not is_one):
        warnings.append(f"Of {old} it is not told how it was measured; evaluate again.")
    return warnings


def _figures(found: Sequence[Measured], metrics: Sequence[str]) -> list[Figure]:
    """Each metric against the number of parameters, where two reports or more have both."""
    figures = []
    for metric in metrics:
        points = {
            each.name: (each.about["parameters"], each.metrics[metric])
            for each in found
            if each.about.get("parameters") and each.metrics.get(metric) is not None
        }
        if len(points) > 1:
            title = f"{metric} and parameters"
            figures.append(Figure(title, curves.scatter(points, "parameters", metric)))
    return figures
