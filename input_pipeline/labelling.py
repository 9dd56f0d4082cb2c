"""The labels of records: what they mean, and as arrays; of one task or of several."""

import dataclasses
import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path

import ml_collections
import numpy as np

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract, Labels
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.manifest.table_file import ManifestError
from atbert_jax.input_pipeline.manifest.tasks import KINDS, named, of_config
from atbert_jax.input_pipeline.text.visible import tidy, visible

Splits = Mapping[str, Sequence[Record]]

# Beside a manifest: the names of its labels in the official order, one a line.
FILE = "labels.txt"


def read_names(file: Path) -> tuple[str, ...]:
    """The names of labels in a text file, one a line, in order.

    Raises:
        ManifestError: if it names a label twice, or is no text.
        OSError: if there is no such file.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ManifestError(f"{file}: not UTF-8 text ({error.reason}); save it so") from error
    names = tuple(filter(None, map(tidy, lines)))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ManifestError(f"{file}: names the label '{twice}' twice; delete one of the lines")
    return names


def listed(manifests: Sequence[str | Path]) -> tuple[str, ...]:
    """The label names that lie beside the manifests, in order; none if there is no such file.

    Raises:
        ManifestError: if a file names a label twice or is no text, or two files differ.
    """
    found: dict[Path, tuple[str, ...]] = {}
    for manifest in map(Path, manifests):
        file = (manifest if manifest.is_dir() else manifest.parent) / FILE
        if file.is_file():
            found[file] = read_names(file)
    if len(set(found.values())) > 1:
        first = next(iter(found))
        other = next(file for file, names in found.items() if names != found[first])
        raise ManifestError(
            f"{first} and {other} differ, and one network has one order of labels; name that with"
            " --config.data.labels"
        )
    return next(iter(found.values()), ())


def find(
    data: ml_collections.ConfigDict,
    contract: Contract | None,
    splits: Splits,
    manifests: Sequence[str | Path] = (),
    *,
    renew: bool = False,
) -> tuple[Labels, tuple[Labels, ...]]:
    """The labels of the only task, and of each of several.

    Args:
        data: `config.data`: task, target_columns and labels, or tasks.
        contract: Its labels are kept where the task is the same; None finds new ones.
        splits: The records; names, means and deviations are those of train.
        manifests: Their labels are in the order that lies beside them (see `listed`), where the
            config names neither an order nor another column of labels.
        renew: Those of the contract are kept only where they serve: where the config names no
            others, and the records have no others.

    Raises:
        ManifestError: if the config or the records do not say what is to be learned.
    """
    several = of_config(data.tasks)
    if several and data.task:
        raise ManifestError(
            f"config.data.task={data.task!r} is one task, and config.data.tasks names"
            f" {', '.join(task.name for task in several)}; leave one of the two empty"
        )
    kept, names = contract.labels if contract else Labels(), tuple(map(tidy, named(data.labels)))
    if renew and not _serves(kept, data.task, splits, data.target_columns, names):
        kept = Labels()
    if data.task in ("single_label", "multi_label") and data.task != kept.task:
        names = names or (() if data.label_column else listed(manifests))
    only = _known(kept, data.task, splits, named(data.target_columns), names)
    known = {labels.name: labels for labels in contract.tasks} if contract else {}
    found = []
    for number, task in enumerate(several):
        own = {name: _of_task(records, number, task.kind) for name, records in splits.items()}
        names = () if task.targets else tuple(map(tidy, task.names))
        try:
            before = known.get(task.name, Labels())
            if renew and not _serves(before, task.kind, own, task.targets, names):
                before = Labels()
            labels = _known(before, task.kind, own, task.targets, names)
        except ManifestError as error:
            raise ManifestError(f"config.data.tasks.{task.name}: {error}") from error
        found.append(dataclasses.replace(labels, name=task.name))
    return only, tuple(found)


def arrays(records: Sequence[Record], contract: Contract) -> dict[str, np.ndarray]:
    """The fields of a batch of all N records: labels (N, C) and mask (N,) of each task.

    A record without labels of a task, or without all of its numbers, has mask 0; without any task
    C = 0.
    """
    fields = dict(zip(contract.labels.fields, _arrays(records, contract.labels), strict=True))
    for number, labels in enumerate(contract.tasks):
        own = _of_task(records, number, labels.task)
        fields |= dict(zip(labels.fields, _arrays(own, labels), strict=True))
    return fields


def _of_task(records: Sequence[Record], number: int, kind: str) -> list[Record]:
    """The records as if one of several tasks were the only one."""
    field = "targets" if kind == "regression" else "labels"
    return [dataclasses.replace(record, **{field: record.tasks[number]}) for record in records]


def _serves(
    known: Labels, task: str, splits: Splits, targets: Sequence[str], names: Sequence[str]
) -> bool:
    """Whether known labels are those of a task: by the names given, or else by the records."""
    if known.task != task:
        return False
    if task == "regression" or names:
        return known.names == tuple(targets if task == "regression" else names)
    found = {label for record in splits["train"] for label in record.labels}
    if found < set(known.names):
        logging.getLogger(__name__).warning(
            "the records have %d of the %d labels that are known, so those are kept; to learn"
            " others name them with --config.data.labels",
            len(found),
            len(known.names),
        )
    return found <= set(known.names)


def _known(
    known: Labels, task: str, splits: Splits, targets: Sequence[str], names: Sequence[str]
) -> Labels:
    """The labels that are known where they are of this task, or else new ones."""
    if not task or known.task != task:
        return _new(task, splits, targets, names)
    if task == "regression" and known.names != tuple(targets):
        raise ManifestError(
            f"config.data.target_columns={tuple(targets)} but the checkpoint predicts"
            f" {known.names}; give the same columns in the same order"
        )
    return known


def _new(task: str, splits: Splits, targets: Sequence[str], given: Sequence[str]) -> Labels:
    if not task:
        return Labels()
    if task == "regression":
        if not targets:
            raise ManifestError(
                "config.data.task='regression' needs config.data.target_columns, the names of the"
                " columns with numbers"
            )
        values, mask = target_matrix(splits["train"])
        if not mask.any():
            raise ManifestError(f"no record of the train split has all of {', '.join(targets)}")
        mean, std = values[mask > 0].mean(axis=0), values[mask > 0].std(axis=0)
        std = np.where(std > 0, std, 1.0)
        return Labels(task, tuple(targets), tuple(mean.tolist()), tuple(std.tolist()))
    choices.require("config.data.task", task, ("", *KINDS), ManifestError)
    found = label_names(splits, task)
    _warn_of_look_alikes(given or found, task)
    if unknown := sorted(set(found) - set(given or found)):
        raise ManifestError(
            f"config.data.labels does not name {', '.join(unknown[:5])}, which the manifest has;"
            f" add them, or leave it empty for those of the manifest (or of {FILE} beside it)"
        )
    return Labels(task, tuple(given or found))


def _warn_of_look_alikes(names: Sequence[str], task: str) -> None:
    """Names labels that may be meant as one, or one that may be meant as several."""
    log = logging.getLogger(__name__)
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFKC", re.sub("[\u200c\u200d]", "", name)).casefold()
        if key in seen:
            log.warning(
                "labels %s and %s look the same, and are two classes; spell them alike if they are"
                " one",
                ascii(seen[key]),
                ascii(name),
            )
        seen.setdefault(key, name)
    for mark in ",;" if task == "multi_label" else "":
        if several := [name for name in names if mark in name]:
            log.warning(
                "%d of %d labels have a %s in them, as '%s', and are one class each; set"
                " --config.data.label_separator='%s' if they are several",
                len(several),
                len(names),
                "comma" if mark == "," else "semicolon",
                visible(several[0]),
                mark,
            )


def _arrays(records: Sequence[Record], labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, C) and mask (N,)."""
    if not labels.task or not records:
        shape = len(records), len(labels.names)
        return np.zeros(shape, np.float32), np.zeros(len(records), np.float32)
    if labels.task != "regression":
        return label_matrix(records, labels.names)
    values, mask = target_matrix(records)
    scaled = (values - np.array(labels.mean)) / np.array(labels.std)
    return np.where(mask[:, None] > 0, scaled, 0).astype(np.float32), mask


