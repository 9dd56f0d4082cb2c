"""The labels of records: what they mean, and as arrays; of one task or of several."""

import dataclasses
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np

from input_pipeline import sources
from input_pipeline.contract import Contract, Labels
from input_pipeline.sources import Record
from input_pipeline.tables import ManifestError
from input_pipeline.tasks import KINDS, of_config

Splits = Mapping[str, Sequence[Record]]


def find(
    data: ml_collections.ConfigDict, contract: Contract | None, splits: Splits
) -> tuple[Labels, tuple[Labels, ...]]:
    """The labels of the only task, and of each of several.

    Args:
        data: `config.data`: task, target_columns and labels, or tasks.
        contract: Its labels are kept where the task is the same; None finds new ones.
        splits: The records; names, means and deviations are those of train.

    Raises:
        ManifestError: if the config or the records do not say what is to be learned.
    """
    several = of_config(data.tasks)
    if several and data.task:
        raise ManifestError(
            f"config.data.task={data.task!r} is one task, and config.data.tasks names"
            f" {', '.join(task.name for task in several)}; leave one of the two empty"
        )
    only = _known(
        contract.labels if contract else None, data.task, splits, data.target_columns, data.labels
    )
    known = {labels.name: labels for labels in contract.tasks} if contract else {}
    found = []
    for number, task in enumerate(several):
        own = {name: _of_task(records, number, task.kind) for name, records in splits.items()}
        names = () if task.targets else task.names
        try:
            labels = _known(known.get(task.name), task.kind, own, task.targets, names)
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


def _known(
    known: Labels | None, task: str, splits: Splits, targets: Sequence[str], names: Sequence[str]
) -> Labels:
    """The labels that are known where they are of this task, or else new ones."""
    if not known or not task or known.task != task:
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
        values, mask = sources.target_matrix(splits["train"])
        if not mask.any():
            raise ManifestError(f"no record of the train split has all of {', '.join(targets)}")
        mean, std = values[mask > 0].mean(axis=0), values[mask > 0].std(axis=0)
        std = np.where(std > 0, std, 1.0)
        return Labels(task, tuple(targets), tuple(mean.tolist()), tuple(std.tolist()))
    if task not in KINDS:
        raise ManifestError(f"config.data.task={task!r}; use {', '.join(map(repr, KINDS))} or ''")
    found = sources.label_names(splits, task)
    if unknown := sorted(set(found) - set(given or found)):
        raise ManifestError(
            f"config.data.labels does not name {', '.join(unknown[:5])}, which the manifest has;"
            " add them, or leave it empty for those of the manifest"
        )
    return Labels(task, tuple(given or found))


def _arrays(records: Sequence[Record], labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, C) and mask (N,)."""
    if not labels.task or not records:
        shape = len(records), len(labels.names)
        return np.zeros(shape, np.float32), np.zeros(len(records), np.float32)
    if labels.task != "regression":
        return sources.label_matrix(records, labels.names)
    values, mask = sources.target_matrix(records)
    scaled = (values - np.array(labels.mean)) / np.array(labels.std)
    return np.where(mask[:, None] > 0, scaled, 0).astype(np.float32), mask
