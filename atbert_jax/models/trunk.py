"""The contract of a model: from batches to hidden states of audio, of text and of both."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
from flax import nnx

from atbert_jax.models.encoded import Encoded

Batch = dict[str, jax.Array]
# The fields that `embed_text` reads, and those that `embed_audio` may read beside `audio_input`.
TEXT_FIELDS = ("token_ids", "token_mask")
AUDIO_FIELDS = ("samples", "segment_mask", "frame_mask")


class Trunk(nnx.Module):
    """What every model is to the objectives, which own the heads on top of it.

    It is made as `Trunk(config, contract, rngs=rngs)`. Of B clips and texts there are

    * embeddings, of one segment or word each: `embed_audio` (B, S, C), `embed_text` (B, L, E);
    * streams, of each modality by itself: `encode_audio` (B, S', D_a), `encode_text` (B, L', D_t),
      which are `contextualize_audio` and `contextualize_text` of the embeddings;
    * joint states (B, T, D) by `fuse`, whose position 0 is the summary; or, by `fuse_streams`, the
      two streams after each has seen the other.

    All come as `Encoded`, with their masks (1 = real). A stream ends with the positions of its
    embeddings; what precedes them, if anything, is its summary. In every method `key` drives
    dropout, and batch normalisation learns; `key=None` is evaluation.

    Attributes:
        modalities: 'audio' and 'text', or one of them.
        audio_input: The field of the batch that `embed_audio` reads: 'log_mel' (B, S, F, T),
            'waveform' (B, S, N) or 'frames' (B, T, F).
        hidden: D, the width of the summary.
        activation: Of its layers; objectives' heads have the same.
        word_embeddings: Table (V, E) of `embed_text`, which tied heads use.
        any_length: Segments may have any number of samples.
        has_streams: `fuse_streams`, `embedding_widths` and `stream_widths` are there; else `fuse`
            gives the summary alone.
        has_one_space: The summaries of audio alone and of text alone can be compared.
        defaults: The sections of the config that are the model's own, by name.
    """

    modalities: tuple[str, ...] = ("audio", "text")
    audio_input: str
    hidden: int
    activation: Callable[[jax.Array], jax.Array]
    word_embeddings: nnx.Embed
    any_length = False
    has_streams = True
    has_one_space = True
    defaults: Mapping[str, Any] = MappingProxyType({})

    @property
    def embedding_widths(self) -> dict[str, int]:
        """By modality, C and E; D unless a model says otherwise."""
        return dict.fromkeys(self.modalities, self.hidden)

    @property
    def stream_widths(self) -> dict[str, int]:
        """By modality, D_a and D_t; D unless a model says otherwise."""
        return dict.fromkeys(self.modalities, self.hidden)

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """Each segment by itself: (B, S, C) of `audio_input` with `segment_mask` (B, S).

        Frames (B, T, F) have `frame_mask` (B, T), and S is the number of positions they become.
        """
        raise NotImplementedError

    def embed_text(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """(B, L, E) of `token_ids` (B, L) with `token_mask` (B, L)."""
        raise NotImplementedError

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """The audio stream (B, S', D_a) of embeddings (B, S, C), some of which may be masked."""
        raise NotImplementedError

    def contextualize_text(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """The text stream (B, L', D_t) of embeddings (B, L, E), some of which may be masked."""
        raise NotImplementedError

    def encode_audio(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """The audio stream (B, S', D_a) of a batch."""
        return self.contextualize_audio(self.embed_audio(batch, key), key)

    def encode_text(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """The text stream (B, L', D_t) of a batch."""
        return self.contextualize_text(self.embed_text(batch, key), key)

    def audio_layers(self, batch: Batch) -> list[Encoded]:
        """States (B, T, D) of several layers, for a probe to pool; in evaluation."""
        embedded = self.embed_audio(batch, None)
        return [embedded, self.contextualize_audio(embedded, None)]

    def fuse(self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None) -> Encoded:
        """Joint states, or those of one modality alone.

        Args:
            audio: Of `encode_audio`; None = the text alone.
            text: Of `encode_text`; None = the audio alone.
            key: Of the dropout; None = evaluation.

        Returns:
            (B, T, D); position 0 is the summary.
        """
        raise NotImplementedError

    def fuse_streams(
        self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None
    ) -> tuple[Encoded | None, Encoded | None]:
        """Both streams after each has seen the other, or one by itself; arguments as for `fuse`.

        Returns:
            The streams, of the same shapes; None for one that was not given.
        """
        raise NotImplementedError


class AudioTrunk(Trunk):
    """A trunk of audio alone: there is nothing to fuse."""

    modalities = ("audio",)

    def fuse(self, audio: Encoded, text: None, key: jax.Array | None) -> Encoded:
        """The audio stream (B, S', D) unchanged."""
        del text, key
        return audio

    def fuse_streams(
        self, audio: Encoded, text: None, key: jax.Array | None
    ) -> tuple[Encoded, None]:
        """The audio stream (B, S', D) unchanged."""
        del text, key
        return audio, None
