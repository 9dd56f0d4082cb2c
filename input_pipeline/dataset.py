"""A config -> the records of each split, as arrays that batches are made from, and the contract."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from input_pipeline import few_shot, sources, text
from input_pipeline.contract import TOKENIZER, Contract, Labels, Normalization
from input_pipeline.perturbation import Perturbation
from input_pipeline.segmenting import Segmenting
from input_pipeline.sources import Record
from input_pipeline.spectrogram import Spectrogram


@dataclasses.dataclass(frozen=True)
class Split:
    """The records of one split; rows of the arrays are theirs.

    Attributes:
        records: N records; those of one manifest stand together.
        token_ids: (N, L), int32.
        token_mask: (N, L), float32, 1 = real.
        labels: (N, C), float32: one-hot, multi-hot, or normalised targets.
        label_mask: (N,), float32, 1 where the record has labels.
        sizes: Number of records of each manifest.
        mixture: Weight of each manifest in training.
    """

    records: Sequence[Record]
    token_ids: np.ndarray
    token_mask: np.ndarray
    labels: np.ndarray
    label_mask: np.ndarray
    sizes: tuple[int, ...]
    mixture: tuple[float, ...]

    @property
    def soft(self) -> np.ndarray:
        """(N,), bool: where the labels are a teacher's probabilities."""
        return np.array([bool(record.shares) for record in self.records], bool)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The splits 'train', 'val' and 'test' with the contract that their batches follow."""

    splits: dict[str, Split]
    contract: Contract
    tokenizer: Any

    def split(self, name: str) -> Split:
        """A split that has records.

        Raises:
            sources.ManifestError: if it is empty; the message says which are not, and the way out.
        """
        sources.require({key: split.records for key, split in self.splits.items()}, name)
        return self.splits[name]

    def perturbed(self, name: str, perturbation: Perturbation) -> "Dataset":
        """The same data, with the clips of one split perturbed."""
        split = self.splits[name]
        records = [dataclasses.replace(r, perturbation=perturbation) for r in split.records]
        changed = dataclasses.replace(split, records=records)
        return dataclasses.replace(self, splits=self.splits | {name: changed})


def read_splits(data: ml_collections.ConfigDict) -> tuple[dict[str, list[list[Record]]], list[str]]:
    """Reads the manifests that `config.data` names.

    Returns:
        For each split, the records of each manifest; and the manifests' paths.

    Raises:
        sources.ManifestError: if none is given, or one is not readable.
    """
    paths = [path.strip() for path in data.manifest.split(",") if path.strip()]
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
        root=data.root or None,
        text_column=data.text_column,
        label_column=data.label_column,
        target_columns=tuple(data.target_columns),
        split_column=data.split_column,
        group_column=data.group_column,
        hold_out=data.hold_out,
        allow_outside=data.allow_outside,
    )
    parts = [_split(records, data) for records in tables]
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
    )
    return splits | {"train": splits["train"] + soft}


def _tokenizer(config: ml_collections.ConfigDict, train: list[Record], folder: Path) -> Any:
    """The tokenizer that the config names, or one that is trained on the captions, if any."""
    if given := config.text.tokenizer or config.init.text:
        return text.load_tokenizer(given)
    captions = [record.text for record in train]
    if not any(map(text.clean, captions)):
        logging.getLogger(__name__).warning(
            "no record of the train split has text: the model learns from audio alone"
        )
        return text.tokenizer_without_text()
    model = folder / TOKENIZER / text.VOCABULARY_FILE
    model.parent.mkdir(parents=True, exist_ok=True)
    text.train_sentencepiece(captions, model, config.text.vocabulary)
    return text.load_tokenizer(model)


def _labels(
    task: str,
    splits: dict[str, list[Record]],
    target_columns: Sequence[str],
    given: Sequence[str],
) -> Labels:
    if not task:
        return Labels()
    if task == "regression":
        if not target_columns:
            raise sources.ManifestError(
                "config.data.task='regression' needs config.data.target_columns, the names of the"
                " columns with numbers"
            )
        values, mask = sources.target_matrix(splits["train"])
        if not mask.any():
            raise sources.ManifestError(
                f"no record of the train split has all of {', '.join(target_columns)}"
            )
        mean, std = values[mask > 0].mean(axis=0), values[mask > 0].std(axis=0)
        std = np.where(std > 0, std, 1.0)
        return Labels(task, tuple(target_columns), tuple(mean.tolist()), tuple(std.tolist()))
    if task not in ("single_label", "multi_label"):
        raise sources.ManifestError(
            f"config.data.task={task!r}; use 'single_label', 'multi_label', 'regression' or ''"
        )
    found = sources.label_names(splits, task)
    if unknown := sorted(set(found) - set(given or found)):
        raise sources.ManifestError(
            f"config.data.labels does not name {', '.join(unknown[:5])}, which the manifest has;"
            " add them, or leave it empty for those of the manifest"
        )
    return Labels(task, tuple(given or found))


def _merged(parts: dict[str, list[list[Record]]]) -> dict[str, list[Record]]:
    """The records of each split, those of one manifest after those of another."""
    return {name: [r for part in table for r in part] for name, table in parts.items()}


def _labels_of(
    config: ml_collections.ConfigDict,
    contract: Contract | None,
    splits: dict[str, list[Record]],
) -> Labels:
    """The labels of a contract where its task is that of the config, or else new ones."""
    data = config.data
    if contract is None or not data.task or contract.labels.task != data.task:
        return _labels(data.task, splits, data.target_columns, data.labels)
    if data.task == "regression":
        _require_targets(contract.labels.names, tuple(data.target_columns))
    return contract.labels


def _drawn(config: ml_collections.ConfigDict, train: list[list[Record]]) -> list[list[Record]]:
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


def _require_targets(known: tuple[str, ...], given: tuple[str, ...]) -> None:
    if known != given:
        raise sources.ManifestError(
            f"config.data.target_columns={given} but the checkpoint predicts {known}; give the"
            " same columns in the same order"
        )


def _label_arrays(records: Sequence[Record], labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, C) and mask (N,); without a task C = 0."""
    if not labels.task:
        return np.zeros((len(records), 0), np.float32), np.zeros(len(records), np.float32)
    if labels.task != "regression":
        return sources.label_matrix(records, labels.names)
    values, mask = sources.target_matrix(records)
    scaled = (values - np.array(labels.mean)) / np.array(labels.std)
    return np.where(mask[:, None] > 0, scaled, 0).astype(np.float32), mask


