"""The common part of the taggers with self-attention."""

import jax
import jax.numpy as jnp

from atbert_jax.models.encoded import fold
from atbert_jax.models.taggers.network import Network

HEADS = 8


class AttentionTagger(Network):
    """Tokens of the audio after a first one, whose last state is the summary.

    A subclass has `layers`, each called as `EncoderLayer` is, with its `attention_weights`.

    Attributes:
        token_frames: Frames of the log-mel between the starts of two tokens; as many are one
            token's own, though its receptive field is wider.
        leading_tokens: Number of tokens before those of the audio.
    """

    token_frames: int
    leading_tokens = 1

    def embed(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to tokens (N, T, D)."""
        raise NotImplementedError

    def summarize(self, first: jax.Array) -> jax.Array:
        """Maps the first token (N, D) after all layers to the features (N, D)."""
        raise NotImplementedError

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, D); `key=None` is evaluation."""
        x = self.embed(waveform, mask, fold(key, 0))
        for number, layer in enumerate(self.layers):
            x = layer(x, None, fold(key, number + 1))
        return self.summarize(x[:, 0])

    def attention(self, waveform: jax.Array) -> jax.Array:
        """The attention weights in evaluation.

        Args:
            waveform: (N, samples).

        Returns:
            Weights (N, layers, H, T, T), float32: how much each token (second to last axis) takes
            of each (last axis). Token `leading_tokens + i` is that of the frames from
            `i * token_frames` on.
        """
        x, found = self.embed(waveform, jnp.ones(len(waveform)), None), []
        for layer in self.layers:
            found.append(layer.attention_weights(x))
            x = layer(x, None, None)
        return jnp.stack(found, axis=1)