def label_names(splits: Mapping[str, Sequence[Record]], task: str) -> list[str]:
    """List the labels of the train split in natural order ("2" before "10").

    Args:
        splits: what `split_records` returned.
        task: "single_label" or "multi_label".

    Returns:
        C label names; a label's place is its column in `label_matrix`.

    Raises:
        ManifestError: train has no labels, a label occurs outside train only, or a record has
            several labels in a single-label task.
        ValueError: another task.
    """
    choices.require("task of labels", task, ("single_label", "multi_label"))
    if task == "single_label":
        for split, members in splits.items():
            several = next((r for r in members if len(r.labels) > 1 and not r.shares), None)
            if several:
                raise ManifestError(
                    f"record '{several.id}' of split '{split}', field 'labels': "
                    f"{len(several.labels)} labels ({', '.join(several.labels)}) in a single_label "
                    "task; keep one of them, or use the multi_label task"
                )
    known = {label for record in splits["train"] for label in record.labels}
    if not known:
        raise ManifestError(
            f"none of the {len(splits['train'])} records of split 'train' has a label; add "
            "a column 'label' or 'labels', or name the column with --config.data.label_column"
        )
    for split, members in splits.items():
        for record in members:
            for label in record.labels:
                if label not in known:
                    raise ManifestError(
                        f"label '{label}' occurs in split '{split}' (record '{record.id}') but "
                        "never in train; drop those rows, or move examples of it into train"
                    )
    return sorted(known, key=_natural)


