"""Clips against texts, by what the objectives of pre-training have learned to compare."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax.models.encoded import Encoded, unit
from atbert_jax.training.learner import Batch, Learner

PAIR, COSINE = "correct_pair", "alignment"


class Stream(NamedTuple):
    """Clips or texts that are encoded once, to be compared with many.

    Attributes:
        encoded: (B, T, D), float32: what `fuse` takes.
        summary: (B, D) of length 1: what each says by itself.
    """

    encoded: Encoded
    summary: jax.Array


def encode_audio(model: nnx.Module, batch: Batch) -> Stream:
    """The clips of a batch with `log_mel` (B, S, F, T) and `segment_mask` (B, S)."""
    audio = model.encode_audio(batch, None)
    return _stream(audio, model.fuse(audio, None, None))


def encode_text(model: nnx.Module, batch: Batch) -> Stream:
    """The texts of a batch with `token_ids` and `token_mask` (B, L)."""
    text = model.encode_text(batch, None)
    return _stream(text, model.fuse(None, text, None))


def _stream(encoded: Encoded, alone: Encoded) -> Stream:
    hidden = encoded.hidden.astype(jnp.float32)
    return Stream(Encoded(hidden, encoded.mask), unit(alone.hidden[:, 0]))


def draws(batch: Batch) -> jax.Array:
    """(B,), where the pair head looks: as in its own evaluation, whatever text a clip is with."""
    return batch["position_draw"][:, 0]


def compare(learner: Learner, batch: Batch, texts: Stream) -> dict[str, jax.Array]:
    """Each clip with each text, in all ways that the model has learned.

    Args:
        learner: The model.
        batch: B clips, after `prepare`.
        texts: C of them.

    Returns:
        (B, C) each: 'correct_pair', logit of a match minus logit of a mismatch, and 'alignment',
        the cosine of the summaries times the learned scale.
    """
    audio = encode_audio(learner.model, batch)
    scores = {}
    if PAIR in learner.objectives:
        head = learner.objectives[PAIR]

        def with_all_clips(text: Encoded) -> jax.Array:
            same = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(draw), *x.shape)), text)
            return head.score(learner.model, audio.encoded, same, draw)

        draw = draws(batch)
        # One text after the other: all joint sequences at once would not fit for many texts.
        scores[PAIR] = jax.lax.map(with_all_clips, texts.encoded).T
    if COSINE in learner.objectives:
        scores[COSINE] = learner.objectives[COSINE].scale * (audio.summary @ texts.summary.T)
    return scores
