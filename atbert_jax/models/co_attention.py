"""Co-attention of two streams (Lu et al. 2019, ViLBERT): each attends to the other."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.models.encoded import Encoded, fold
from atbert_jax.models.transformer import EncoderLayer


class CoAttention(nnx.Module):
    """The queries of each stream are its own, its keys and values those of the other.

    Padding of either stream is attended to by none, and a row that lacks audio or text passes
    unchanged.

    Args:
        audio: Sizes of the audio stream: hidden D, ffn, activation, dropout.
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
        def layer(own: ml_collections.ConfigDict, other: ml_collections.ConfigDict) -> EncoderLayer:
            sizes = own.copy_and_resolve_references()
            sizes.heads = heads
            return EncoderLayer(sizes, source=other.hidden, width=width, dtype=dtype, rngs=rngs)

        self.audio, self.text = layer(audio, text), layer(text, audio)

    def __call__(
        self, audio: Encoded, text: Encoded, key: jax.Array | None
    ) -> tuple[Encoded, Encoded]:
        """Both streams, (B, T, D) and (B, U, E), after each attended to the other."""
        complete = (audio.mask.max(axis=1) * text.mask.max(axis=1))[:, None, None] > 0

        def cross(
            layer: EncoderLayer, own: Encoded, other: Encoded, key: jax.Array | None
        ) -> Encoded:
            hidden = layer(own.hidden, other.mask, key, other.hidden)
            return Encoded(jnp.where(complete, hidden, own.hidden), own.mask)

        return cross(self.audio, audio, text, fold(key, 0)), cross(
            self.text, text, audio, fold(key, 1)
        )