def label_matrix(records: Sequence[Record], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Write labels as zeros and ones, soft ones as their probabilities.

    Args:
        records: N records.
        names: C label names (`label_names`).

    Returns:
        labels: (N, C) float32, 1 where the record has the label, or its probability.
        mask: (N,) float32, 0 for a record without any label.

    Raises:
        ManifestError: a record has a label that is not among the names.
    """
    # Runs of before names were composed may have others.
    places = {tidy(name): column for column, name in reversed(list(enumerate(names)))}
    labels = np.zeros((len(records), len(names)), np.float32)
    for row, record in enumerate(records):
        shares = record.shares or repeat(1.0)
        for label, share in zip(record.labels, shares, strict=False):
            if label not in places:
                raise ManifestError(
                    f"record '{record.id}', field 'labels': '{label}' is none of the "
                    f"{len(names)} known labels; drop the row, or correct its label"
                )
            labels[row, places[label]] = share
    known = [bool(record.labels) for record in records]
    return labels, np.array(known, np.float32)


def target_matrix(records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Write regression targets as an array.

    Args:
        records: N records with K targets each.

    Returns:
        targets: (N, K) float32, 0 where missing.
        mask: (N,) float32, 0 for a record with a missing target.

    Raises:
        ManifestError: the records have no targets, or not all the same number.
    """
    widths = {len(record.targets) for record in records}
    if len(widths) > 1 or 0 in widths:
        raise ManifestError(
            f"records have {' or '.join(map(str, sorted(widths)))} targets; read every manifest "
            "with the same non-empty --config.data.target_columns"
        )
    targets = np.array([record.targets for record in records], np.float32)
    targets = targets.reshape(len(records), max(widths, default=0))
    mask = ~np.isnan(targets).any(axis=1)
    return np.nan_to_num(targets, nan=0.0), mask.astype(np.float32)


def _natural(label: str) -> tuple[list[str | tuple[int, str]], str]:
    """Sort key that compares runs of digits as numbers, of any length."""
    parts = re.split(r"([0-9]+)", label)
    numbers = [part.lstrip("0") for part in parts[1::2]]
    parts[1::2] = [(len(number), number) for number in numbers]
    return parts, label
