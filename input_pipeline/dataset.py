"""A config -> the records of each split, as arrays that batches are made from, and the contract."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from atbert_jax.input_pipeline import labelling
from atbert_jax.input_pipeline.audio.music_features import MusicFeatures
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.contract import TOKENIZER, Contract, Labels, Normalization
from atbert_jax.input_pipeline.manifest import records as sources
from atbert_jax.input_pipeline.manifest.config_splits import (
    drawn,
    merged,
    read_splits,
)
from atbert_jax.input_pipeline.manifest.perturbation import Perturbation
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.preparing import band_statistics, copies
from atbert_jax.input_pipeline.text import tokenization

# The defaults of `config.data`.
DEFAULTS = {
    "manifest": "",  # one table, or several with commas between them
    # What a batch carries of the audio: 'log_mel'; or the 'waveform' itself, of which
    # the step makes the log-mel, or a tagger whatever it hears with; or 'frames' of
    # musical features, that `atbert extract` prepares.
    "input": "log_mel",
    "root": "",  # folder that paths are relative to; empty: the manifest's own
    "allow_outside": False,  # allow paths that lead out of it
    "mixture": (),  # weight of each manifest; empty: by their sizes
    "text_column": "text",  # captions, lyrics, transcripts; a record may lack it
    "label_column": "",  # empty: `labels` or `label`
    "label_separator": "|",  # between the labels of a cell
    "target_columns": (),  # numbers to predict, for task 'regression'
    # Names in order; empty: those of labels.txt beside the manifest, or its own, sorted.
    "labels": (),
    "task": "",  # 'single_label', 'multi_label', 'regression'; empty: no labels
    # Several tasks instead, by name: kind (one of these), columns of the manifest, and
    # names of the labels or empty; a record may lack the labels of any.
    "tasks": {},
    "split_column": "split",  # names the split of each record
    "group_column": "group",  # records that share it, as songs of an artist, go into one split
    "train_split": "train",  # name of the training split in that column
    "val_split": "val",  # that of validation
    "test_split": "test",  # that of the final measurement
    "val_fraction": 0.1,  # drawn from train where the manifest has no such split
    "test_fraction": 0.1,  # drawn where the manifest has no splits at all
    "stratify": True,  # what is drawn has its share of each label
    # Records of train whose audio is in val or test, byte for byte or sample for sample: 'keep'
    # them, with a warning, or 'drop' them.
    "copies": "keep",
    "hold_out": "",  # 'column=value': those records, all of them, are the test split
    "samples_per_label": 0,  # few-shot: train on so many records of each label; 0: on all
    # Training batches of records of about the same length, cut to it: so many batches are
    # sorted together, 32 say. 0: every batch is padded to the longest there can be.
    "bucketing": 0,
    "memory_mb": 2048,  # budget for remembering decoded clips of up to 12 seconds
    "max_bad_share": 0.1,  # of the training records, that cannot be read; more end the run
    "threads": 0,  # that decode audio; 0: one for each core
}


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
        tasks: Labels and mask of each of several tasks, by their fields in a batch.
    """

    records: Sequence[Record]
    token_ids: np.ndarray
    token_mask: np.ndarray
    labels: np.ndarray
    label_mask: np.ndarray
    sizes: tuple[int, ...]
    mixture: tuple[float, ...]
    tasks: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def tables(self) -> dict[str, np.ndarray]:
        """The arrays whose rows batches have, by field."""
        names = ("token_ids", "token_mask", "labels", "label_mask")
        return {name: getattr(self, name) for name in names} | dict(self.tasks)

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


def _tokenizer(config: ml_collections.ConfigDict, train: list[Record], folder: Path) -> Any:
    """The tokenizer that the config names, or one that is trained on the captions, if any."""
    if given := config.text.tokenizer or config.init.text:
        return tokenization.load_tokenizer(given)
    captions = [record.text for record in train]
    if not any(map(tokenization.clean, captions)):
        logging.getLogger(__name__).warning(
            "no record of the train split has text: the model learns from audio alone"
        )
        return tokenization.tokenizer_without_text()
    model = folder / TOKENIZER / tokenization.VOCABULARY_FILE
    model.parent.mkdir(parents=True, exist_ok=True)
    tokenization.train_sentencepiece(captions, model, config.text.vocabulary)
    return tokenization.load_tokenizer(model)


