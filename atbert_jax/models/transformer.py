"""The transformer encoder of ALBERT (Lan et al. 2019), with four ways to share its parameters."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.models import factorized
from atbert_jax.models.factorized import FactorizedLinear
from atbert_jax.training.sharding import axes, repeated

LayerNorm = functools.partial(nnx.LayerNorm, epsilon=1e-12, use_fast_variance=False)
# Of embedding tables. Kernels start at 1 / sqrt(fan-in), which suits every width; ALBERT's 0.02 is
# tuned to widths of 768 and more and lets a narrow encoder learn late.
TABLE_INITIALIZER = nnx.initializers.truncated_normal(0.02)


# 'gelu_tanh' is PyTorch's gelu_new, of ALBERT v2; 'gelu' is exact, of ALBERT v1 and AVBert.
ACTIVATIONS = {"gelu_tanh": nnx.gelu, "gelu": functools.partial(nnx.gelu, approximate=False)}
SHARINGS = ("none", "layers", "all", "factorized")
# Of the one encoder that serves all roles.
SHARED = "shared"


class Linear(nnx.Linear):
    """A linear map.

    Its kernel (C, D) may have copies (P, C, D) for P equal parts of the batch (`sharding.copies`).
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, ..., C) to (B, ..., D)."""
        if self.kernel.ndim == 2:
            return super().__call__(x)
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        outputs = x.reshape(len(kernel), -1, x.shape[-1]) @ kernel
        return outputs.reshape(*x.shape[:-1], -1) + self.bias[...].astype(self.dtype)


class EncoderLayer(nnx.Module):
    """Post-norm layer: `LN(x + attention(x))`, then `LN(x + ffn(x))`.

    With hidden 768, 12 heads and ffn 3072 it has 7 087 872 parameters, as `AlbertLayer`. Dropout
    is applied to the output of the attention, not to its probabilities (ALBERT v2 uses none).

    Args:
        config: `config.model`: hidden D, heads H (divides D), ffn, activation, dropout; with
            `groups` also rank and rotation.
        groups: Number of encoders that share the factorized maps; 0 is ordinary maps.
        dtype: Compute type; softmax and normalisation are float32.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if `heads` does not divide `hidden`, or there is no such activation.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        *,
        groups: int = 0,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        hidden, ffn = config.hidden, config.ffn
        if hidden % config.heads:
            raise ValueError(f"model.heads={config.heads} does not divide model.hidden={hidden}")
        if config.activation not in ACTIVATIONS:
            raise ValueError(
                f"config.model.activation={config.activation!r} is none of {', '.join(ACTIVATIONS)}"
            )

        def linear(width_in: int, width_out: int, axis_in: str, axis_out: str) -> nnx.Module:
            if groups:
                return FactorizedLinear(
                    width_in,
                    width_out,
                    groups=groups,
                    rank=config.rank,
                    rotation=config.rotation,
                    axis_in=axis_in,
                    axis_out=axis_out,
                    dtype=dtype,
                    rngs=rngs,
                )
            return Linear(
                width_in,
                width_out,
                dtype=dtype,
                kernel_metadata=repeated(axis_in, axis_out),
                bias_metadata=axes(axis_out),
                rngs=rngs,
            )

        self.heads, self.factorized = config.heads, bool(groups)
        self.activation = ACTIVATIONS[config.activation]
        self.query = linear(hidden, hidden, "embed", "heads")
        self.key = linear(hidden, hidden, "embed", "heads")
        self.value = linear(hidden, hidden, "embed", "heads")
        self.attention_output = linear(hidden, hidden, "heads", "embed")
        self.attention_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)
        self.ffn = linear(hidden, ffn, "embed", "mlp")
        self.ffn_output = linear(ffn, hidden, "mlp", "embed")
        self.output_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout)

    def bind(self, group: int) -> Callable[[jax.Array, jax.Array, jax.Array | None], jax.Array]:
        """The layer of one group, to be applied as often as one likes.

        Returns:
            A function of x (B, T, D), mask (B, T) with 1 = real (masked positions are attended by
            none) and the key of the dropout (None is evaluation) to (B, T, D).
        """
        maps = (self.query, self.key, self.value, self.attention_output, self.ffn, self.ffn_output)
        bound = factorized.bind(maps, group) if self.factorized else maps
        query, key_, value, attention_output, ffn, ffn_output = bound

        def apply(x: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
            heads = (*x.shape[:2], self.heads, -1)
            attended = jax.nn.dot_product_attention(
                query(x).reshape(heads),
                key_(x).reshape(heads),
                value(x).reshape(heads),
                mask=mask[:, None, None, :] > 0,
            )
            attended = attention_output(attended.reshape(x.shape))
            attended = self.dropout(attended, deterministic=key is None, rngs=key)
            x = self.attention_norm(x + attended)
            return self.output_norm(x + ffn_output(self.activation(ffn(x))))

        return apply


class Encoder(nnx.Module):
    """A stack of layers, or one `EncoderLayer` that is applied again and again.

    Args:
        layers: One, or as many as `depth`.
        depth: How many are applied, L.
        scan_layers: Compile the one layer once and loop over it; a smaller program for deep ones.
        remat: Compute activations again in the backward pass; saves memory, costs time.

    Raises:
        ValueError: if `scan_layers` meets layers that differ.
    """

    def __init__(
        self, layers: Sequence[EncoderLayer], depth: int, *, scan_layers: bool, remat: bool
    ) -> None:
        if scan_layers and len(layers) > 1:
            raise ValueError(
                "config.model.scan_layers loops over one shared layer; with"
                " config.model.sharing='none' there is none: set scan_layers=False"
            )
        self.layers = nnx.List(layers)
        self.depth = depth
        self.scan_layers = scan_layers
        self.remat = remat

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        key: jax.Array | None,
        group: int = 0,
        *,
        first: int = 0,
        last: int | None = None,
    ) -> jax.Array:
        """Contextualizes a sequence.

        Args:
            x: (B, T, D).
            mask: (B, T), 1 = real.
            key: Of the dropout, None = evaluation.
            group: Whose factorized maps to use.
            first: Of the layers that are applied, counted from 0.
            last: The one that is not applied any more; None applies all.

        Returns:
            (B, T, D).
        """
        if not self.scan_layers:
            return [x, *self.states(x, mask, key, group, first=first, last=last)][-1]
        (apply,) = self._bound(group)
        keys = None if key is None else jax.random.split(key, self.depth)[first:last]
        count = len(range(self.depth)[first:last])
        return jax.lax.scan(lambda x, key: (apply(x, mask, key), None), x, keys, count)[0]

    def states(
        self,
        x: jax.Array,
        mask: jax.Array,
        key: jax.Array | None,
        group: int = 0,
        *,
        first: int = 0,
        last: int | None = None,
    ) -> list[jax.Array]:
        """What each of the layers says, (B, T, D); the arguments are those of a call."""
        bound = self._bound(group)
        keys = None if key is None else jax.random.split(key, self.depth)
        found = []
        for number in range(self.depth)[first:last]:
            apply = bound[number % len(bound)]
            x = apply(x, mask, None if keys is None else keys[number])
            found.append(x)
        return found

    def _bound(self, group: int) -> list[Callable]:
        bound = [layer.bind(group) for layer in self.layers]
        return [jax.checkpoint(apply) for apply in bound] if self.remat else bound


