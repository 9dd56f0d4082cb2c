"""Whether one system is better than another on the same records, and by how much."""

import dataclasses
from typing import Any

import numpy as np

from atbert_jax.metrics import intervals

LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Hits:
    """What a classifier is right about.

    Attributes:
        records: (R,) numbers of the records in their split, ascending.
        right: (R,), bool.
    """

    records: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, records: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> "Hits":
        """Of scores and truth (R, C) of one label a record."""
        return cls(records, scores.argmax(axis=1) == truth.argmax(axis=1))

    @property
    def accuracy(self) -> float:
        """The share of the records."""
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Of the accuracy, 95 %."""
        return intervals.bootstrap(self.right)


def compare(one: Hits, other: Hits) -> dict[str, Any]:
    """How one system does on the records that another one has answered, too.

    Returns:
        `by`, the accuracy minus the other's; its 95 % `interval` over the records, resampled in
        pairs; `p_value` of the exact test of McNemar; `records`, how many both have answered.

    Raises:
        ValueError: if there is no such record.
    """
    both, here, there = np.intersect1d(one.records, other.records, return_indices=True)
    if not len(both):
        raise ValueError("the two systems have answered no record in common")
    first, second = one.right[here], other.right[there]
    difference = first.astype(float) - second
    return {
        "by": float(difference.mean()),
        "interval": intervals.bootstrap(difference),
        "p_value": intervals.mcnemar(first, second),
        "records": len(both),
    }


def sentence(system: str, baseline: str, found: dict[str, Any]) -> str:
    """What `compare` found, for people: better or worse only where interval and test say so."""
    by, (low, high), p = found["by"], found["interval"], found["p_value"]
    tested = f"{found['records']} clips, exact McNemar test p = {p:.2g}"
    if p < LEVEL and low > 0:
        return f"{system}: better than {baseline} by {by:.2f} ({low:.2f} to {high:.2f}); {tested}."
    if p < LEVEL and high < 0:
        return (
            f"{system}: worse than {baseline} by {-by:.2f} ({-high:.2f} to {-low:.2f}); {tested}."
        )
    return (
        f"{system}: cannot be told from {baseline}; its accuracy is {by:+.2f} apart"
        f" ({low:+.2f} to {high:+.2f}); {tested}."
    )
