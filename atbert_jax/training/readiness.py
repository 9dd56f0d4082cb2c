"""What is checked before the first step: settings in their ranges, lengths of clips, and labels.

A run that measures nothing looks like one that does: a validation without labels has loss 0, which
would even choose the checkpoint.
"""

import importlib
import logging
import math
from pathlib import Path

import ml_collections
import numpy as np
from rich.console import Console

from atbert_jax import choices, objectives
from atbert_jax.input_pipeline.contract import Contract, Labels
from atbert_jax.input_pipeline.dataset import Dataset, Split
from atbert_jax.input_pipeline.text.visible import visible
from atbert_jax.reporting.tables import Table, print_table
from atbert_jax.training import trackers

# The least and the most that a field can be.
RANGES = {
    "train.steps": (1, math.inf),
    "train.batch_size": (1, math.inf),
    "train.accumulate": (1, math.inf),
    "train.log_every": (1, math.inf),
    "train.evaluate_every": (1, math.inf),
    "train.keep_latest": (1, math.inf),
    "train.max_nonfinite": (1, math.inf),
    "train.modality_dropout": (0, 1),
    "optimizer.learning_rate": (0, math.inf),
    "optimizer.trunk_rate": (0, math.inf),
    "optimizer.b1": (0, 1),
    "optimizer.b2": (0, 1),
    "optimizer.weight_decay": (0, math.inf),
    "optimizer.clip_norm": (0, math.inf),
    "optimizer.warmup_steps": (0, math.inf),
    "evaluation.batch_size": (1, math.inf),
    "evaluation.rerank": (0, math.inf),
    "model.dropout": (0, 1),
    "data.max_bad_share": (0, 1),
    "data.memory_mb": (0, math.inf),
    "data.threads": (0, math.inf),
    "text.max_tokens": (1, math.inf),
}
# Labels that the table shows.
SHOWN = 40


def require_settings(config: ml_collections.ConfigDict) -> None:
    """Refuses numbers with which nothing is learned, or the opposite of it.

    Raises:
        ValueError: naming the field, its value, and what it can be.
        ModuleNotFoundError: if the tracker that the config names is not installed.
    """
    for name, (least, most) in RANGES.items():
        section, _, field = name.partition(".")
        value = config[section].get(field)
        if isinstance(value, int | float) and not least <= value <= most:
            upper = "up" if most == math.inf else f"to {most}"
            raise ValueError(f"config.{name}={value}: give a number from {least} {upper}")
    if tracker := config.train.tracker:
        importlib.import_module(
            choices.require("config.train.tracker", tracker, ("", *trackers.KINDS))
        )
    for name in objectives.named(config):
        weight = config.objectives[name]
        if not 0 <= weight < math.inf:
            raise ValueError(f"config.objectives.{name}={weight}: give a weight from 0 up")


def require_measurable(
    config: ml_collections.ConfigDict, dataset: Dataset, console: Console
) -> None:
    """Shows the labels of each split, and refuses what has nothing to tell apart or to measure.

    Args:
        config: Its objectives say which labels are learned.
        dataset: With the splits 'train', 'val' and 'test'.
        console: Where the table goes.

    Raises:
        ValueError: train has one class alone, or val no label of an objective by which the run is
            judged.
    """
    learned = dataset.contract.by_objective
    learned = {name: labels for name, labels in learned.items() if config.objectives.get(name)}
    for name, labels in learned.items():
        if labels.task == "regression":
            _require_spread(name, labels, dataset.splits["train"])
        else:
            _require_classes(name, labels, dataset.splits["train"])
            _show(name, labels, dataset, console)
    val, best = dataset.splits["val"], config.evaluation.best_metric
    lacking = [name for name, labels in learned.items() if not _known(labels, val).any()]
    if not lacking:
        return
    problem = (
        f"none of the {len(val.records)} records of val has what {', '.join(map(repr, lacking))}"
        " learns, so validation measures nothing of it"
    )
    if len(lacking) == len(objectives.named(config)) or best.partition("/")[0] in lacking:
        raise ValueError(
            f"{problem} and no checkpoint can be chosen; label some of them, or leave their split"
            " empty, so that val is drawn from train"
        )
    logging.getLogger(__name__).warning("%s", problem)


