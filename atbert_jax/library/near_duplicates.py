"""Recordings that are there more than once: the same bytes, or nearly the same sound."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.library.embedding_index import Index

# Numbers in one block of cosines: 64 MB.
BLOCK = 1 << 24
# Pairs above the threshold, of which more are no duplicates but a threshold that is too low.
MOST_PAIRS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Member:
    """A recording of a group of duplicates.

    Attributes:
        record: The recording.
        seconds: Its length.
        cosine: With the first of the group.
        is_copy: Whether it has the bytes of the first.
    """

    record: Record
    seconds: float
    cosine: float
    is_copy: bool


def groups(index: Index, threshold: float) -> list[list[Member]]:
    """Groups of recordings that sound the same, the largest first.

    Copies are told by their bytes. Others are near where the cosine of their vectors, each the mean
    over a recording's windows, is at the threshold or above; a group is what is connected. Parts of
    one file are no duplicates of each other.

    Args:
        index: To look through.
        threshold: Of the cosine; above 1 nothing but copies is found.

    Returns:
        Groups of two or more.

    Raises:
        ValueError: if the threshold tells nothing apart, or is no number.
    """
    if math.isnan(threshold):
        raise ValueError(f"--threshold={threshold}; give a cosine, as 0.99")
    vectors = index.recordings()
    owners = defaultdict(list)
    for number, content in enumerate(index.content):
        owners[int(content)].append(number)
    paths = [{index.records[n].path for n in owners[c]} for c in range(len(vectors))]
    leader = list(range(len(vectors)))

    def first(content: int) -> int:
        while leader[content] != content:
            leader[content] = content = leader[leader[content]]
        return content

    for one, other in _pairs(vectors, threshold) if threshold <= 1 else ():
        if not paths[one] & paths[other]:
            a, b = sorted((first(one), first(other)))
            leader[b] = a
    together = defaultdict(list)
    for content in range(len(vectors)):
        together[first(content)].append(content)
    found = []
    for contents in together.values():
        members = [
            Member(
                index.records[number],
                float(index.seconds[content]),
                min(1.0, float(vectors[contents[0]] @ vectors[content])),
                content == contents[0],
            )
            for content in contents
            for number in owners[content]
        ]
        if len({member.record.path for member in members}) > 1:
            found.append(members)
    return sorted(found, key=len, reverse=True)


def _pairs(vectors: np.ndarray, threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs (a, b) with a < b of rows (C, D) whose cosine is at the threshold or above."""
    rows = max(1, min(len(vectors), BLOCK // len(vectors)))
    whole, seen = jnp.asarray(vectors), 0
    for begin in range(0, len(vectors), rows):
        block = vectors[begin : begin + rows]
        padded = np.pad(block, ((0, rows - len(block)), (0, 0)))  # one shape, compiled once
        near = np.asarray(_near(whole, padded, threshold))[: len(block)]
        ones, others = np.nonzero(near)
        is_later = others > ones + begin
        seen += int(is_later.sum())
        if seen > MOST_PAIRS:
            raise ValueError(
                f"more than {MOST_PAIRS:,} pairs are at --threshold={threshold} or above, so it"
                " tells nothing apart; give a higher one"
            )
        yield from zip(ones[is_later] + begin, others[is_later], strict=True)


@jax.jit
def _near(vectors: jax.Array, block: jax.Array, threshold: float) -> jax.Array:
    # Rounding must not part what is the same.
    cosines = jnp.matmul(block, vectors.T, precision=jax.lax.Precision.HIGHEST)
    return cosines >= threshold - 1e-6