def _spectrogram(config: ml_collections.ConfigDict, segmenting: Segmenting) -> Spectrogram:
    settings = config.spectrogram.to_dict()
    frames = settings.pop("frames")
    if not frames:
        return Spectrogram(**settings)
    del settings["n_fft"], settings["hop_length"]
    samples = segmenting.samples(settings["sample_rate"])
    return Spectrogram.for_frames(samples, frames, **settings)


def make_contract(config: ml_collections.ConfigDict, tokenizer: Any, labels: Labels) -> Contract:
    """The contract that a config describes, without the statistics of a data set.

    Args:
        config: The whole config.
        tokenizer: Of the texts.
        labels: Of the outputs.

    Raises:
        ValueError: if a setting of the preprocessing is out of its range.
    """
    segmenting = Segmenting(**config.segmenting)
    return Contract(
        spectrogram=_spectrogram(config, segmenting),
        segmenting=segmenting,
        normalization=Normalization(config.normalization),
        max_tokens=config.text.max_tokens,
        vocabulary=len(tokenizer),
        labels=labels,
        special_tokens=text.special_tokens(tokenizer),
        mask_token=tokenizer.mask_token_id,
    )


def load(
    config: ml_collections.ConfigDict,
    folder: Path,
    *,
    contract: Contract | None = None,
    tokenizer: Any = None,
    measure: Callable[["Dataset"], Normalization] | None = None,
) -> Dataset:
    """Reads what the config names.

    Args:
        config: The whole config.
        folder: Where a tokenizer that is trained here is written.
        contract: Of a checkpoint to start from or to evaluate: its preprocessing is kept, and its
            labels too where the task is the same. None makes a new one.
        tokenizer: Goes with `contract`.
        measure: Measures the normalisation of a new contract (see `batches.measure`).

    Returns:
        The splits and the contract.

    Raises:
        sources.ManifestError: if the manifest, a split or the labels are not as they should be.
    """
    parts, _ = read_splits(config.data)
    if contract is None:
        sources.require(_merged(parts), "train")
    labels = _labels_of(config, contract, _merged(parts))
    parts["train"] = _drawn(config, parts["train"])
    merged = _merged(parts)
    if contract is None:
        tokenizer = _tokenizer(config, merged["train"], folder)
        contract = make_contract(config, tokenizer, labels)
    else:
        contract = dataclasses.replace(contract, labels=labels)

    splits = {}
    for name, records in merged.items():
        token_ids, token_mask = text.tokenize(
            tokenizer, [record.text for record in records], contract.max_tokens
        )
        labels, label_mask = _label_arrays(records, contract.labels)
        sizes = tuple(len(part) for part in parts[name])
        mixture = tuple(config.data.mixture) or sizes
        splits[name] = Split(records, token_ids, token_mask, labels, label_mask, sizes, mixture)
    dataset = Dataset(splits, contract, tokenizer)
    if contract.normalization.kind == "dataset" and not contract.normalization.mean and measure:
        contract = dataclasses.replace(contract, normalization=measure(dataset))
        dataset = dataclasses.replace(dataset, contract=contract)
    return dataset
