"""The preprocessing contract: what a model must be fed, and what its answers mean.

Training writes it beside the weights; evaluation and prediction read it back, so that both apply
exactly the same preprocessing.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from atbert_jax import choices
from atbert_jax.input_pipeline.audio.music_features import MusicFeatures
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.text import whole_file

FILE = "contract.json"
TOKENIZER = "tokenizer"

REMEDY = "copy it again from where this run came from"

T = TypeVar("T")


class ContractError(ValueError):
    """A contract that is not as it was written; the message names the file, and the way out."""


@dataclasses.dataclass(frozen=True)
class Normalization:
    """How a log-mel is normalised.

    Attributes:
        kind: 'dataset' (each band by the training split's statistics), 'clip' or 'none'.
        mean: (F,) mean of each band; empty unless kind is 'dataset'.
        std: (F,) deviation of each band.
    """

    kind: str = "dataset"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        choices.require("config.normalization", self.kind, ("dataset", "clip", "none"))

    def arrays(self, bands: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Mean and std (F,), float32; (None, None) where each clip is normalised by its own."""
        if self.kind == "clip":
            return None, None
        if self.kind == "none":
            return np.zeros(bands, np.float32), np.ones(bands, np.float32)
        return np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)


@dataclasses.dataclass(frozen=True)
class Labels:
    """What the columns of the labels mean.

    Attributes:
        task: 'single_label', 'multi_label', 'regression', or '' where there are none.
        names: Name of each column, in order, C.
        mean: (C,) of each regression target over the training split; empty otherwise.
        std: (C,) of each regression target.
        name: Of the task, where there are several.
    """

    task: str = ""
    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    name: str = ""

    @property
    def fields(self) -> tuple[str, str]:
        """The fields of a batch with the labels (B, C) and their mask (B,)."""
        behind = f"/{self.name}" if self.name else ""
        return f"labels{behind}", f"label_mask{behind}"


@dataclasses.dataclass(frozen=True)
class Contract:
    """Everything between a file on disk and the model's input, and from its output to a name.

    Attributes:
        spectrogram: Of every segment.
        segmenting: Of every clip.
        normalization: Of every log-mel.
        max_tokens: L, the length that token ids are padded or cut to.
        vocabulary: Number of tokens, V.
        labels: Of the outputs; none where there are several tasks.
        tasks: Labels of each of several tasks, named.
        features: Of every frame, where the model hears those; None of samples.
        special_tokens: Ids that are no words ([CLS] and its like, places that are not in use): they
            are never masked, and never drawn as random words.
        mask_token: Id of [MASK].
    """

    spectrogram: Spectrogram
    segmenting: Segmenting
    normalization: Normalization
    max_tokens: int
    vocabulary: int
    labels: Labels
    tasks: tuple[Labels, ...] = ()
    features: MusicFeatures | None = None
    # Those of an ALBERT, as the contracts have it that were written before there were others.
    special_tokens: tuple[int, ...] = (0, 1, 2, 3, 4)
    mask_token: int = 4

    @property
    def by_objective(self) -> dict[str, Labels]:
        """The labels there are, by the name of the objective that learns them."""
        if self.tasks:
            return {labels.name: labels for labels in self.tasks}
        return {"classification": self.labels} if self.labels.task else {}

    @property
    def all_labels(self) -> tuple[Labels, ...]:
        """All whose fields batches have, also where they are empty."""
        return (self.labels, *self.tasks)

    @property
    def is_word(self) -> np.ndarray:
        """(V,), bool: which ids are words."""
        words = np.ones(self.vocabulary, bool)
        words[list(self.special_tokens)] = False
        return words

    def save(self, folder: Path) -> None:
        """Writes `contract.json` into `folder`, if it does not hold this already."""
        whole_file.write_json(folder / FILE, dataclasses.asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Contract":
        """Reads `contract.json` from `folder`.

        Raises:
            FileNotFoundError: if there is none; the message says what a checkpoint folder is.
            ContractError: if it is damaged.
        """
        path = folder / FILE
        if not path.exists():
            raise FileNotFoundError(
                f"{folder}: no {FILE} here, so this is not a checkpoint folder; give the --workdir"
                " of a training run"
            )
        try:
            return cls.of_json(whole_file.read_json(path, REMEDY), str(path))
        except whole_file.DamagedFileError as error:
            raise ContractError(str(error)) from error

    @classmethod
    def of_json(cls, values: Mapping[str, Any], name: str) -> "Contract":
        """A contract from what a JSON file called `name` holds.

        Raises:
            ContractError: if a field is not there, not known, of another type or out of its range.
        """
        try:
            return _restored(cls, values)
        except (TypeError, ValueError) as error:
            raise ContractError(f"{name}: is no contract ({error}); {REMEDY}") from error


def _restored(kind: type[T], values: Any, name: str = "") -> T:
    """A value of a type from JSON, where dataclasses are objects and tuples are lists.

    Raises:
        TypeError: if it is none of this type, or a field of a dataclass is missing or not known.
        ValueError: if a dataclass refuses it.
    """
    if typing.get_origin(kind) is types.UnionType:  # of a dataclass and None
        return None if values is None else _restored(typing.get_args(kind)[0], values, name)
    if typing.get_origin(kind) is tuple and isinstance(values, list):
        return tuple(_restored(typing.get_args(kind)[0], value, name) for value in values)
    if dataclasses.is_dataclass(kind) and isinstance(values, Mapping):
        hints = typing.get_type_hints(kind)
        if unknown := sorted(values.keys() - hints.keys()):
            raise TypeError(f"{name}.{unknown[0]} is no field of it".removeprefix("."))
        inner = {key: f"{name}.{key}".removeprefix(".") for key in values}
        return kind(**{key: _restored(hints[key], values[key], inner[key]) for key in values})
    wanted = (int, float) if kind is float else kind
    if (
        typing.get_origin(kind)
        or not isinstance(values, wanted)
        or (isinstance(values, bool) and kind is not bool)
    ):
        raise TypeError(f"{name} is {values!r:.40}")
    return values
