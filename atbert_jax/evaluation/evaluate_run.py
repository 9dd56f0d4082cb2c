"""The evaluation of a checkpoint: its metrics beside an honest baseline, as tables and a report."""

import datetime
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from atbert_jax.evaluation import (
    compared_systems,
    contribution,
    correlation,
    headline,
    label_curve,
    masked_examples,
    prediction_files,
    retrieval,
    robustness,
    split_warnings,
    taggram,
    text_columns,
    zero_shot,
)
from atbert_jax.evaluation.compared_reports import EVALUATED
from atbert_jax.evaluation.compared_systems import Compared
from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.input_pipeline.manifest.perturbation import Perturbation
from atbert_jax.input_pipeline.progress import Terminal
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.objectives.views import TEXT
from atbert_jax.reporting import plots
from atbert_jax.reporting.excerpts import excerpt
from atbert_jax.reporting.report import Figure, Report, Section, write_report
from atbert_jax.reporting.tables import Sound, print_table
from atbert_jax.training import checkpoint, run_folder, trained, validation
from atbert_jax.training.trained import Trained
from atbert_jax.training.writers import read_metrics


def evaluate(
    workdir: Path,
    split: str,
    output: Path,
    *,
    data: dict[str, Any] | None = None,
    step: int | None = None,
    hop: float | None = None,
    chunks: int | None = None,
    perturbation: Perturbation | None = None,
    with_robustness: bool = False,
    also_text_column: str = "",
    with_correlations: bool = False,
    with_baseline: bool = True,
    rerank: int | None = None,
    template: str | None = None,
    label_draws: int = 0,
    cache: Path | None = None,
    with_chunk_predictions: bool = False,
    embed_audio: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint on a split and writes `report.html` and `metrics.json`.

    What a model of labels or numbers says of each record is written beside them (see
    `prediction_files`).

    Tags (multi-label) are decided twice: from a probability of 0.5 on, and from the threshold on
    that had the best F1 on the validation split (`..._tuned`). Each system has thresholds of its
    own; those of the model are under `chosen` in `metrics.json`, for `predict --thresholds`. The
    checkpoint stays as it is.

    Args:
        workdir: The checkpoint's folder.
        split: 'train', 'val' or 'test'.
        output: Folder of the report.
        data: Fields of `config.data` to change, as the manifest.
        step: Which checkpoint; None is the best one.
        hop: Seconds between chunks of a clip, instead of those of the checkpoint's contract.
        chunks: Number of evenly spaced chunks of a clip, likewise.
        perturbation: What is done to the clips of the split, for the baseline too; it was fitted,
            and thresholds are chosen, without.
        with_robustness: Measure on the clips of the robustness set, too.
        also_text_column: Measure with the texts of this column of the manifest, too.
        with_correlations: Correlate hidden units with the features that the model hears, too.
        with_baseline: Fit the MFCC baseline on the training split, too.
        rerank: Instead of `config.evaluation.rerank`, and also where that does not help on the
            validation split.
        template: Classify by the labels' names, too, in a text with {} in the place of the name.
        label_draws: Draws of few labels, of what frozen features are worth with them (see
            `label_curve`); 0: no curve.
        cache: Folder that those features are kept in; needed for the curve alone.
        with_chunk_predictions: Write what the model says of each chunk, too.
        embed_audio: The page holds short excerpts of what it plays, instead of naming the files.
        console: Where to talk.

    Returns:
        What `metrics.json` holds.

    Raises:
        ValueError: if the checkpoint, the manifest or the split is not as it should be.
        OSError: before anything else, if the report cannot be written.
    """
    whole_file.claim(output)
    console = console or Terminal()
    model = trained.load(workdir, step).chunked(hop, chunks)
    config = model.config
    config.data.update(data or {})
    if rerank is not None:
        config.evaluation.rerank = rerank
    if (template is not None or label_draws) and not config.data.tasks:
        config.data.task = config.data.task or "single_label"
    datasets = _datasets(model, output, split, also_text_column, perturbation)
    dataset = datasets[config.data.text_column]
    labels = None if template is None else zero_shot.of_dataset(model, dataset, template)
    if label_draws:
        label_curve.require(model, dataset, split)
    models = [model, *_twin(model)]
    answers, unreadable = validation.ask(models, dataset, split, console)
    chosen, warnings = _choose(models, dataset, split, answers, console)
    measured = [
        validation.measure_answers(*each) for each in zip(models, answers, chosen, strict=True)
    ]
    curve, others = None, {}
    if label_draws:
        curve, others = label_curve.measure(model, dataset, split, label_draws, cache, console)
    compared, more = compared_systems.compare(
        model,
        measured,
        answers,
        dataset,
        split,
        chosen[0],
        console,
        with_baseline=with_baseline,
        others=others,
    )
    warnings += more
    if unreadable:
        warnings.append(f"{unreadable} records could not be read and were left out.")
    warnings += split_warnings.of(dataset, split)
    own = measured[0], chosen[0], console
    listen = excerpt if embed_audio else functools.partial(Sound.of, folder=output)
    parts: dict[str, Callable[[], Section]] = {}
    if with_robustness:
        parts["robustness"] = lambda: robustness.measure(model, dataset, split, *own)
    if also_text_column:
        parts["text_columns"] = lambda: text_columns.measure(model, datasets, split, *own)
    if curve:
        parts["label_curve"] = lambda: curve
    if with_correlations:
        parts["correlations"] = lambda: correlation.measure(model, dataset, split)
    if retrieval.is_learned(model):
        parts["retrieval"] = lambda: retrieval.measure(
            model,
            dataset,
            split,
            console,
            listen,
            rerank_anyway=rerank is not None,
            with_baseline=with_baseline,
        )
    if labels:
        parts["zero_shot"] = lambda: zero_shot.measure(model, labels, dataset, split)
    sections = {name: measure() for name, measure in parts.items()}
    told = prediction_files.measure(
        output,
        model,
        dataset.split(split),
        answers[0][1],
        chosen[0],
        listen,
        with_chunks=with_chunk_predictions,
    )
    shown = [
        _show(model, dataset, split, answers[0][1], measured[0], compared),
        *sections.values(),
        told,
    ]
    found = {name: section.values for name, section in sections.items()}
    metrics = compared_systems.numbers(compared) | measured[0] | {"unreadable": unreadable}
    metrics |= ({"chosen": chosen[0]} if chosen[0] else {}) | found
    metrics[EVALUATED] = _evaluated(model, dataset, split, perturbation)
    report = Report(
        title=f"{config.model.name} on {split}",
        facts=_facts(model, dataset, split, perturbation),
        warnings=warnings + [line for section in shown for line in section.warnings],
        summary=[each.verdict["sentence"] for each in compared if each.verdict],
        headline=headline.numbers(compared, measured[0], found.get("retrieval", {}), unreadable),
        metrics=metrics,
        tables=[table for section in shown for table in section.tables],
        figures=[figure for section in shown for figure in section.figures]
        + _training_curves(workdir),
        config=config.to_dict(),
    )
    page = write_report(output, report)
    for table in report.tables:
        print_table(table, console)
    for sentence in report.summary:
        console.print(sentence, highlight=False, markup=False)
    console.print(f"report: {page}", highlight=False, markup=False, soft_wrap=True)
    return dict(report.metrics)


def _datasets(
    model: Trained,
    folder: Path,
    split: str,
    also_text_column: str,
    perturbation: Perturbation | None,
) -> dict[str, Dataset]:
    """The manifest's records by their column of texts, the config's first."""
    from atbert_jax.input_pipeline import dataset

    columns, datasets = [model.config.data.text_column], {}
    if also_text_column:
        text_columns.require(model)
        columns.append(also_text_column)
    for column in columns:
        config = model.config.copy_and_resolve_references()
        config.data.text_column = column
        loaded = dataset.load(config, folder, contract=model.contract, tokenizer=model.tokenizer)
        datasets[column] = loaded.perturbed(split, perturbation) if perturbation else loaded
    return datasets


def _twin(model: Trained) -> list[Trained]:
    """The same network, trained from scratch, where there is one and labels to compare on."""
    folder = model.workdir / run_folder.SCRATCH
    there = model.contract.by_objective and (folder / checkpoint.CONFIG).exists()
    return [trained.load(folder)] if there else []


def _choose(
    models: Sequence[Trained],
    dataset: Dataset,
    split: str,
    answers: Sequence[tuple],
    console: Console,
) -> tuple[list[dict], list[str]]:
    """What each model chooses on the validation split, and what a reader has to know of that.

    Args:
        models: All to be measured.
        dataset: With a split 'val'.
        split: To measure on.
        answers: There, of each model.
        console: Where to talk.
    """
    choosing = validation.choosing(models[0].learner)
    if not choosing:
        return [{} for _ in models], []
    val, warnings, lacking = dataset.splits["val"].tables, [], []
    for name in choosing:
        labels = dataset.contract.by_objective[name]
        values, mask = (val[field] for field in labels.fields)
        there, what = values[mask > 0], f"{labels.name}: " if labels.name else ""
        if not len(there):
            lacking.append(name)
            text = "The val split has no labelled records, so tags are decided at 0.5 alone."
            warnings.append(what + text)
            continue
        shown = zip(labels.names, there.any(axis=0), strict=True)
        if missing := ", ".join(label for label, is_there in shown if not is_there):
            text = f"No record of val has these tags, so their thresholds stay 0.5: {missing}."
            warnings.append(what + text)
    if len(lacking) == len(choosing):
        return [{} for _ in models], warnings
    if split == "val":
        warnings.insert(0, "Thresholds were chosen on this very split; new records will do worse.")
    else:
        answers, _ = validation.ask(models, dataset, "val", console)
    chosen = [
        validation.choose(model.learner, outputs, model.config.evaluation.aggregate, lacking)
        for model, (_, outputs) in zip(models, answers, strict=True)
    ]
    return chosen, warnings


def _show(
    model: Trained,
    dataset: Dataset,
    split: str,
    outputs: dict,
    values: dict[str, Any],
    compared: Sequence[Compared],
) -> Section:
    """The model beside other systems, and what its objectives show of its answers."""
    tables = [each.table for each in compared]
    figures: list[Figure] = []
    for name, objective in model.learner.objectives.items():
        how = model.config.evaluation.aggregate
        more_tables, more_figures = objective.report(outputs[name], values[name], how)
        tables += more_tables
        figures += more_figures
    figures += taggram.figures(model, dataset.split(split), outputs)
    figures += contribution.figures(model, dataset.split(split), outputs)
    figures += masked_examples.figures(model, dataset, split)
    return Section(values, tables, figures)


def _evaluated(
    model: Trained, dataset: Dataset, split: str, perturbation: Perturbation | None
) -> dict[str, Any]:
    """What was evaluated, and how, for those who compare."""
    records = dataset.split(split).records
    ids = json.dumps(sorted(record.id for record in records)).encode()
    reads_text = TEXT in model.learner.model.modalities
    return {
        "model": model.config.model.name,
        "checkpoint": str(model.workdir),
        "step": model.step,
        "split": split,
        "records": len(records),
        "record_ids": hashlib.blake2b(ids, digest_size=4).hexdigest(),
        "perturbation": str(perturbation or "none"),
        "chunks": str(model.contract.segmenting),
        "text_column": model.config.data.text_column if reads_text else "",
        "parameters": sum(x.size for x in jax.tree.leaves(model.params)),
    }


def _facts(
    model: Trained, dataset: Dataset, split: str, perturbation: Perturbation | None
) -> dict[str, Any]:
    """What was evaluated, on what, and when."""
    return {
        "Checkpoint": f"{model.workdir}, step {model.step}",
        "Split": split,
        "Tracks": len(dataset.split(split).records),
        "Chunks": str(model.contract.segmenting),
        **({"Perturbed by": str(perturbation)} if perturbation else {}),
        "Date": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
    }


def _training_curves(workdir: Path) -> list[Figure]:
    rows = read_metrics(workdir)
    if not plots.changes(rows):
        return []
    note = "Training and validation, as they were measured on the way."
    return [Figure("Training", plots.training_curves(rows), note)]
