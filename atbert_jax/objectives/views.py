"""The hidden states of audio with text, of audio alone and of text alone."""

import jax

from atbert_jax.models.encoded import Encoded, fold
from atbert_jax.models.trunk import Batch, Trunk

AUDIO_TEXT, AUDIO, TEXT = "audio_text", "audio", "text"
# What each view needs of a trunk.
MODALITIES = {AUDIO_TEXT: {AUDIO, TEXT}, AUDIO: {AUDIO}, TEXT: {TEXT}}
VIEWS = tuple(MODALITIES)


def possible(model: Trunk) -> tuple[str, ...]:
    """The views that a trunk has: all of them, or that of its one modality."""
    return tuple(view for view in VIEWS if MODALITIES[view] <= set(model.modalities))


def encode_views(
    model: Trunk, batch: Batch, views: tuple[str, ...], key: jax.Array | None
) -> dict[str, Encoded]:
    """The hidden states of each view; each modality is encoded once.

    Args:
        model: The trunk.
        batch: With the fields that the views need.
        views: Some of 'audio_text', 'audio', 'text'.
        key: Of the dropout; None = evaluation.

    Returns:
        By view: (B, T, D) with mask (B, T); position 0 is the summary.
    """
    audio = text = None
    if AUDIO in views or AUDIO_TEXT in views:
        audio = model.encode_audio(batch, fold(key, 0))
    if TEXT in views or AUDIO_TEXT in views:
        text = model.encode_text(batch, fold(key, 1))
    given = {AUDIO_TEXT: (audio, text), AUDIO: (audio, None), TEXT: (None, text)}
    return {view: model.fuse(*given[view], fold(key, 2)) for view in views}
