"""`config.data` -> the records of each split of each manifest."""

import logging
from collections.abc import Sequence

import ml_collections

from atbert_jax.input_pipeline.manifest import few_shot
from atbert_jax.input_pipeline.manifest import records as sources
from atbert_jax.input_pipeline.manifest.places import from_home
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.manifest.tasks import named, of_config
from atbert_jax.input_pipeline.text.visible import visible


def read_splits(data: ml_collections.ConfigDict) -> tuple[dict[str, list[list[Record]]], list[str]]:
    """Reads the manifests that `config.data` names.

    Returns:
        For each split, the records of each manifest; and the manifests' paths.

    Raises:
        sources.ManifestError: if none is given, or one is not readable.
    """
    paths = [str(from_home(path.strip())) for path in data.manifest.split(",") if path.strip()]
    if not paths:
        raise sources.ManifestError(
            "no manifest is given; set --config.data.manifest to a table with a column `path`"
        )
    if data.mixture and len(data.mixture) != len(paths):
        raise sources.ManifestError(
            f"config.data.mixture has {len(data.mixture)} weights for {len(paths)} manifests;"
            " give one for each, or none"
        )
    tables = sources.read_manifests(
        paths,
        root=from_home(data.root) if data.root else None,
        text_column=data.text_column,
        label_column=data.label_column,
        label_separator=data.label_separator,
        target_columns=named(data.target_columns),
        tasks=of_config(data.tasks),
        split_column=data.split_column,
        group_column=data.group_column,
        hold_out=data.hold_out,
        allow_outside=data.allow_outside,
    )
    parts = [_split(records, data) for records in tables]
    for path, records in zip(paths, tables, strict=True):
        _warn_of_others(path, records, data)
    return {name: [part[name] for part in parts] for name in ("train", "val", "test")}, paths


def _split(records: Sequence[Record], data: ml_collections.ConfigDict) -> dict[str, list[Record]]:
    """The records of each split; soft labels are train's, for they measure nothing.

    Raises:
        sources.ManifestError: if a record with soft labels is of another split.
    """
    soft = [record for record in records if record.shares]
    if other := next((r for r in soft if r.split not in ("", data.train_split)), None):
        raise sources.ManifestError(
            f"record '{other.id}' of split '{other.split}' has probabilities, which only train can"
            f" have; set its split to '{data.train_split}'"
        )
    splits = sources.split_records(
        [record for record in records if not record.shares],
        train=data.train_split,
        val=data.val_split,
        test=data.test_split,
        val_fraction=data.val_fraction,
        test_fraction=data.test_fraction,
        stratify=data.get("stratify", False),  # as was done before there was the field
    )
    return splits | {"train": splits["train"] + soft}


def _warn_of_others(path: str, records: Sequence[Record], data: ml_collections.ConfigDict) -> None:
    """Counts the records that no split of the config has."""
    found = sources.others(records, (data.train_split, data.val_split, data.test_split))
    if found:
        logging.getLogger(__name__).warning(
            "%s: %d of %d records are of other splits and are not read (%s); name those to use with"
            " --config.data.train_split, val_split and test_split",
            path,
            found.total(),
            len(records),
            visible(", ".join(f"{name} {count}" for name, count in found.most_common(10))),
        )


def merged(parts: dict[str, list[list[Record]]]) -> dict[str, list[Record]]:
    """The records of each split, those of one manifest after those of another."""
    return {name: [r for part in table for r in part] for name, table in parts.items()}


def drawn(config: ml_collections.ConfigDict, train: list[list[Record]]) -> list[list[Record]]:
    """What `config.data.samples_per_label` leaves of the records of each manifest."""
    count = config.data.samples_per_label
    if not count:
        return train
    if count < 0 or config.data.task not in ("single_label", "multi_label"):
        raise sources.ManifestError(
            f"config.data.samples_per_label={count} with config.data.task={config.data.task!r}: it"
            " is a number of records of each label, so use the task 'single_label' or"
            " 'multi_label', or 0 to train on all records"
        )
    return few_shot.subset(train, count, config.seed)
