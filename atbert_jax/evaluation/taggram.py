"""Tags by time: what a model says of each chunk of a clip, as a picture and as numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm

from atbert_jax.input_pipeline.batching.frames import make_reader
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.dataset import Split
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.metrics.aggregation import aggregate
from atbert_jax.reporting.canvas import canvas, encode
from atbert_jax.reporting.fonts import lettering, shortened
from atbert_jax.reporting.report import Figure
from atbert_jax.training.trained import Trained
from atbert_jax.training.validation import Outputs

# Tags in a picture, and clips in a report.
MOST_TAGS = 15
MOST_CLIPS = 3
LONGEST_TITLE = 80
# The brightest colour is at least that probable; ticks of the scale of colours.
BRIGHTEST = 0.5
TICKS = (0, 0.02, 0.1, 0.2, 0.3, 0.5, 0.7, 1)
NOTE = (
    "Probabilities of the most probable labels; each moment has those of the chunk whose middle is"
    " nearest. On the right: of the whole clip."
)


@dataclasses.dataclass(frozen=True)
class Taggram:
    """The probabilities of C labels in K chunks of a clip.

    Attributes:
        title: Names the clip.
        names: (C,) of the labels.
        starts: (K,) where the chunks begin, in seconds, ascending.
        length: Of a chunk, in seconds.
        duration: Of the clip, in seconds.
        scores: (K, C).
        answer: (C,) of the whole clip.
    """

    title: str
    names: Sequence[str]
    starts: np.ndarray
    length: float
    duration: float
    scores: np.ndarray
    answer: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """(K + 1,) seconds, between which each chunk's middle is the nearest one."""
        middles = self.starts + self.length / 2
        between = (middles[1:] + middles[:-1]) / 2
        return np.concatenate([[0.0], np.minimum(between, self.duration), [self.duration]])

    def draw(self, most: int = MOST_TAGS) -> bytes:
        """Draws the `most` probable labels as rows, the most probable one of the clip on top.

        Returns:
            A PNG.
        """
        order = np.argsort(-self.answer, kind="stable")[:most]
        with lettering([*(self.names[c] for c in order), self.title], LONGEST_TITLE) as labels:
            names = [shortened(label) for label in labels[:-1]]
            height = 0.9 + 0.27 * max(len(order), 3)
            figure = canvas(8.2, height)
            axes = figure.subplots()
            image = axes.pcolormesh(
                self.edges,
                np.arange(len(order) + 1) - 0.5,
                self.scores[:, order].T,
                cmap="magma",
                # Most probabilities of tags are small.
                norm=PowerNorm(0.5, 0, max(BRIGHTEST, self.scores.max())),
            )
            axes.set(xlabel="time (s)", xlim=(0, self.duration))
            axes.set_title(labels[-1], fontsize=10, loc="left")
            axes.set_ylim(len(order) - 0.5, -0.5)
            axes.set_yticks(range(len(order)), names, fontsize=9)
            axes.tick_params(axis="y", length=0)
            beside = axes.secondary_yaxis("right")
            beside.set_yticks(range(len(order)), [f"{self.answer[c]:.2f}" for c in order])
            beside.tick_params(length=0, labelsize=8, labelcolor="#55606b")
            beside.spines[:].set_visible(False)
            bar = figure.colorbar(image, ax=axes, label="probability", pad=0.01, aspect=30)
            bar.set_ticks([t for t in TICKS if t <= image.norm.vmax], minor=False)
            bar.ax.yaxis.set_major_formatter("{x:g}")
            return encode(figure)

    def save(self, stem: Path) -> None:
        """Writes `<stem>.png`, and `<stem>.npz` with all labels under the attributes' names."""
        stem.with_name(f"{stem.name}.png").write_bytes(self.draw())
        arrays = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        np.savez_compressed(stem.with_name(f"{stem.name}.npz"), **arrays)


def make(
    title: str, contract: Contract, duration: float, scores: np.ndarray, answer: np.ndarray
) -> Taggram:
    """The taggram of a clip, whose chunks lie as the contract says.

    Args:
        title: Names the clip.
        contract: With the labels.
        duration: Of the clip, in seconds.
        scores: (K, C) of its chunks, in order.
        answer: (C,) of the whole clip.
    """
    segmenting, rate = contract.segmenting, make_reader(contract).sample_rate
    starts = segmenting.chunk_starts(duration, rate)
    # Spaced segments are one chunk, of the whole clip.
    length = duration if segmenting.layout == "spaced" else segmenting.length
    names = contract.labels.names
    return Taggram(title, names, starts, length, duration, scores, answer)


def clips(
    model: Trained, split: Split, outputs: Mapping[str, Outputs], fewest: int
) -> list[tuple[Record, np.ndarray, np.ndarray]]:
    """The first clips of a split with `fewest` chunks or more, where the model tells labels.

    Args:
        model: That answered.
        split: Its records.
        outputs: Of `split.answers`, by objective.
        fewest: Chunks of a clip.

    Returns:
        Records with the probabilities of their chunks (K, C) and of the whole (C,).
    """
    found = []
    for name, objective in model.learner.objectives.items():
        scores = objective.chunk_scores(outputs[name], ("audio",))
        if scores is None:
            continue
        rows = outputs[name]["record"]
        numbers, counts = np.unique(rows, return_counts=True)
        for number in numbers[counts >= fewest][:MOST_CLIPS]:
            own = scores[rows == number]
            _, (answer,) = aggregate(own, rows[rows == number], model.config.evaluation.aggregate)
            found.append((split.records[number], own, answer))
    return found


def figures(model: Trained, split: Split, outputs: Mapping[str, Outputs]) -> list[Figure]:
    """Taggrams of the first clips of a split that have several chunks; see `clips`."""
    reader = make_reader(model.contract)
    found = []
    for record, scores, answer in clips(model, split, outputs, fewest=2):
        duration = reader.duration(record)
        drawn = make(record.id, model.contract, duration, scores, answer)
        found.append(Figure(f"Labels by time: {record.id}", drawn.draw(), NOTE))
    return found
