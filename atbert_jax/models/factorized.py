"""Weights shared between encoders as U R_g V_g: AVBert's low-rank scheme (Lee et al. 2021)."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax import choices
from atbert_jax.models.linear import Linear
from atbert_jax.parallel.sharding import axes

EPSILON = 1e-6


def exponential(skew: jax.Array) -> jax.Array:
    """exp(S) of a skew-symmetric (O, O): a rotation."""
    return jax.scipy.linalg.expm(skew)


def cayley(skew: jax.Array) -> jax.Array:
    """(I + S)^-1 (I - S) of a skew-symmetric (O, O): a rotation that has no eigenvalue -1."""
    one = jnp.eye(skew.shape[0], dtype=skew.dtype)
    return jnp.linalg.solve(one + skew, one - skew)


ROTATIONS = {"exp": exponential, "cayley": cayley}


def initial_skew(key: jax.Array, shape: tuple[int, int, int], dtype: jnp.dtype) -> jax.Array:
    """Upper triangles (G, O, O) that rotate pairs of axes by random angles.

    The 2x2 blocks of the Cayley initialisation (Helfrich et al. 2018): on the first diagonal, every
    other entry is -sqrt((1 - cos d) / (1 + cos d)) = -tan(d / 2), with d uniform in [0, pi / 2].
    """
    groups, size, _ = shape
    angle = jax.random.uniform(key, (groups, size // 2), dtype, 0.0, jnp.pi / 2)
    first = 2 * jnp.arange(size // 2)
    return jnp.zeros(shape, dtype).at[:, first, first + 1].set(-jnp.tan(angle / 2))


class FactorizedLinear(nnx.Module):
    """`y = U (R_g v / ||v||) + b` with `v = V_g x`: W = U R_g V_g, of rank O.

    U (O x D) and b serve all groups; V_g (C x O) and the rotation R_g, made of the strictly upper
    triangle of an O x O matrix, are the group's own. The division by the length makes the output
    independent of the scale of x. As in AVBert's published code, whose other form of R (a base
    that moves every hundred steps) is another path to the same rotations and is not here.

    Args:
        width_in: C.
        width_out: D.
        axis_in: Name of the input's axis, for `sharding.RULES`.
        axis_out: Name of the output's.
        groups: Number of encoders that share U, G.
        rank: O.
        rotation: 'exp' (matrix exponential, as published) or 'cayley' (cheaper).
        dtype: Compute type; rotations and lengths are float32.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if there is no such rotation.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        axis_in: str,
        axis_out: str,
        *,
        groups: int,
        rank: int,
        rotation: str,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        choices.require("config.model.rotation", rotation, ROTATIONS)
        self.rotation, self.dtype = rotation, dtype
        kernel = nnx.initializers.lecun_normal(batch_axis=0)
        self.down = nnx.Param(
            kernel(rngs.params(), (groups, width_in, rank), jnp.float32),
            **axes(None, axis_in, None),
        )
        self.skew = nnx.Param(initial_skew(rngs.params(), (groups, rank, rank), jnp.float32))
        self.up = Linear(
            rank,
            width_out,
            None,
            axis_out,
            # Of a code of length 1, so that outputs start with the size that nnx.Linear gives them.
            kernel_init=nnx.initializers.normal(1.0),
            dtype=dtype,
            rngs=rngs,
        )

    def bind(self, group: int) -> Callable[[jax.Array], jax.Array]:
        """The map (..., C) -> (..., D) of one group."""
        return bind([self], group)[0]

    def skew_symmetric(self, group: int) -> jax.Array:
        """What the rotation R_g is made of, (O, O) in float32."""
        upper = jnp.triu(self.skew[group], 1)
        return upper - upper.T

    def rotated(self, group: int, rotation: jax.Array) -> Callable[[jax.Array], jax.Array]:
        """The map of one group from its R_g (O, O).

        A rotation keeps lengths, so R_g and V_g are multiplied once, however often it is applied.
        """
        down = jnp.matmul(self.down[group], rotation, precision="highest").astype(self.dtype)

        def apply(x: jax.Array) -> jax.Array:
            code = (x.astype(self.dtype) @ down).astype(jnp.float32)
            length = jnp.sqrt((code * code).sum(axis=-1, keepdims=True) + EPSILON**2)
            return self.up(code / length)

        return apply


def rotations(maps: Sequence[FactorizedLinear], group: int) -> jax.Array:
    """R_g of each of M maps, (M, O, O) in float32, orthogonal with determinant 1.

    In a loop over the maps: XLA takes seconds to compile an exponential and its gradient.
    """
    skew = jnp.stack([each.skew_symmetric(group) for each in maps])
    return jax.lax.map(ROTATIONS[maps[0].rotation], skew)


def bind(maps: Sequence[FactorizedLinear], group: int) -> list[Callable[[jax.Array], jax.Array]]:
    """The maps (..., C) -> (..., D) of one group, to be applied as often as one likes."""
    pairs = zip(maps, rotations(maps, group), strict=True)
    return [each.rotated(group, rotation) for each, rotation in pairs]
