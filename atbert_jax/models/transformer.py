"""The post-norm transformer encoder of BERT and ALBERT, with four ways to share its parameters."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax import choices
from atbert_jax.models import factorized
from atbert_jax.models.attention import attend, attention_mask, attention_weights
from atbert_jax.models.encoded import drop, fold
from atbert_jax.models.factorized import FactorizedLinear
from atbert_jax.models.linear import Linear
from atbert_jax.models.repeated import repeat

LayerNorm = functools.partial(nnx.LayerNorm, epsilon=1e-12, use_fast_variance=False)
# Of embedding tables. Kernels start at 1 / sqrt(fan-in), which suits every width; ALBERT's 0.02 is
# tuned to widths of 768 and more and lets a narrow encoder learn late.
TABLE_INITIALIZER = nnx.initializers.truncated_normal(0.02)


# 'gelu_tanh' is PyTorch's gelu_new, of ALBERT v2; 'gelu' is exact, of ALBERT v1 and AVBert.
ACTIVATIONS = {"gelu_tanh": nnx.gelu, "gelu": functools.partial(nnx.gelu, approximate=False)}
SHARINGS = ("none", "layers", "all", "factorized")
# Of the one encoder that serves all roles.
SHARED = "shared"


# The defaults of transformers in `config.model`, beside their sizes.
DEFAULTS = {
    "sharing": "all",  # of the encoders' parameters: 'none', 'layers', 'factorized'
    "rank": 128,  # of factorized maps
    "rotation": "exp",  # of factorized maps; or 'cayley'
    "activation": "gelu_tanh",  # of the feed-forward blocks; or 'gelu'
    "dropout": 0.1,  # behind each attention and feed-forward block, and of embeddings
    "scan_layers": False,  # loop over the layers: deep encoders compile sooner, and run slower
    # Keep products and convolutions alone for the backward pass, and compute the rest
    # again: for what does not fit into memory.
    "remat": False,
}


class EncoderLayer(nnx.Module):
    """Post-norm layer: `LN(x + attention(x))`, then `LN(x + ffn(x))`.

    With hidden 768, 12 heads and ffn 3072 it has 7 087 872 parameters, as `AlbertLayer`. Keys and
    values may be those of another sequence (cross-attention).

    Args:
        sizes: As `config.model` has them: hidden D, heads H (divides the width of the queries),
            ffn, activation (one of `ACTIVATIONS`), dropout (of the attention's output).
        attention_dropout: Of the attention's weights; then `dropout` is applied to the output of
            the feed-forward block, too, as in BERT. None is ALBERT's way: neither of them.
        source: Width of the sequence that is attended to, E; None is D.
        width: Of the queries, keys and values; None is D.
        linear: Makes the maps: `Linear`, or `FactorizedLinear` with its groups.
        dtype: Compute type; softmax and normalisation are float32.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if `heads` does not divide the width, or there is no such activation.
    """

    def __init__(
        self,
        sizes: ml_collections.ConfigDict,
        *,
        attention_dropout: float | None = None,
        source: int | None = None,
        width: int | None = None,
        linear: Callable[..., nnx.Module] = Linear,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        hidden, ffn = sizes.hidden, sizes.ffn
        source, width = source or hidden, width or hidden
        if width % sizes.heads:
            raise ValueError(f"model.heads={sizes.heads} does not divide model.hidden={width}")
        choices.require("config.model.activation", sizes.activation, ACTIVATIONS)
        make = functools.partial(linear, dtype=dtype, rngs=rngs)
        self.heads, self.activation = sizes.heads, ACTIVATIONS[sizes.activation]
        self.query = make(hidden, width, "embed", "heads")
        self.key = make(source, width, "embed", "heads")
        self.value = make(source, width, "embed", "heads")
        self.attention_output = make(width, hidden, "heads", "embed")
        self.attention_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)
        self.ffn = make(hidden, ffn, "embed", "mlp")
        self.ffn_output = make(ffn, hidden, "mlp", "embed")
        self.output_norm = LayerNorm(hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(sizes.dropout)
        self.all_dropouts = attention_dropout is not None
        self.attention_dropout = nnx.Dropout(attention_dropout or 0.0)

    def bind(self, group: int) -> Callable[..., jax.Array]:
        """The layer of one group of factorized maps, to be applied as often as one likes.

        Returns:
            A function of x (B, T, D), the mask (B, U) of its source, 1 = real (None: all are), the
            key of the dropout (None: evaluation) and the source (B, U, E; None: x) to (B, T, D).
        """
        maps = self.maps
        if isinstance(self.query, FactorizedLinear):
            maps = dict(zip(maps, factorized.bind(list(maps.values()), group), strict=True))
        return functools.partial(self.apply, maps)

    @property
    def maps(self) -> dict[str, nnx.Module]:
        """The linear maps, by the names of their attributes."""
        names = ("query", "key", "value", "attention_output", "ffn", "ffn_output")
        return {name: getattr(self, name) for name in names}

    def apply(
        self,
        maps: Mapping[str, Callable[[jax.Array], jax.Array]],
        x: jax.Array,
        mask: jax.Array | None,
        key: jax.Array | None,
        source: jax.Array | None = None,
    ) -> jax.Array:
        """What a call gives, with these maps in place of the layer's own."""
        keys = [fold(key, n) for n in range(3)] if self.all_dropouts else (None, key, None)
        source = x if source is None else source
        attended = attend(
            maps["query"](x),
            maps["key"](source),
            maps["value"](source),
            attention_mask(mask),
            heads=self.heads,
            dropout=self.attention_dropout,
            dropout_key=keys[0],
        )
        attended = maps["attention_output"](attended)
        x = self.attention_norm(x + drop(self.dropout, attended, keys[1]))
        forward = maps["ffn_output"](self.activation(maps["ffn"](x)))
        return self.output_norm(x + drop(self.dropout, forward, keys[2]))

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array | None,
        key: jax.Array | None,
        source: jax.Array | None = None,
    ) -> jax.Array:
        """Maps (B, T, D) to (B, T, D); the arguments are those of `bind`'s function."""
        return self.bind(0)(x, mask, key, source)

    def attention_weights(self, x: jax.Array) -> jax.Array:
        """The weights (B, H, T, T) of x (B, T, D), all of it real, in evaluation."""
        return attention_weights(self.query(x), self.key(x), heads=self.heads)


