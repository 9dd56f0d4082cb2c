"""What the taggers with self-attention have in common."""

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax.models.encoded import fold

HEADS = 8


def drop(dropout: nnx.Dropout, x: jax.Array, key: jax.Array | None) -> jax.Array:
    """Dropout of x; none without a key."""
    return dropout(x, deterministic=key is None, rngs=key)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    dropout: nnx.Dropout,
    dropout_key: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """Attention of `HEADS` heads in which every token hears all others.

    Args:
        query: (N, T, D), as key and value.
        key: See query.
        value: See query.
        dropout: Of the weights.
        dropout_key: None is evaluation.

    Returns:
        (N, T, D); and the weights (N, H, T, T) without dropout, float32, which sum to 1 over the
        last axis.
    """
    query, key, value = (x.reshape(*x.shape[:2], HEADS, -1) for x in (query, key, value))
    scores = jnp.einsum("nqhd,nkhd->nhqk", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores / jnp.sqrt(query.shape[-1]))
    used = drop(dropout, weights, dropout_key).astype(value.dtype)
    attended = jnp.einsum("nhqk,nkhd->nqhd", used, value)
    return attended.reshape(*attended.shape[:2], -1), weights


class AttentionTagger(nnx.Module):
    """Tokens of the sound, the first of which gathers what is to be said of them all.

    A subclass has `layers`, each of which maps tokens and a dropout key to tokens and weights.

    Attributes:
        token_frames: Frames of the log-mel between the starts of two tokens; as many are one
            token's own, though its receptive field is wider.
        leading_tokens: Number of tokens before those of the sound.
    """

    hears = "waveform"
    token_frames: int
    leading_tokens = 1

    def embed(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to tokens (N, T, D)."""
        raise NotImplementedError

    def summarize(self, first: jax.Array) -> jax.Array:
        """Maps the first token (N, D) after all layers to the features (N, D)."""
        raise NotImplementedError

    def contextualize(
        self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Tokens (N, T, D) after all layers, and each layer's weights (N, H, T, T)."""
        x, found = self.embed(waveform, mask, fold(key, 0)), []
        for number, layer in enumerate(self.layers):
            x, weights = layer(x, fold(key, number + 1))
            found.append(weights)
        return x, found

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, D); `key=None` is evaluation."""
        return self.summarize(self.contextualize(waveform, mask, key)[0][:, 0])

    def attention(self, waveform: jax.Array) -> jax.Array:
        """What hears what, in evaluation.

        Args:
            waveform: (N, samples).

        Returns:
            Weights (N, layers, H, T, T), float32: how much each token (second to last axis) takes
            of each (last axis). Token `leading_tokens + i` is that of the frames from
            `i * token_frames` on.
        """
        mask = jnp.ones(len(waveform))
        return jnp.stack(self.contextualize(waveform, mask, None)[1], axis=1)
