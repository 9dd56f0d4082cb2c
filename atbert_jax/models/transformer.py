"""The parameter-shared transformer encoder of ALBERT (Lan et al. 2019)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax.training.sharding import axes

LayerNorm = functools.partial(nnx.LayerNorm, epsilon=1e-12, use_fast_variance=False)
# Of embedding tables. Kernels start at 1 / sqrt(fan-in), which suits every width; ALBERT's 0.02 is
# tuned to widths of 768 and more and lets a narrow encoder learn late.
TABLE_INITIALIZER = nnx.initializers.truncated_normal(0.02)


class EncoderLayer(nnx.Module):
    """Post-norm layer: `LN(x + attention(x))`, then `LN(x + ffn(x))` with tanh-GELU.

    With hidden 768, 12 heads and ffn 3072 it has 7 087 872 parameters, as `AlbertLayer`. Dropout
    is applied to the output of the attention, not to its probabilities (ALBERT v2 uses none).

    Args:
        hidden: D.
        heads: H, divides D.
        ffn: Inner width of the feed-forward block.
        dropout: Rate.
        dtype: Compute type; softmax and normalisation are float32.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if `heads` does not divide `hidden`.
    """

    def __init__(
        self,
        hidden: int,
        heads: int,
        ffn: int,
        *,
        dropout: float,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        if hidden % heads:
            raise ValueError(f"model.heads={heads} does not divide model.hidden={hidden}")

        def linear(width_in: int, width_out: int, axis_in: str, axis_out: str) -> nnx.Linear:
            return nnx.Linear(
                width_in,
                width_out,
                dtype=dtype,
                kernel_metadata=axes(axis_in, axis_out),
                bias_metadata=axes(axis_out),
                rngs=rngs,
            )

        self.heads = heads
        self.query = linear(hidden, hidden, "embed", "heads")
        self.key = linear(hidden, hidden, "embed", "heads")
        self.value = linear(hidden, hidden, "embed", "heads")
        self.attention_output = linear(hidden, hidden, "heads", "embed")
        self.attention_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)
        self.ffn = linear(hidden, ffn, "embed", "mlp")
        self.ffn_output = linear(ffn, hidden, "mlp", "embed")
        self.output_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """One layer.

        Args:
            x: (B, T, D).
            mask: (B, T), 1 = real; masked positions are attended by none.
            key: Of the dropout; None is evaluation.

        Returns:
            (B, T, D).
        """
        heads = (*x.shape[:2], self.heads, -1)
        attended = jax.nn.dot_product_attention(
            self.query(x).reshape(heads),
            self.key(x).reshape(heads),
            self.value(x).reshape(heads),
            mask=mask[:, None, None, :] > 0,
        )
        attended = self.attention_output(attended.reshape(x.shape))
        attended = self.dropout(attended, deterministic=key is None, rngs=key)
        x = self.attention_norm(x + attended)
        return self.output_norm(x + self.ffn_output(nnx.gelu(self.ffn(x))))


class SharedEncoder(nnx.Module):
    """One `EncoderLayer` that is applied `layers` times.

    Args:
        layer: The layer.
        layers: How often it is applied, L.
        scan_layers: Compile the layer once and loop over it; a smaller program for deep encoders.
        remat: Compute activations again in the backward pass; saves memory, costs time.
    """

    def __init__(self, layer: EncoderLayer, layers: int, *, scan_layers: bool, remat: bool) -> None:
        self.layer = layer
        self.layers = layers
        self.scan_layers = scan_layers
        self.remat = remat

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (B, T, D) with mask (B, T) to (B, T, D); `key` of the dropout, None = evaluation."""

        def apply(x: jax.Array, key: jax.Array | None) -> jax.Array:
            return self.layer(x, mask, key)

        if self.remat:
            apply = jax.checkpoint(apply)
        keys = None if key is None else jax.random.split(key, self.layers)
        if self.scan_layers:
            return jax.lax.scan(lambda x, key: (apply(x, key), None), x, keys, self.layers)[0]
        for number in range(self.layers):
            x = apply(x, None if keys is None else keys[number])
        return x