class Encoder(nnx.Module):
    """A stack of layers, or one `EncoderLayer` that is applied again and again.

    Args:
        config: Sizes, as `config.model` has them: hidden D, heads, ffn, activation, dropout;
            layers, how many are applied, L; scan_layers, to compile one layer once and loop over
            it, a smaller program for deep encoders; remat, to compute activations again in the
            backward pass, which saves memory and costs time; with `groups` rank and rotation.
        shared: All layers are one.
        groups: Number of encoders that share factorized maps; 0 is ordinary maps.
        dtype: Compute type.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if `scan_layers` meets layers that differ, or a size does not fit.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        *,
        shared: bool = False,
        groups: int = 0,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        linear = functools.partial(Linear, repeats=True)
        if groups:
            linear = functools.partial(
                FactorizedLinear, groups=groups, rank=config.rank, rotation=config.rotation
            )
        layers = [
            EncoderLayer(config, linear=linear, dtype=dtype, rngs=rngs)
            for _ in range(1 if shared else config.layers)
        ]
        if config.scan_layers and len(layers) > 1:
            raise ValueError(
                "config.model.scan_layers loops over one shared layer; with"
                " config.model.sharing='none' there is none: set scan_layers=False"
            )
        self.layers = nnx.List(layers)
        self.at_once = shared and not (groups or config.remat or config.scan_layers)
        self.depth = config.layers
        self.scan_layers = config.scan_layers
        self.remat = config.remat

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
        """Contextualizes (B, T, D).

        Args:
            x: (B, T, D).
            mask: (B, T), 1 = real.
            key: Of the dropout, None = evaluation.
            group: Whose factorized maps to use.
            first: Of the layers that are applied, counted from 0.
            last: The layer to stop before; None applies all.
        """
        if self.at_once:
            keys = [None] * self.depth if key is None else list(jax.random.split(key, self.depth))
            return repeat(self.layers[0], x, mask, keys[first:last])
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
        """The output (B, T, D) of each layer; the arguments are those of a call."""
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
    """The encoders of several roles, which share their parameters as `config.model.sharing` sets.

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
        sharing = choices.require("config.model.sharing", config.sharing, SHARINGS)
        self.roles = tuple(roles)
        own = sharing in ("none", "layers")
        self.names = {role: role if own else SHARED for role in self.roles}
        for name in dict.fromkeys(self.names.values()):
            encoder = Encoder(
                config,
                shared=sharing != "none",
                groups=len(self.roles) if sharing == "factorized" else 0,
                dtype=dtype,
                rngs=rngs,
            )
            setattr(self, name, encoder)

    def __call__(
        self, role: str, x: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        """Contextualizes (B, T, D) with mask (B, T) as `role`; `key` None is evaluation."""
        return getattr(self, self.names[role])(x, mask, key, self.roles.index(role))
