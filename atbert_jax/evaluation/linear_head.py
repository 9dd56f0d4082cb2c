"""A linear head on embeddings: labels or tags of one's own, fitted in a moment from examples."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from atbert_jax.evaluation import linear_fit

# What stands for several tags in the place of one label.
SEVERAL = list | tuple | set | frozenset
# From which probability on a recording has a tag.
LIKELY = 0.5


@dataclasses.dataclass(frozen=True, repr=False)
class LinearHead:
    """Tells labels or tags by embeddings.

    It is asked about recordings, or about vectors (N, D) of them.

    Attributes:
        labels: The C labels, sorted.
        task: 'single_label' or 'multi_label' (tags).
        kernel: (D, C), of logits.
        bias: (C,), likewise.
        penalty: On the squared weights.
        loss: Cross entropy of examples while their group was left out; None if the penalty was
            given, or there was nothing to leave out.
        embed: Recordings to vectors (N, D), with `sample_rate`.
    """

    labels: tuple[Hashable, ...]
    task: str
    kernel: np.ndarray
    bias: np.ndarray
    penalty: float
    loss: float | None
    embed: Callable[..., np.ndarray]

    def __repr__(self) -> str:
        size, labels = self.kernel.shape
        measured = "" if self.loss is None else f", loss {self.loss:.3g} of what was left out"
        return f"LinearHead({self.task}: {labels} labels of {size} features{measured})"

    def probabilities(self, given: Any, *, sample_rate: int | None = None) -> np.ndarray:
        """(N, C) of each label for each recording; those of one label add up to 1.

        Args:
            given: Vectors (N, D), or N recordings.
            sample_rate: Of waveforms, in Hz.

        Raises:
            ValueError: if vectors are of another width, or a recording cannot be used.
        """
        vectors = as_vectors(given, self.embed, sample_rate)
        if vectors.shape[1] != len(self.kernel):
            raise ValueError(
                f"vectors are {vectors.shape[1]} wide, and the head was fitted on"
                f" {len(self.kernel)}; embed with the model that it was fitted on"
            )
        logits = vectors @ self.kernel + self.bias
        return softmax(logits, axis=1) if self.task == "single_label" else expit(logits)

    def predict(self, given: Any, *, sample_rate: int | None = None) -> list:
        """The label of each recording; or its tags, those of probability 0.5 and more, as a tuple.

        The arguments and errors are those of `probabilities`.
        """
        found = self.probabilities(given, sample_rate=sample_rate)
        if self.task == "single_label":
            return [self.labels[best] for best in found.argmax(axis=1)]
        return [
            tuple(label for label, likely in zip(self.labels, row, strict=True) if likely)
            for row in found >= LIKELY
        ]


def fit(
    given: Any,
    labels: Sequence,
    embed: Callable[..., np.ndarray],
    *,
    sample_rate: int | None = None,
    groups: Sequence[Hashable] | None = None,
    penalty: float | None = None,
) -> LinearHead:
    """Fits a head on examples, as `probe` fits one on the layers of a model.

    Args:
        given: Vectors (N, D), or N recordings.
        labels: N labels, each a text or a whole number, or N lists of tags.
        embed: Recordings to vectors (N, D), with `sample_rate`.
        sample_rate: Of waveforms, in Hz.
        groups: (N,), what belongs together, as windows of one recording, which are left out
            together where penalties are compared; by default each example is a group.
        penalty: On the squared weights of standardised features; None lets five folds of groups
            choose it.

    Raises:
        ValueError: if the examples are not as they should be, or tell nothing apart.
    """
    names, targets, task = _targets(labels)
    if penalty is not None and not 0 < penalty < np.inf:
        raise ValueError(f"penalty={penalty}: give a number above 0, or None")
    vectors = as_vectors(given, embed, sample_rate).astype(np.float64)
    groups = np.arange(len(vectors)) if groups is None else _numbered(groups)
    if not len(vectors) == len(targets) == len(groups):
        raise ValueError(
            f"{len(vectors)} vectors, {len(targets)} labels and {len(groups)} groups; give as many"
            " of each"
        )
    mean, scale = linear_fit.standards(vectors)
    features, loss = linear_fit.Features((vectors - mean) * scale), None
    if penalty is None:
        choice = linear_fit.choose(features.rotated, targets, groups, task)
        penalty, loss = choice.penalty, choice.loss
    rotated, bias = linear_fit.fit(features.rotated, targets, task, penalty)
    kernel = scale[:, None] * features.weights(rotated)
    return LinearHead(names, task, kernel, bias - mean @ kernel, penalty, loss, embed)


def as_vectors(given: Any, embed: Callable[..., np.ndarray], sample_rate: int | None) -> np.ndarray:
    """Vectors (N, D) as they are, and recordings as vectors.

    Raises:
        ValueError: if vectors hold what is no finite number, or a recording cannot be used.
    """
    is_table = isinstance(given, np.ndarray) and given.ndim == 2 and given.dtype.kind == "f"
    if not is_table or sample_rate:
        return embed(given, sample_rate=sample_rate)
    if not given.size or not np.isfinite(given).all():
        what = "hold what is no finite number" if given.size else "are empty"
        raise ValueError(f"the vectors {given.shape} {what}; give those of `embed_audio`")
    return given


def _targets(labels: Sequence) -> tuple[tuple, np.ndarray, str]:
    """The names of C labels, (N, C) of 0 and 1, and the task."""
    rows = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    is_several = {isinstance(row, SEVERAL) for row in rows}
    if len(is_several) > 1:
        raise ValueError("some labels are lists of tags and some are not; give all as lists")
    has_tags = is_several == {True}
    rows = [[_name(each) for each in row] for row in (rows if has_tags else [[x] for x in rows])]
    names = {each for row in rows for each in row}
    if len({type(each) for each in names}) > 1:
        raise ValueError("some labels are texts and some are numbers; give all as texts")
    if len(names) + has_tags < 2:
        raise ValueError(
            f"the {len(rows)} examples have {len(names)} different labels; there is nothing to tell"
            " apart: give examples of two or more"
        )
    ordered = sorted(names)
    places = {name: place for place, name in enumerate(ordered)}
    targets = np.zeros((len(rows), len(ordered)))
    for number, row in enumerate(rows):
        targets[number, [places[each] for each in row]] = 1
    return tuple(ordered), targets, "multi_label" if has_tags else "single_label"


def _name(label: Any) -> str | int:
    """A label as Python has it.

    Raises:
        ValueError: if it is neither a text nor a whole number.
    """
    label = label.item() if isinstance(label, np.generic) else label
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise ValueError(
            f"{label!r:.40} is no label; give texts or whole numbers (numbers such as tempo are"
            " fitted by `atbert probe --config probe:regression`)"
        )
    return label


def _numbered(groups: Sequence[Hashable]) -> np.ndarray:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(each, len(numbers)) for each in groups])
