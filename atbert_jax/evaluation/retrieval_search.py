"""The two stages of a search, of clips for a text and of texts for a clip.

Candidates come in the order of the cosine of the uni-modal summaries, which takes one encoding of
each clip and of each text; the first K are put in order anew by Correct Pair Prediction, which
takes one pass of the joint encoder for each pair. Pairs are scored from states that are kept in
memory, 4 (M (S + 1) + U L) D bytes for M chunks and U texts: half a GiB for 4000 chunks with texts
of their own at the size of ALBERT-base.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from atbert_jax.evaluation.matching import PAIR, Stream, draws, encode_audio, encode_text
from atbert_jax.input_pipeline.dataset import Dataset, Split
from atbert_jax.input_pipeline.progress import track
from atbert_jax.metrics.aggregation import aggregate
from atbert_jax.models.encoded import Encoded, unit
from atbert_jax.parallel import sharding
from atbert_jax.training.learner import Batch
from atbert_jax.training.trained import Trained

TEXT_TO_AUDIO, AUDIO_TO_TEXT = "text_to_audio", "audio_to_text"
CANDIDATES, RERANKED = "candidates", "reranked"
# A split is searched in at most so many records, evenly taken from it.
RECORDS = 5000
# The pair head listens to at most so many chunks of a clip, its first ones; their mean counts.
CHUNKS = 4
# Arrays of a split with a row for each record.
ROWS = ("token_ids", "token_mask", "labels", "label_mask")


@dataclasses.dataclass(frozen=True)
class Clips:
    """N clips of M chunks.

    Attributes:
        rows: (N,), in their split, ascending.
        summary: (N, D) of length 1, in the direction of the mean over all chunks.
        chunks: (M, S + 1, D), those that the pair head listens to; none without re-ranking.
        draw: (M,), where it looks.
        clip: (M,), which of the N a chunk belongs to.
    """

    rows: np.ndarray
    summary: np.ndarray
    chunks: Encoded | None
    draw: np.ndarray | None
    clip: np.ndarray


def encode_clips(
    model: Trained, dataset: Dataset, split: Split, *, keep_states: bool
) -> Clips | None:
    """Encodes the clips of a split that are readable and have a text; None if there is none.

    Args:
        model: From `trained.load`.
        dataset: Gives the contract.
        split: Up to `RECORDS` of its records are taken.
        keep_states: Keep what the pair head needs.
    """
    rows = np.flatnonzero(split.token_mask.any(axis=1)).astype(np.int32)
    rows = rows[:: max(-(-len(rows) // RECORDS), 1)]

    @jax.jit
    def encode(params: dict, statistics: dict, batch: Batch) -> tuple[jax.Array, tuple]:
        learner = nnx.merge(model.definition, params, statistics)
        batch = learner.prepare(batch, jax.random.key(0))
        clip = encode_audio(learner.model, batch)
        return clip.summary, (clip.encoded, draws(batch)) if keep_states else ()

    heard = np.zeros(len(split.records), np.int64)
    summaries, records, states, of = [], [], [], []
    for batch in _batches(model, dataset, split, rows):
        found = encode(model.params, model.statistics, sharding.put(batch, model.mesh))
        summary, state = jax.device_get(found)
        record, kept = batch["record"], []
        real = np.flatnonzero(batch["valid"] * batch["segment_mask"].max(axis=1))
        for row in real:
            if heard[record[row]] < CHUNKS:
                kept.append(row)
            heard[record[row]] += 1
        summaries.append(summary[real])
        records.append(record[real])
        states.append(jax.tree.map(lambda x, kept=kept: x[kept], state))
        of.append(record[kept])
    if not heard.any():
        return None
    rows, mean = aggregate(np.concatenate(summaries), np.concatenate(records))
    chunks, draw = _joined(states) or (None, None)
    clip = np.searchsorted(rows, np.concatenate(of))
    return Clips(rows, np.asarray(unit(mean)), chunks, draw, clip)


def encode_texts(
    model: Trained, split: Split, rows: np.ndarray
) -> tuple[Stream, np.ndarray, np.ndarray]:
    """Encodes the different texts of some records.

    Args:
        model: From `trained.load`.
        split: With the records.
        rows: (N,), of the records.

    Returns:
        U texts; for each the first of the N that has it, (U,); and for each of the N its text,
        (N,).
    """
    ids, first, own = np.unique(
        split.token_ids[rows], axis=0, return_index=True, return_inverse=True
    )
    mask = split.token_mask[rows[first]]

    @jax.jit
    def encode(params: dict, statistics: dict, batch: Batch) -> Stream:
        return encode_text(nnx.merge(model.definition, params, statistics).model, batch)

    found = []
    for places in _slices(len(ids), model.config.evaluation.batch_size, "encoding texts"):
        batch = sharding.put({"token_ids": ids[places], "token_mask": mask[places]}, model.mesh)
        found.append(jax.device_get(encode(model.params, model.statistics, batch)))
    return jax.tree.map(lambda x: x[: len(ids)], _joined(found)), first, own


def search(
    model: Trained, clips: Clips, texts: Stream, depth: int
) -> dict[str, dict[str, np.ndarray]]:
    """Ranks all clips for each text, and all texts for each clip.

    Args:
        model: From `trained.load`.
        clips: N of them, with their states unless `depth` is 0.
        texts: U of them.
        depth: How many candidates are put in order anew.

    Returns:
        By direction, 'text_to_audio' (U, N) and 'audio_to_text' (N, U), and then by stage,
        'candidates' and 'reranked': places, the best first.
    """
    cosine = clips.summary @ texts.summary.T
    first = {TEXT_TO_AUDIO: rank(cosine.T), AUDIO_TO_TEXT: rank(cosine)}
    if not depth:
        return {direction: {CANDIDATES: order} for direction, order in first.items()}
    wanted = np.zeros(cosine.shape, bool)
    np.put_along_axis(wanted.T, first[TEXT_TO_AUDIO][:, :depth], True, axis=1)
    np.put_along_axis(wanted, first[AUDIO_TO_TEXT][:, :depth], True, axis=1)
    scores = score_pairs(model, clips, texts, wanted)
    scores = {TEXT_TO_AUDIO: scores.T, AUDIO_TO_TEXT: scores}
    return {
        direction: {CANDIDATES: order, RERANKED: rerank(order, scores[direction], depth)}
        for direction, order in first.items()
    }


def rank(similarity: np.ndarray) -> np.ndarray:
    """Places (Q, C) of candidates, the most similar (Q, C) first; equal ones stay as they stand."""
    return np.argsort(-similarity, axis=1, kind="stable")


def rerank(order: np.ndarray, scores: np.ndarray, depth: int) -> np.ndarray:
    """The first `depth` places of each row of an order (Q, C), by the scores (Q, C) of theirs."""
    top = order[:, :depth]
    anew = np.take_along_axis(top, rank(np.take_along_axis(scores, top, axis=1)), axis=1)
    return np.concatenate([anew, order[:, depth:]], axis=1)


def score_pairs(model: Trained, clips: Clips, texts: Stream, wanted: np.ndarray) -> np.ndarray:
    """What the pair head says.

    Args:
        model: From `trained.load`.
        clips: N, with their states.
        texts: U.
        wanted: (N, U) of bool.

    Returns:
        (N, U), logit of a match minus logit of a mismatch, the mean over the clip's chunks; 0 where
        it is not wanted.
    """
    chunk, text = np.nonzero(wanted[clips.clip])

    @jax.jit
    def score(params: dict, statistics: dict, pairs: Batch) -> jax.Array:
        learner = nnx.merge(model.definition, params, statistics)
        audio = Encoded(pairs["audio"], pairs["audio_mask"])
        text = Encoded(pairs["text"], pairs["text_mask"])
        return learner.objectives[PAIR].score(learner.model, audio, text, pairs["draw"])

    found = []
    for places in _slices(len(chunk), model.config.evaluation.batch_size, "re-ranking"):
        pairs = {
            "audio": clips.chunks.hidden[chunk[places]],
            "audio_mask": clips.chunks.mask[chunk[places]],
            "text": texts.encoded.hidden[text[places]],
            "text_mask": texts.encoded.mask[text[places]],
            "draw": clips.draw[chunk[places]],
        }
        pairs = sharding.put(pairs, model.mesh)
        found.append(np.asarray(score(model.params, model.statistics, pairs)))
    total = np.zeros(wanted.shape)
    np.add.at(total, (clips.clip[chunk], text), np.concatenate(found)[: len(chunk)])
    return total / np.bincount(clips.clip)[:, None]


def _batches(
    model: Trained, dataset: Dataset, split: Split, rows: np.ndarray
) -> Iterator[dict[str, np.ndarray]]:
    """All chunks of some records, whose `record` is that of the whole split."""
    if not len(rows):
        return
    # TensorFlow is needed here, where a split is read, and not in `predict`.
    from atbert_jax.input_pipeline.batching.bad_records import BadRecords
    from atbert_jax.input_pipeline.batching.batches import Batches

    part = dataclasses.replace(
        split,
        records=[split.records[row] for row in rows],
        **{name: getattr(split, name)[rows] for name in ROWS},
    )
    name, size = "searched", model.config.evaluation.batch_size
    batches = Batches(
        model.config, dataclasses.replace(dataset, splits={name: part}), BadRecords(None)
    )
    stream = batches.evaluation(name, size)
    for batch in track(stream, "encoding clips", batches.steps(name, size), "batches"):
        yield batch | {"record": rows[batch["record"]]}


def _slices(count: int, size: int, description: str) -> Iterator[np.ndarray]:
    """The places 0 to `count` in batches of one size, the last one filled up with its last."""
    starts = range(0, count, size)
    for start in track(starts, description, len(starts), "batches"):
        yield np.minimum(np.arange(start, start + size), count - 1)


def _joined(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *parts: np.concatenate(parts), *trees)
