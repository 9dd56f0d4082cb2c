"""The preprocessing contract: what a model must be fed, and what its answers mean.

Training writes it beside the weights; evaluation and prediction read it back, so that both apply
exactly the same preprocessing.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from atbert_jax import choices
from atbert_jax.input_pipeline.audio.music_features import MusicFeatures
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram

FILE = "contract.json"
TOKENIZER = "tokenizer"

T = TypeVar("T")


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
        """Writes `contract.json` into `folder`."""
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Contract":
        """Reads `contract.json` from `folder`.

        Raises:
            FileNotFoundError: if there is none; the message says what a checkpoint folder is.
        """
        path = folder / FILE
        if not path.exists():
            raise FileNotFoundError(
                f"{folder}: no {FILE} here, so this is not a checkpoint folder; give the --workdir"
                " of a training run"
            )
        values = json.loads(path.read_text(encoding="utf-8"))
        kinds = {
            "spectrogram": Spectrogram,
            "segmenting": Segmenting,
            "normalization": Normalization,
            "labels": Labels,
        }
        for name, kind in kinds.items():
            values[name] = _restored(kind, values[name])
        values["tasks"] = tuple(_restored(Labels, task) for task in values.get("tasks", ()))
        if values.get("features"):
            values["features"] = _restored(MusicFeatures, values["features"])
        if "special_tokens" in values:
            values["special_tokens"] = tuple(values["special_tokens"])
        return cls(**values)


def _restored(kind: type[T], values: dict[str, Any]) -> T:
    """A dataclass from JSON, where tuples are lists."""
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
