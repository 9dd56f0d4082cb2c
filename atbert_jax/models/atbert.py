"""ATBERT: log-mel segments through a ResNet, text through ALBERT's embeddings, one shared encoder.

The architecture is that of the ATBERT notebook with its intended behaviour: one encoder for audio,
text and audio-text instead of three, a normalisation for each of the three inputs, positions that
are really used, and masks that are real.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.models.resnet import ResNet
from atbert_jax.models.transformer import TABLE_INITIALIZER, EncoderLayer, LayerNorm, SharedEncoder
from input_pipeline.contract import Contract

AUDIO, TEXT = 0, 1


class Encoded(NamedTuple):
    """Hidden states (B, T, D) with their mask (B, T), 1 = real; position 0 is the summary."""

    hidden: jax.Array
    mask: jax.Array


def fold(key: jax.Array | None, number: int) -> jax.Array | None:
    """A key for one of several uses; None (evaluation) stays None."""
    return None if key is None else jax.random.fold_in(key, number)


class ATBERT(nnx.Module):
    """The trunk: `encode_audio`, `encode_text` and `fuse` (mid fusion).

    In all three, `key` drives the dropout and batch normalisation learns; `key=None` is evaluation.

    Args:
        config: `config.model`: depths, width, hidden, heads, layers, ffn, embedding, dropout,
            scan_layers, remat, dtype.
        contract: Gives the number of segments S, of tokens L and of the vocabulary V.
        rngs: Keys of the initial values.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        dtype = jnp.dtype(config.dtype)
        hidden, embedding = config.hidden, config.embedding
        segments, tokens = contract.segmenting.segments, contract.max_tokens
        self.hidden = hidden

        def table(*shape: int) -> nnx.Param:
            return nnx.Param(TABLE_INITIALIZER(rngs.params(), shape, jnp.float32))

        def linear(inputs: int) -> nnx.Linear:
            return nnx.Linear(inputs, hidden, dtype=dtype, rngs=rngs)

        self.audio_cnn = ResNet(config.depths, config.width, dtype=dtype, rngs=rngs)
        self.audio_projection = linear(self.audio_cnn.features)
        self.audio_start = table(1, hidden)
        self.audio_positions = table(segments + 1, hidden)
        self.audio_feature_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)
        self.audio_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)

        self.word_embeddings = nnx.Embed(
            contract.vocabulary, embedding, embedding_init=TABLE_INITIALIZER, dtype=dtype, rngs=rngs
        )
        self.text_positions = table(tokens, embedding)
        self.text_norm = LayerNorm(embedding, dtype=dtype, rngs=rngs)
        self.text_projection = linear(embedding)

        self.joint_positions = table(max(segments + 1, tokens), hidden)
        self.modality_embeddings = table(2, hidden)
        self.joint_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)

        layer = EncoderLayer(
            hidden, config.heads, config.ffn, dropout=config.dropout, dtype=dtype, rngs=rngs
        )
        self.encoder = SharedEncoder(
            layer, config.layers, scan_layers=config.scan_layers, remat=config.remat
        )
        self.dropout = nnx.Dropout(config.dropout)

    def _drop(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        return self.dropout(x, deterministic=key is None, rngs=fold(key, 0))

    def encode_audio(self, batch: dict[str, jax.Array], key: jax.Array | None) -> Encoded:
        """Audio alone.

        Args:
            batch: `log_mel` (B, S, F, T) and `segment_mask` (B, S).
            key: Of the dropout; None = evaluation.

        Returns:
            (B, S + 1, D): the learned start of sequence, then one state for each segment.
        """
        log_mel, mask = batch["log_mel"], batch["segment_mask"]
        count, segments = mask.shape
        merged = log_mel.reshape(count * segments, *log_mel.shape[2:])
        features = self.audio_cnn(merged, mask.reshape(-1), train=key is not None)
        features = self.audio_feature_norm(self.audio_projection(features))
        features = features.reshape(count, segments, self.hidden)
        start = jnp.broadcast_to(self.audio_start[...], (count, 1, self.hidden))
        x = jnp.concatenate([start.astype(features.dtype), features], axis=1)
        x = self._drop(self.audio_norm(x + self.audio_positions[: segments + 1]), key)
        # The start is there where any segment is, so that a missing clip is masked altogether.
        mask = jnp.concatenate([mask.max(axis=1, keepdims=True), mask], axis=1)
        return Encoded(self.encoder(x, mask, fold(key, 1)), mask)

    def encode_text(self, batch: dict[str, jax.Array], key: jax.Array | None) -> Encoded:
        """Text alone.

        Args:
            batch: `token_ids` (B, L) and `token_mask` (B, L).
            key: Of the dropout; None = evaluation.

        Returns:
            (B, L, D); position 0 is [CLS].
        """
        token_ids, mask = batch["token_ids"], batch["token_mask"]
        x = self.word_embeddings(token_ids) + self.text_positions[: token_ids.shape[1]]
        x = self.text_projection(self._drop(self.text_norm(x), key))
        return Encoded(self.encoder(x, mask, fold(key, 1)), mask)

    def fuse(self, audio: Encoded, text: Encoded, key: jax.Array | None) -> Encoded:
        """Audio and text together; positions count from 0 in each.

        Args:
            audio: From `encode_audio`, (B, S + 1, D).
            text: From `encode_text`, (B, L, D).
            key: Of the dropout; None = evaluation.

        Returns:
            (B, S + 1 + L, D), audio first.
        """
        streams = []
        for modality, stream in ((AUDIO, audio), (TEXT, text)):
            positions = self.joint_positions[: stream.hidden.shape[1]]
            streams.append(stream.hidden + positions + self.modality_embeddings[modality])
        x = self._drop(self.joint_norm(jnp.concatenate(streams, axis=1)), key)
        mask = jnp.concatenate([audio.mask, text.mask], axis=1)
        return Encoded(self.encoder(x, mask, fold(key, 1)), mask)
