"""An ablation: every cell of a grid is trained and evaluated, and compared with the base.

<workdir>/base.json             the base config and the split
<workdir>/runs/<cell>/<seed>/   `train`, or `pretrain` and `finetune`, with `report`; result.json
<workdir>/ablation.{json,csv,md}, report.html   what came of it
"""

import contextlib
import dataclasses
import signal
import time
import traceback
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
from rich.console import Console

from atbert_jax import choices, objectives
from atbert_jax.evaluation import grid
from atbert_jax.evaluation.ablation_report import write_comparison
from atbert_jax.evaluation.comparison import Outcome
from atbert_jax.evaluation.evaluate_run import evaluate
from atbert_jax.evaluation.grid import Settings
from atbert_jax.input_pipeline.progress import Meter, Terminal
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.parallel import distributed
from atbert_jax.reporting.report import plain
from atbert_jax.reporting.tables import print_table
from atbert_jax.training import run_folder, sameness
from atbert_jax.training.loop import train
from atbert_jax.training.state import define
from atbert_jax.training.validation import scalars

BASE, RESULT, CLOCK, ERROR = "base.json", "result.json", "seconds.json", "error.txt"
REMEDY = "delete it, and run the same command again"
# Fields that change no result.
FREE = ("data.memory_mb", "data.threads")


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of a cell.

    Attributes:
        cell: What differs from the base.
        replicate: What is averaged over: the seed, say.
        folder: Of the run.
    """

    cell: Settings
    replicate: Settings
    folder: Path

    @property
    def name(self) -> str:
        """For people."""
        return f"{grid.label(self.cell)} {grid.label(self.replicate)}"

    def outcome(self) -> Outcome:
        """What is known of it."""
        result, error = _read(self.folder / RESULT), self.folder / ERROR
        return Outcome(
            cell=self.cell,
            replicate=self.replicate,
            metrics=result.get("metrics"),
            parameters=result.get("parameters"),
            seconds=_read(self.folder / CLOCK),
            error=error.read_text(encoding="utf-8").partition("\n")[0] if error.exists() else "",
        )


def ablate(
    config: ml_collections.ConfigDict,
    cells: Sequence[Settings],
    replicates: Sequence[Settings],
    workdir: Path,
    *,
    split: str,
    metrics: Sequence[str],
    console: Console,
) -> list[Outcome]:
    """Trains and evaluates what is not done yet, and writes what came of all.

    A run that fails is named, and the others go on; it is tried again by the next call.

    Args:
        config: The base; with a fine-tuning from `grid.join`.
        cells: From `grid.plan`; the base first.
        replicates: From `grid.plan`; every cell is trained once for each.
        workdir: Folder of everything.
        split: 'train', 'val' or 'test', to evaluate on.
        metrics: Names as `correct_pair/roc_auc`; none for the main one of each objective.
        console: Where to talk.

    Returns:
        One outcome for each run.

    Raises:
        ValueError: if the folder holds an ablation around another base, or no run has one of the
            metrics.
        SystemExit: with `distributed.STOPPED` after SIGTERM or SIGINT; the same call goes on.
    """
    _claim(workdir, config, split)
    # All cells once before any is trained again: an ablation that is stopped can be compared.
    runs = [
        Run(cell, replicate, workdir / "runs" / grid.folder(cell) / grid.folder(replicate))
        for replicate in replicates
        for cell in cells
    ]

    def outcomes() -> list[Outcome]:
        return [run.outcome() for run in runs]

    waiting = [run for run in runs if not (run.folder / RESULT).exists()]
    done = len(runs) - len(waiting)
    console.print(
        f"{len(cells)} cells x {len(replicates)} = {len(runs)} runs, {done} of them done",
        highlight=False,
        markup=False,
    )
    meter = Meter("runs", len(runs), "runs", done=done, console=console)
    with _stopping_at_once(console), meter:
        for run in waiting:
            number = runs.index(run) + 1
            title = f"run {number}/{len(runs)}: {run.name}"
            console.print(title, style="bold", highlight=False, markup=False)
            _attempt(run, config, split, console)
            # The programs of a run, some 100 MB, are of no use to the next one.
            jax.clear_caches()
            write_comparison(workdir, config, cells, outcomes(), metrics, split)
            meter.advance(note=run.name)
    for table in write_comparison(workdir, config, cells, outcomes(), metrics, split):
        print_table(table, console)
    console.print(
        f"report: {workdir / 'report.html'}", highlight=False, markup=False, soft_wrap=True
    )
    _require_measured(outcomes(), metrics)
    return outcomes()


def train_and_evaluate(
    config: ml_collections.ConfigDict, folder: Path, split: str, console: Console
) -> dict[str, Any]:
    """Trains every stage of a config, each from the one before, and evaluates it.

    Args:
        config: Of one run; with a fine-tuning from `grid.join`.
        folder: Of the run.
        split: To evaluate on.
        console: Where to talk.

    Returns:
        `metrics` of all stages by name, those of a later stage before those of an earlier one with
        the same name; and `parameters` of the last one.
    """
    measured: dict[str, float | None] = {}
    start = None
    for name, stage in grid.stages(config).items():
        workdir = folder / name
        if start:
            stage.init_from = str(start)
        with _timed(folder, "training"):
            train(stage, workdir, console)
        with _timed(folder, "evaluation"):
            found = evaluate(
                workdir,
                split,
                workdir / "report",
                with_baseline=False,
                console=Terminal(quiet=True),
            )
        own = {metric: found[metric] for metric in ("loss", *objectives.named(stage))}
        measured |= scalars(plain(own))
        start = workdir
    trained, contract, _ = run_folder.load_run(workdir)
    _, parameters, _ = define(trained, contract)
    return {"metrics": measured, "parameters": sum(x.size for x in jax.tree.leaves(parameters))}


def _claim(workdir: Path, config: ml_collections.ConfigDict, split: str) -> None:
    """Writes what the ablation is around, or refuses a folder of one around something else."""
    new = sameness.fields(config) | {"split": split}
    old = _read(workdir / BASE)
    if old and (differ := sameness.changes(old, new, FREE)):
        raise ValueError(
            f"{workdir} holds an ablation around another base ({differ}); use another --workdir, or"
            " the same base to go on"
        )
    whole_file.write_json(workdir / BASE, new)


@contextlib.contextmanager
def _stopping_at_once(console: Console) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the program with `STOPPED`; a training saves its state before."""

    def leave(number: int, frame: types.FrameType | None) -> None:
        del number, frame
        raise SystemExit(distributed.STOPPED)

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit:
        console.print("stopped; the same command goes on with the runs that are not done")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _attempt(run: Run, config: ml_collections.ConfigDict, split: str, console: Console) -> None:
    """Makes a run's result, or keeps the reason why there is none."""
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / ERROR).unlink(missing_ok=True)
    try:
        changed = grid.set_fields(config, {**run.cell, **run.replicate})
        result = train_and_evaluate(changed, run.folder, split, console)
        whole_file.write_json(run.folder / RESULT, result)
    except Exception as error:
        known = isinstance(error, ValueError | OSError)
        line = " ".join(str(error if known else f"{type(error).__name__}: {error}").split())
        text = f"{line}\n\n{traceback.format_exc()}"
        whole_file.write(run.folder / ERROR, text)
        console.print(f"failed: {run.name}: {line}", style="red", highlight=False, markup=False)


@contextlib.contextmanager
def _timed(folder: Path, what: str) -> Iterator[None]:
    """Adds to the seconds that a run has taken so far, also in calls that were stopped."""
    seconds, began = _read(folder / CLOCK), time.monotonic()
    try:
        yield
    finally:
        spent = seconds.get(what, 0.0) + time.monotonic() - began
        whole_file.write_json(folder / CLOCK, seconds | {what: spent})


def _read(path: Path) -> dict[str, Any]:
    return whole_file.read_json(path, REMEDY) if path.exists() else {}


def _require_measured(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> None:
    known = sorted({name for outcome in outcomes for name in outcome.metrics or {}})
    for metric in metrics if known else ():
        choices.require("--metrics", metric, known)
