"""Many chunks of one track in, one answer for the track out."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from atbert_jax import choices

How = Literal["mean", "max", "vote"]


def aggregate(
    scores: np.ndarray, record: np.ndarray, how: How = "mean"
) -> tuple[np.ndarray, np.ndarray]:
    """Combines the scores of all chunks of a record; the order of the rows does not matter.

    `mean` and `max` are taken per class. `vote` lets each chunk vote for its highest class and
    gives the share of the votes, which is an answer for single-label tasks only. Where several
    classes share the most votes, the one with the highest mean score wins: its share is raised by
    one float32 rounding step, so that `argmax` finds it and the share still reads the same.

    Args:
        scores: (N, C) one row per chunk.
        record: (N,) which record each chunk belongs to; integers or strings.
        how: 'mean', 'max' or 'vote'.

    Returns:
        records (R,), the different records in ascending order, and their scores (R, C), float64.

    Raises:
        ValueError: on no rows, shapes that disagree, or an unknown `how`.
    """
    scores, record = np.asarray(scores, np.float64), np.asarray(record)
    if scores.ndim != 2 or record.shape != scores.shape[:1]:
        raise ValueError(
            f"scores {scores.shape} must be (chunks, classes) and record {record.shape} (chunks,)"
        )
    choices.require("config.evaluation.aggregate", how, get_args(How))
    if not scores.size:
        raise ValueError("nothing to aggregate: no chunk was scored")
    records, index = np.unique(record, return_inverse=True)
    shape = len(records), scores.shape[1]
    if how == "mean":
        return records, _mean(scores, index, shape)
    if how == "max":
        highest = np.full(shape, -np.inf)
        np.maximum.at(highest, index, scores)
        return records, highest
    return records, _vote(scores, index, shape)


def _mean(scores: np.ndarray, index: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    total = np.zeros(shape)
    np.add.at(total, index, scores)
    return total / np.bincount(index)[:, None]


def _vote(scores: np.ndarray, index: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    shares = _mean(np.eye(shape[1])[scores.argmax(axis=1)], index, shape)
    leads = shares == shares.max(axis=1, keepdims=True)
    winner = np.where(leads, _mean(scores, index, shape), -np.inf).argmax(axis=1)
    tied = np.flatnonzero(leads.sum(axis=1) > 1)
    shares[tied, winner[tied]] += np.spacing(shares[tied, winner[tied]].astype(np.float32))
    return shares
