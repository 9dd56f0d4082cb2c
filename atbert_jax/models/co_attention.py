"""Co-attention of two streams (Lu et al. 2019, ViLBERT): each asks the other."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.models.encoded import Encoded, fold
from atbert_jax.models.transformer import ACTIVATIONS, LayerNorm, Linear
from atbert_jax.training.sharding import axes


class CrossLayer(nnx.Module):
    """Post-norm layer whose queries are of one stream, its keys and values of another.

    `LN(x + attention(x, other))`, then `LN(x + ffn(x))`, with dropout as in `EncoderLayer`.

    Args:
        sizes: Of the own stream: hidden D, ffn, activation, dropout.
        other: Width of the other stream, E.
        width: Of the queries, keys and values, W.
        heads: Divides W.
        dtype: Compute type; softmax and normalisation are float32.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        sizes: ml_collections.ConfigDict,
        other: int,
        width: int,
        heads: int,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        def linear(width_in: int, width_out: int, axis_in: str, axis_out: str) -> Linear:
            return Linear(
                width_in,
                width_out,
                dtype=dtype,
                kernel_metadata=axes(axis_in, axis_out),
                bias_metadata=axes(axis_out),
                rngs=rngs,
            )

        self.heads, self.activation = heads, ACTIVATIONS[sizes.activation]
        self.query = linear(sizes.hidden, width, "embed", "heads")
        self.key = linear(other, width, "embed", "heads")
        self.value = linear(other, width, "embed", "heads")
        self.attention_output = linear(width, sizes.hidden, "heads", "embed")
        self.attention_norm = LayerNorm(sizes.hidden, dtype=dtype, rngs=rngs)
        self.ffn = linear(sizes.hidden, sizes.ffn, "embed", "mlp")
        self.ffn_output = linear(sizes.ffn, sizes.hidden, "mlp", "embed")
        self.output_norm = LayerNorm(sizes.hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(sizes.dropout)

    def __call__(self, x: jax.Array, other: Encoded, key: jax.Array | None) -> jax.Array:
        """Maps (B, T, D), with another stream (B, U, E), to (B, T, D); key None is evaluation."""

        def split(states: jax.Array) -> jax.Array:
            return states.reshape(*states.shape[:2], self.heads, -1)

        attended = jax.nn.dot_product_attention(
            split(self.query(x)),
            split(self.key(other.hidden)),
            split(self.value(other.hidden)),
            mask=other.mask[:, None, None, :] > 0,
        )
        attended = self.attention_output(attended.reshape(*x.shape[:2], -1))
        attended = self.dropout(attended, deterministic=key is None, rngs=key)
        x = self.attention_norm(x + attended)
        return self.output_norm(x + self.ffn_output(self.activation(self.ffn(x))))


class CoAttention(nnx.Module):
    """Audio asks text while text asks audio.

    Nothing is asked that is not there: padding of either stream is attended by none, and a row
    that lacks audio or text passes as it is.

    Args:
        audio: Sizes of the audio stream (see `CrossLayer`).
        text: Sizes of the text stream.
        width: Of the queries, keys and values.
        heads: Divides `width`.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        audio: ml_collections.ConfigDict,
        text: ml_collections.ConfigDict,
        width: int,
        heads: int,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        def layer(own: ml_collections.ConfigDict, other: ml_collections.ConfigDict) -> CrossLayer:
            return CrossLayer(own, other.hidden, width, heads, dtype=dtype, rngs=rngs)

        self.audio, self.text = layer(audio, text), layer(text, audio)

    def __call__(
        self, audio: Encoded, text: Encoded, key: jax.Array | None
    ) -> tuple[Encoded, Encoded]:
        """Both streams (B, T, D) and (B, U, E), each with what it found in the other."""
        complete = (audio.mask.max(axis=1) * text.mask.max(axis=1))[:, None, None] > 0

        def ask(layer: Callable, own: Encoded, other: Encoded, key: jax.Array | None) -> Encoded:
            found = layer(own.hidden, other, key)
            return Encoded(jnp.where(complete, found, own.hidden), own.mask)

        return ask(self.audio, audio, text, fold(key, 0)), ask(self.text, text, audio, fold(key, 1))
