"""How good a linear model is with few labels: on what the frozen trunk hears, and on less.

The same linear model, with the penalty that cross-validation among its own few clips chooses, is
fitted on three kinds of features of them: of the trunk's layers, mean and maximum over time; of the
same network with random weights; and statistics of MFCCs.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from atbert_jax.configs import probe as probe_config
from atbert_jax.evaluation import linear_fit, probe_network
from atbert_jax.evaluation.baseline import MOST_CLIPS
from atbert_jax.evaluation.compared_systems import System
from atbert_jax.evaluation.probed_features import Heard, hear
from atbert_jax.evaluation.significance import Hits
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.dataset import Dataset, make_contract
from atbert_jax.input_pipeline.progress import Meter
from atbert_jax.input_pipeline.text import tokenization
from atbert_jax.metrics import intervals, scores
from atbert_jax.metrics.aggregation import aggregate
from atbert_jax.models.keys import Keys
from atbert_jax.models.linear_probe import MFCC
from atbert_jax.reporting import curves
from atbert_jax.reporting.report import Figure, Section
from atbert_jax.reporting.tables import Table, format_range
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import split as split_learner
from atbert_jax.training.trained import Trained

# Labels per class, and behind them all that there are.
COUNTS = (1, 2, 5, 10, 20)
TRAINED, RANDOM = "trained", "random"
TASK = "single_label"
PROBES = ("probe", "caption_probe")
# Chunks that are fitted by one thread.
SMALL = 1000
NOTE = (
    "Linear models on frozen features, fitted on so many labelled clips of each class of the"
    " training split: mean of {draws} draws, measured on all {clips} clips of {split} each time,"
    " with the 95 % interval of a bootstrap of draws and clips."
)


@dataclasses.dataclass(frozen=True)
class Point:
    """What came of so many labels per class.

    Attributes:
        labels_per_class: The most that a class has here; None for all.
        clips: That were fitted on.
        hits: (D, R), bool: right or wrong in each of D draws about R clips.
        macro_f1: (D,) of the draws.
        answered: All metrics of the last draw.
    """

    labels_per_class: int | None
    clips: int
    hits: np.ndarray
    macro_f1: np.ndarray
    answered: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """The mean over draws and clips."""
        return float(self.hits.mean())


def require(model: Trained, dataset: Dataset, split: str) -> Labels:
    """The labels that a curve can be drawn of.

    Raises:
        ValueError: if the data has none of one single-label task, the trunk hears no waveforms,
            the model is a probe, or the split is the one that is learned from.
    """
    if split == "train":
        raise ValueError(
            "--label_curve learns from labels of the train split; measure on --split=val or test"
        )
    labels = dataset.contract.labels
    if dataset.contract.tasks:
        names = ", ".join(task.name for task in dataset.contract.tasks)
        raise ValueError(
            f"--label_curve takes one task of one label a clip; this run has several: {names}"
        )
    if labels.task != TASK:
        raise ValueError(
            f"--label_curve counts labels per class, where each clip has one; config.data.task is"
            f" {labels.task!r}, of which there is no curve"
        )
    if model.config.model.name in PROBES:
        raise ValueError(
            f"--label_curve fits linear models on frozen features, and {model.workdir} is one; give"
            " the run or the converted model that it hears with"
        )
    if model.contract.features:
        raise ValueError(
            f"--label_curve gives the trunk waveforms; {model.config.model.name} hears frames of"
            " musical features, so it has no curve"
        )
    return labels


def measure(
    model: Trained,
    dataset: Dataset,
    split: str,
    draws: int,
    cache: Path,
    console: Console,
) -> tuple[Section, dict[str, System]]:
    """Draws, fits and measures.

    Args:
        model: Whose trunk hears, frozen.
        dataset: With labels; those of 'train' are drawn from.
        split: To measure on.
        draws: Of clips for each number of labels, one or more.
        cache: Folder that features are kept in (see `probed_features`).
        console: Where to talk.

    Returns:
        `draws`, and by system a list with `labels_per_class`, `clips`, `accuracy`, `interval`,
        `macro_f1` and those of `ahead`, the difference to MFCCs; a table, a figure, warnings. And
        what came of all labels, of the trunk and of the network with random weights.

    Raises:
        ValueError: if there is no curve of this (see `require`), or no clip can be read.
    """
    labels = require(model, dataset, split)
    heard, records, warnings = _hear(model, dataset, split, cache, console)
    by_class = _classes(heard["train"], len(labels.names))
    lacking = [name for name, clips in zip(labels.names, by_class, strict=True) if not len(clips)]
    if lacking:
        warnings.append(f"No clip of train has these labels: {', '.join(lacking)}.")
    counts = [count for count in COUNTS if count < max(map(len, by_class))]
    for count in counts:
        if few := [
            f"{name} ({len(clips)})"
            for name, clips in zip(labels.names, by_class, strict=True)
            if 0 < len(clips) < count
        ]:
            warnings.append(f"Fewer than {count} labels, so all are taken: {', '.join(few)}.")
    # Of all labels there is one draw.
    drawn = [(count, _draw(by_class, count, draws, model.config.seed)) for count in counts]
    drawn.append((None, [np.concatenate(by_class)]))
    systems = {
        f"{model.config.model.name}, frozen": TRAINED,
        f"{model.config.model.name} with random weights": RANDOM,
        "MFCC statistics": MFCC,
    }
    how = model.config.evaluation.aggregate
    total = len(systems) * sum(len(rows) for _, several in drawn for rows in several)
    found: dict[str, list[Point]] = {}
    with Meter("label curve", total, "clips fitted", console=console) as meter:
        for system, part in systems.items():
            found[system] = [
                _point(heard["train"], heard[split], part, count, several, labels, how, meter)
                for count, several in drawn
            ]
    if _has_learned_from_labels(model):
        warnings.append(
            "The trunk itself was trained with all labels of the training split, so its curve"
            " flatters: few labels are told by a pre-trained run's."
        )
    _, truth = aggregate(heard[split].targets, heard[split].clips)
    note = NOTE.format(draws=draws, clips=len(truth), split=split)
    values, most = _numbers(found), max(map(len, by_class))
    figure = _figure(values, most, float(truth.mean(axis=0).max()), note)
    section = Section(
        {"draws": draws, "systems": values}, [_table(values, note)], [figure], warnings
    )
    of_all = {
        f"{system} + linear model": System(
            found[system][-1].answered, Hits(records, found[system][-1].hits[0]), part == RANDOM
        )
        for system, part in systems.items()
        if part != MFCC
    }
    return section, of_all


def untrained(model: Trained) -> Trained:
    """The same network with new random weights, by the seed of its config."""

    @jax.jit
    def values(key: jax.Array) -> tuple[dict, dict]:
        return split_learner(Learner(model.config, model.contract, rngs=Keys(key)))[1:]

    params, statistics = values(jax.random.key(model.config.seed))
    return dataclasses.replace(model, params=params, statistics=statistics)


def _has_learned_from_labels(model: Trained) -> bool:
    return bool(model.contract.by_objective) and not model.learner.frozen_trunk


def _hear(
    model: Trained, dataset: Dataset, split: str, cache: Path, console: Console
) -> tuple[dict[str, Heard], np.ndarray, list[str]]:
    """Features of the labelled clips of train and of the split, and what was left out.

    In the middle, the numbers (R,) in the split of those of its records that were heard.
    """
    models = {TRAINED: model, RANDOM: untrained(model)}
    config = probe_network.with_ears(probe_config.get_config(), models)
    config.data.max_bad_share = 1.0  # those of the split are said
    tokenizer = tokenization.tokenizer_without_text()
    contract = make_contract(config, tokenizer, dataset.contract.labels)
    chosen, warnings = {}, []
    for name in dict.fromkeys(("train", split)):
        part = dataset.split(name)
        rows = np.flatnonzero((part.label_mask > 0) & ~part.soft)
        if not len(rows):
            raise ValueError(f"--label_curve: no record of split {name!r} has a label of its own")
        if len(rows) > MOST_CLIPS:
            warnings.append(f"Of {len(rows)} labelled clips of {name}, about {MOST_CLIPS} count.")
        rows = rows[:: -(-len(rows) // MOST_CLIPS)]
        # Clips with the same caption are of one group elsewhere, where captions are learned.
        records = [dataclasses.replace(part.records[row], text="") for row in rows]
        chosen[name] = records, part.labels[rows], rows
    records = [record for each, *_ in chosen.values() for record in each]
    config, contract = probe_network.of_length(config, contract, records, console)
    arrays = probe_network.filled(config, contract, models, None)
    found = {
        name: hear(config, contract, arrays, models, records, targets, cache, console)
        for name, (records, targets, _) in chosen.items()
    }
    for name, heard in found.items():
        if bad := len(chosen[name][0]) - len(np.unique(heard.clips)):
            warnings.append(f"The label curve leaves out {bad} clips of {name}: not readable.")
    return found, chosen[split][2][np.unique(found[split].clips)], warnings


def _classes(heard: Heard, classes: int) -> list[np.ndarray]:
    """The numbers of the clips of each class."""
    clips, first = np.unique(heard.clips, return_index=True)
    truth = heard.targets[first].argmax(axis=1)
    return [clips[truth == number] for number in range(classes)]


def _draw(by_class: Sequence[np.ndarray], count: int, draws: int, seed: int) -> list[np.ndarray]:
    """Clips of each draw, so many of each class; larger counts have what smaller ones have."""
    found = []
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        found.append(np.concatenate([rng.permutation(clips)[:count] for clips in by_class]))
    return found


def _point(
    train: Heard,
    test: Heard,
    part: str,
    count: int | None,
    draws: Sequence[np.ndarray],
    labels: Labels,
    how: str,
    meter: Meter,
) -> Point:
    """What a linear model on one part of the features is worth, fitted on each of the draws."""
    known, asked = train.features([part]), test.features([part])
    _, truth = aggregate(test.targets, test.clips)
    hits, f1, answered = [], [], {}
    for clips in draws:
        rows = np.flatnonzero(np.isin(train.clips, clips))
        values, targets = known[rows], train.targets[rows]
        # On small matrices, threads wait for each other longer than they compute.
        with threadpool_limits(1 if len(rows) < SMALL else None):
            rotated = linear_fit.Features(linear_fit.standardised(values)).rotated
            penalty = linear_fit.choose(rotated, targets, train.groups[rows], TASK).penalty
            logits = linear_fit.learn(values, targets, TASK, penalty)(asked)
        _, said = aggregate(softmax(logits, axis=1), test.clips, how)
        answered = scores.single_label(said, truth, labels.names)
        hits.append(said.argmax(axis=1) == truth.argmax(axis=1))
        f1.append(answered["macro_f1"])
        meter.advance(len(clips))
    return Point(count, len(draws[0]), np.stack(hits), np.array(f1), answered)


def _ahead(point: Point, other: Point) -> dict[str, Any]:
    """`by` how much more of the same clips are told right, draw by draw, and its `interval`."""
    difference = point.hits.astype(float) - other.hits
    return {"by": float(difference.mean()), "interval": intervals.bootstrap(difference)}


def _numbers(found: Mapping[str, Sequence[Point]]) -> dict[str, list[dict[str, Any]]]:
    *_, mfcc = found.values()
    return {
        system: [
            {
                "labels_per_class": point.labels_per_class or "all",
                "clips": point.clips,
                "accuracy": point.accuracy,
                "interval": intervals.bootstrap(point.hits),
                "macro_f1": float(point.macro_f1.mean()),
                "ahead": None if points is mfcc else _ahead(point, other),
            }
            for point, other in zip(points, mfcc, strict=True)
        ]
        for system, points in found.items()
    }


def _table(values: Mapping[str, Sequence[Mapping[str, Any]]], note: str) -> Table:
    rows = [
        [
            str(point["labels_per_class"]),
            point["clips"],
            system,
            point["accuracy"],
            format_range(*point["interval"]),
            point["macro_f1"],
            _said(point["ahead"]),
        ]
        for points in zip(*values.values(), strict=True)
        for system, point in zip(values, points, strict=True)
    ]
    columns = ["labels per class", "clips", "features", "accuracy", "95 % interval", "macro_f1"]
    return Table("Few labels", [*columns, "ahead of MFCC by"], rows, note)


def _said(ahead: Mapping[str, Any] | None) -> str:
    return f"{ahead['by']:+.3f} ({format_range(*ahead['interval'])})" if ahead else ""


def _figure(
    values: Mapping[str, Sequence[Mapping[str, Any]]], most: int, commonest: float, note: str
) -> Figure:
    """The picture; `most` is the number of clips of the largest class, `commonest` a share."""
    counts = [point["labels_per_class"] for point in next(iter(values.values()))]
    png = curves.label_curve(
        [*counts[:-1], most],
        [*map(str, counts[:-1]), "all"],
        {
            system: [(point["accuracy"], point["interval"]) for point in points]
            for system, points in values.items()
        },
        commonest,
    )
    return Figure("Few labels", png, note)