def note_lengths(contract: Contract, seconds: np.ndarray, source: Path | None) -> None:
    """Warns where most of what the model would hear is the silence behind short clips.

    Args:
        contract: Of the run.
        seconds: Lengths of clips of the training split; 0 where one cannot be read.
        source: The run whose preprocessing this one has; None where the config says it.
    """
    segmenting, seconds = contract.segmenting, seconds[seconds > 0]
    spaced = segmenting.layout == "spaced"
    heard = segmenting.seconds if spaced else segmenting.length
    if not len(seconds) or np.median(seconds) >= heard / 2:
        return
    long = float(np.percentile(seconds, 90))
    count = segmenting.segments
    if not spaced:
        count = min(count, max(4, math.ceil(long / segmenting.seconds)))
    length = min(segmenting.seconds, round(long if spaced else long / count, 2))
    logging.getLogger(__name__).warning(
        "half of the clips of train last %.2g s or less, and the model hears %g s of each, the rest"
        " of it silence: %s",
        np.median(seconds),
        heard,
        f"start from a run that hears less than {source}"
        if source
        else f"set config.segmenting.segments={count} and config.segmenting.seconds={length:g}",
    )


def _known(labels: Labels, split: Split) -> np.ndarray:
    """(N,), bool: which records have labels that somebody gave them."""
    return (split.tables[labels.fields[1]] > 0) & ~split.soft


def _require_classes(name: str, labels: Labels, train: Split) -> None:
    values, mask = (train.tables[field] for field in labels.fields)
    there = values[mask > 0].any(axis=0) if mask.any() else np.zeros(len(labels.names), bool)
    if len(labels.names) > 1 and there.sum() > 1:
        return
    found = [label for label, is_there in zip(labels.names, there, strict=True) if is_there]
    raise ValueError(
        f"the {int(mask.sum())} labelled records of train are all"
        f" {visible(found[0]) if found else 'of no class'}: '{name}' has one class and nothing to"
        " tell apart; add records of others"
    )


def _require_spread(name: str, labels: Labels, train: Split) -> None:
    values, mask = (train.tables[field] for field in labels.fields)
    spread = np.ptp(values[mask > 0], axis=0) if mask.any() else np.zeros(len(labels.names))
    if not spread.any():
        raise ValueError(
            f"the {int(mask.sum())} records of train with numbers for '{name}' all have the same"
            f" {', '.join(labels.names)}; there is nothing to learn from them"
        )


def _show(name: str, labels: Labels, dataset: Dataset, console: Console) -> None:
    """Prints the records of each label by split, and warns of labels that a split lacks."""
    counts, log = {}, logging.getLogger(__name__)
    for split, records in dataset.splits.items():
        known = _known(labels, records)
        counts[split] = (records.tables[labels.fields[0]][known] > 0).sum(axis=0)
        lacking = [n for n, count in zip(labels.names, counts[split], strict=True) if not count]
        if known.any() and lacking:
            more = ", ..." if len(lacking) > 10 else ""
            log.warning(
                "%d of %d labels of '%s' have no record in %s, so nothing is %s of them there: %s",
                len(lacking),
                len(labels.names),
                name,
                split,
                "learned" if split == "train" else "measured",
                visible(", ".join(lacking[:10])) + more,
            )
    order = np.argsort(-sum(counts.values()), kind="stable")
    rows = [[labels.names[i], *(int(count[i]) for count in counts.values())] for i in order[:SHOWN]]
    note = f"The {SHOWN} most frequent of {len(order)}." if len(order) > SHOWN else ""
    print_table(Table(f"Records by label: {name}", ["label", *counts], rows, note), console)