class Encoders(nnx.Module):
    """The encoders of several roles, which share their parameters as `config.model.sharing` says.

    * 'none': every role has its own encoder of L layers;
    * 'layers': every role has its own layer, applied L times (ALBERT);
    * 'all': one layer for all roles, applied L times (ATBERT's intention);
    * 'factorized': as 'all', but of each map only U is common (see `FactorizedLinear`; AVBert).

    For the three roles with six layers of 768 that is 127 581 696, 21 263 616, 7 087 872 and, with
    rank 128, 3 843 840 parameters. A role that is not used has none.

    Args:
        config: `config.model`: sharing, layers, scan_layers, remat and those of `EncoderLayer`.
        roles: Names.
        dtype: Compute type.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if there is no such sharing.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        roles: Sequence[str],
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        sharing = config.sharing
        if sharing not in SHARINGS:
            raise ValueError(f"config.model.sharing={sharing!r} is none of {', '.join(SHARINGS)}")
        self.roles = tuple(roles)
        groups = len(roles) if sharing == "factorized" else 0
        count = config.layers if sharing == "none" else 1
        for name in self.roles if sharing in ("none", "layers") else (SHARED,):
            layers = [
                EncoderLayer(config, groups=groups, dtype=dtype, rngs=rngs) for _ in range(count)
            ]
            encoder = Encoder(
                layers, config.layers, scan_layers=config.scan_layers, remat=config.remat
            )
            setattr(self, name, encoder)

    def __call__(
        self, role: str, x: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        """Contextualizes (B, T, D) with mask (B, T) as `role`; `key` None is evaluation."""
        encoder = getattr(self, role if hasattr(self, role) else SHARED)
        return encoder(x, mask, key, self.roles.index(role))