def make_spectrogram(config: ml_collections.ConfigDict) -> Spectrogram:
    """The spectrogram that a config describes, of segments as it describes them.

    Raises:
        ValueError: if a setting is out of its range.
    """
    segmenting = Segmenting(**config.segmenting)
    settings = config.spectrogram.to_dict()
    frames = settings.pop("frames")
    if not frames:
        return Spectrogram(**settings)
    del settings["n_fft"], settings["hop_length"]
    samples = segmenting.samples(settings["sample_rate"])
    return Spectrogram.for_frames(samples, frames, **settings)


def make_contract(
    config: ml_collections.ConfigDict,
    tokenizer: Any,
    labels: Labels,
    tasks: tuple[Labels, ...] = (),
) -> Contract:
    """The contract that a config describes, without the statistics of a data set.

    Args:
        config: The whole config.
        tokenizer: Of the texts.
        labels: Of the only task.
        tasks: Of each of several.

    Raises:
        ValueError: if a setting of the preprocessing is out of its range.
    """
    segmenting, normalization = Segmenting(**config.segmenting), Normalization(config.normalization)
    features = None
    if config.data.input == "frames":
        features = MusicFeatures(**config.features)
        segmenting = _of_frames(segmenting, features.frame_rate)
        normalization = Normalization("none")  # they are, each file by itself
    return Contract(
        spectrogram=make_spectrogram(config),
        segmenting=segmenting,
        normalization=normalization,
        max_tokens=config.text.max_tokens,
        vocabulary=len(tokenizer),
        labels=labels,
        tasks=tasks,
        features=features,
        special_tokens=tokenization.special_tokens(tokenizer),
        mask_token=tokenizer.mask_token_id,
    )


def _of_frames(segmenting: Segmenting, rate: float) -> Segmenting:
    """The chunks of a model that hears frames: one segment of a whole number of them."""
    if segmenting.segments != 1 or segmenting.layout != "windows":
        raise ValueError(
            f"config.data.input='frames' makes one run of frames of a chunk, but config.segmenting"
            f" has segments={segmenting.segments}, layout={segmenting.layout!r}; set segments=1,"
            " layout='windows', and seconds to the length of a chunk"
        )
    frames = max(1, round(segmenting.seconds * rate))
    return dataclasses.replace(segmenting, seconds=frames / rate)


def load(
    config: ml_collections.ConfigDict,
    folder: Path,
    *,
    contract: Contract | None = None,
    tokenizer: Any = None,
    measure: Callable[["Dataset"], Normalization] | None = None,
    renew_labels: bool = False,
) -> Dataset:
    """Reads what the config names.

    Args:
        config: The whole config.
        folder: Where a tokenizer that is trained here is written.
        contract: Of a checkpoint to start from or to evaluate: its preprocessing is kept, and its
            labels too where the task is the same. None makes a new one.
        tokenizer: Goes with `contract`.
        measure: Measures the normalisation of a new contract (see `batches.measure`), unless that
            was done when the data was prepared (see `band_statistics`).
        renew_labels: The contract is of another run, whose labels are kept only where they are
            those that the config or the records name (see `labelling.find`).

    Returns:
        The splits and the contract.

    Raises:
        sources.ManifestError: if the manifest, a split or the labels are not as they should be.
    """
    parts, paths = read_splits(config.data)
    parts = copies.without(parts, config.data)
    if contract is None:
        sources.require(merged(parts), "train")
    labels, tasks = labelling.find(config.data, contract, merged(parts), paths, renew=renew_labels)
    parts["train"] = drawn(config, parts["train"])
    whole = merged(parts)
    if contract is None:
        tokenizer = _tokenizer(config, whole["train"], folder)
        contract = make_contract(config, tokenizer, labels, tasks)
    else:
        contract = dataclasses.replace(contract, labels=labels, tasks=tasks)

    splits = {}
    for name, records in whole.items():
        token_ids, token_mask = tokenization.tokenize(
            tokenizer, [record.text for record in records], contract.max_tokens
        )
        fields = labelling.arrays(records, contract)
        labels, label_mask = fields.pop("labels"), fields.pop("label_mask")
        sizes = tuple(len(part) for part in parts[name])
        mixture = tuple(config.data.mixture) or sizes
        splits[name] = Split(
            records, token_ids, token_mask, labels, label_mask, sizes, mixture, fields
        )
    dataset = Dataset(splits, contract, tokenizer)
    if contract.normalization.kind == "dataset" and not contract.normalization.mean and measure:
        known = band_statistics.find(paths, parts["train"], contract.spectrogram)
        contract = dataclasses.replace(contract, normalization=known or measure(dataset))
        dataset = dataclasses.replace(dataset, contract=contract)
    return dataset
