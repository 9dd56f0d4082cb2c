"""The evaluation of a checkpoint: its metrics beside an honest baseline, as tables and a report."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from rich.console import Console

from atbert_jax.evaluation import baseline, metrics, plots, retrieval, zero_shot
from atbert_jax.evaluation import split as on_split
from atbert_jax.evaluation.report import Figure, Report, write_report
from atbert_jax.evaluation.tables import Table, print_table
from atbert_jax.training import checkpoint, trained
from atbert_jax.training.step import make_evaluation_step
from atbert_jax.training.trained import Trained
from atbert_jax.training.writers import read_metrics
from input_pipeline import audio
from input_pipeline.dataset import Dataset, Split
from input_pipeline.progress import track

# What the comparison shows of each task, the headline first.
SHOWN = {
    "single_label": ("accuracy", "macro_f1", "roc_auc_macro", "pr_auc_macro"),
    "multi_label": ("roc_auc_macro", "pr_auc_macro", "roc_auc_micro", "f1_macro"),
    "regression": ("r2", "rmse", "mae"),
}
BASELINE = "MFCC statistics + linear model"
# The baseline listens to at most so many training clips, and to so much of each.
BASELINE_CLIPS = 5000
BASELINE_SECONDS = 60.0


def evaluate(
    workdir: Path,
    split: str,
    output: Path,
    *,
    data: dict[str, Any] | None = None,
    step: int | None = None,
    with_baseline: bool = True,
    rerank: int | None = None,
    template: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint on a split and writes `report.html` and `metrics.json`.

    Args:
        workdir: The checkpoint's folder.
        split: 'train', 'val' or 'test'.
        output: Folder of the report.
        data: Fields of `config.data` to change, as the manifest.
        step: Which checkpoint; None is the best one.
        with_baseline: Fit the MFCC baseline on the training split, too.
        rerank: Instead of `config.evaluation.rerank`.
        template: Classify by the labels' names, too, in a text with {} in the place of the name.
        console: Where to talk.

    Returns:
        What `metrics.json` holds.

    Raises:
        ValueError: if the checkpoint, the manifest or the split is not as it should be.
    """
    console = console or Console()
    model = trained.load(workdir, step)
    config = model.config
    config.data.update(data or {})
    if rerank is not None:
        config.evaluation.rerank = rerank
    if template is not None:
        config.data.task = config.data.task or "single_label"
    dataset = _dataset(config, model, output)
    records = dataset.split(split)
    labels = None if template is None else zero_shot.of_dataset(model, dataset, template)
    values, tables, figures = _answer(model, dataset, split)
    systems, warnings = _systems(model, dataset, split, values, with_baseline)
    if systems:
        tables.insert(0, _comparison(systems, model.contract.labels.task))
        values["systems"] = systems
    if retrieval.is_learned(model):
        values["retrieval"], more, unsearched = retrieval.measure(model, dataset, split)
        tables += more
        warnings += unsearched
    if labels:
        values["zero_shot"], more, pictures = zero_shot.measure(model, labels, dataset, split)
        tables += more
        figures += pictures
    report = Report(
        title=f"{config.model.name} on {split}",
        checkpoint=f"{workdir}, step {model.step}",
        split=split,
        tracks=len(records.records),
        date=f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
        warnings=warnings,
        metrics=_headline(systems, model.contract.labels.task) | values,
        tables=tables,
        figures=[*figures, *_training_curves(workdir)],
        config=config.to_dict(),
    )
    page = write_report(output, report)
    for table in tables:
        print_table(table, console)
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
    return dict(report.metrics)


def _dataset(config: ml_collections.ConfigDict, model: Trained, folder: Path) -> Dataset:
    from input_pipeline import dataset

    return dataset.load(config, folder, contract=model.contract, tokenizer=model.tokenizer)


def _answer(
    model: Trained, dataset: Dataset, split: str
) -> tuple[dict[str, Any], list[Table], list[Figure]]:
    """A model's metrics on a split, with the tables and figures of its objectives."""
    # TensorFlow is needed here, where a split is read, and not in `predict`.
    from input_pipeline.bad_records import BadRecords
    from input_pipeline.batches import Batches

    size = model.config.evaluation.batch_size
    bad = BadRecords(None)
    batches = Batches(model.config, dataset, bad)
    stream = track(
        batches.evaluation(split, size),
        f"evaluating {model.workdir}",
        batches.steps(split, size),
        "batches",
    )
    where = jax.tree.map(lambda x: x.sharding, model.params)
    step = make_evaluation_step(model.definition, model.mesh, where)
    sums, outputs = on_split.answers(step, model.params, model.statistics, stream, model.mesh)
    learner, how = model.learner, model.config.evaluation.aggregate
    values = on_split.measure(learner, model.config.objectives, sums, outputs, how)
    values["unreadable"] = len(bad)
    tables, figures = [], []
    for name, objective in learner.objectives.items():
        more_tables, more_figures = objective.report(outputs[name], values[name], how)
        tables += more_tables
        figures += more_figures
    return values, tables, figures


def _views(values: dict[str, Any], task: str) -> Iterator[tuple[str, dict]]:
    """The views (audio with text, audio, text) that were measured on the labels."""
    for objective in values.values():
        for view, entry in objective.items() if isinstance(objective, dict) else ():
            if isinstance(entry, dict) and SHOWN[task][0] in entry:
                yield view.replace("_", " + "), entry


def _systems(
    model: Trained, dataset: Dataset, split: str, values: dict[str, Any], with_baseline: bool
) -> tuple[dict[str, dict], list[str]]:
    """Everything that answers the same question: the model, its twin from scratch, the baseline."""
    task, config = model.contract.labels.task, model.config
    if not task:
        return {}, []
    warnings = []
    origin = f"from {config.init_from}" if config.init_from else "from scratch"
    systems = {f"{config.model.name} {origin}: {v}": entry for v, entry in _views(values, task)}
    twin = model.workdir / checkpoint.SCRATCH
    if (twin / checkpoint.CONFIG).exists():
        own, _, _ = _answer(trained.load(twin), dataset, split)
        systems |= {f"{config.model.name} from scratch: {v}": e for v, e in _views(own, task)}
    elif config.init_from:
        warnings.append(
            "The same network from scratch was not measured; train with"
            " --config.scratch_twin=true to see what pre-training is worth."
        )
    if with_baseline:
        systems[BASELINE] = _baseline(dataset, split)
    else:
        warnings.append("The MFCC baseline was not measured, as asked for.")
    if values["unreadable"]:
        warnings.append(f"{values['unreadable']} records could not be read and were left out.")
    return systems, warnings


def _baseline(dataset: Dataset, split: str) -> dict:
    """Metrics of the MFCC baseline, fitted on the training split."""
    train_features, train_targets = _described(dataset, dataset.split("train"))
    features, targets = _described(dataset, dataset.split(split))
    labels = dataset.contract.labels
    scores = baseline.fit_and_score(train_features, train_targets, features, labels.task)
    if labels.task == "regression":
        scale, centre = np.array(labels.std), np.array(labels.mean)
        scores, targets = scores * scale + centre, targets * scale + centre
    return metrics.TASK_METRICS[labels.task](scores, targets, labels.names)


def _described(dataset: Dataset, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """MFCC statistics (N, F) and labels (N, C) of the labelled, readable records."""
    rows = np.flatnonzero(split.label_mask > 0)
    rows = rows[:: -(-len(rows) // BASELINE_CLIPS)]
    rate = dataset.contract.spectrogram.sample_rate
    features, kept = [], []
    for row in track(rows, "MFCC baseline", len(rows), "clips"):
        record = split.records[row]
        seconds = min(record.duration or BASELINE_SECONDS, BASELINE_SECONDS)
        try:
            waveform = audio.read(record.path, rate, record.start, seconds)
        except audio.AudioError:
            continue  # reported where the model met it
        features.append(baseline.mfcc_statistics(waveform, rate))
        kept.append(row)
    return np.stack(features), split.labels[kept]


def _comparison(systems: dict[str, dict], task: str) -> Table:
    names = SHOWN[task]
    rows = [[system, *(entry[name] for name in names)] for system, entry in systems.items()]
    return Table("Comparison", ["system", *names], rows, "All on the same records of this split.")


def _headline(systems: dict[str, dict], task: str) -> dict[str, Any]:
    """The task's first metric of the model's first view, its twin's and the baseline's."""
    if not systems:
        return {}
    name = SHOWN[task][0]
    first = {}
    for system, entry in systems.items():
        first.setdefault(system.split(":")[0], entry[name])
    return {f"{name} {system}": value for system, value in first.items()}


def _training_curves(workdir: Path) -> list[Figure]:
    rows = read_metrics(workdir)
    if not rows:
        return []
    note = "Training and validation, as they were measured on the way."
    return [Figure("Training", plots.training_curves(rows), note)]
