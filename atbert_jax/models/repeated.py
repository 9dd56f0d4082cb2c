"""A layer that is applied again and again, whose kernels get their gradients at once.

The gradient of a kernel that L layers share is the sum of L products. Differentiated one by one,
they are written, read and added L times, which takes longer than the products where a batch has few
rows. Here what each kernel was given, and the gradients of what came of it, are kept for all L, and
one product of the two is the gradient. Both are activations; a kernel is larger than those where a
batch is small.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx


def repeat(
    layer: nnx.Module, x: jax.Array, mask: jax.Array | None, keys: Sequence[jax.Array | None]
) -> jax.Array:
    """Applies a layer once for each key.

    Args:
        layer: Has `maps`, a dict of `Linear` by the names of its attributes, and `apply(maps, x,
            mask, key)`, which calls each of the maps once, with (B, ..., C).
        x: (B, T, D).
        mask: (B, T), 1 = real; None: all are.
        keys: Of the dropout of each time, None = evaluation.

    Returns:
        (B, T, D).
    """
    definition, kernels, rest = nnx.split(layer, lambda path, _: path[-1] == "kernel", ...)
    return _repeat(definition, kernels, rest, x, mask, list(keys))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _repeat(
    definition: nnx.GraphDef,
    kernels: nnx.State,
    rest: nnx.State,
    x: jax.Array,
    mask: jax.Array | None,
    keys: list,
) -> jax.Array:
    layer = nnx.merge(definition, kernels, rest)
    for key in keys:
        x = layer.apply(layer.maps, x, mask, key)
    return x


@jax.custom_vjp
def _tapped(outputs: jax.Array, tap: jax.Array) -> jax.Array:
    """The outputs; their gradient is the tap's, too."""
    del tap
    return outputs


_tapped.defvjp(lambda outputs, tap: (outputs, None), lambda _, gradient: (gradient, gradient))


def _observe(linear: nnx.Module, name: str, given: dict, tap: jax.Array, x: jax.Array) -> jax.Array:
    """What a map makes of x, which is noted by the map's name."""
    given[name] = x.astype(linear.dtype)
    return _tapped(linear(x), tap)


def _forward(
    definition: nnx.GraphDef,
    kernels: nnx.State,
    rest: nnx.State,
    x: jax.Array,
    mask: jax.Array | None,
    keys: list,
) -> tuple[jax.Array, tuple]:
    def run(rest: nnx.State, x: jax.Array, taps: list[dict]) -> tuple[jax.Array, list[dict]]:
        layer, given = nnx.merge(definition, kernels, rest), []
        for key, tap in zip(keys, taps, strict=True):
            inputs = {}
            maps = {
                name: functools.partial(_observe, linear, name, inputs, tap[name])
                for name, linear in layer.maps.items()
            }
            x = layer.apply(maps, x, mask, key)
            given.append(inputs)
        return x, given

    maps = nnx.merge(definition, kernels, rest).maps
    taps = [
        {
            name: jnp.zeros((*x.shape[:-1], linear.out_features), linear.dtype)
            for name, linear in maps.items()
        }
        for _ in keys
    ]
    outputs, backward, given = jax.vjp(run, rest, x, taps, has_aux=True)
    return outputs, (backward, given, kernels)


def _backward(definition: nnx.GraphDef, kept: tuple, gradient: jax.Array) -> tuple:
    del definition
    backward, given, kernels = kept
    of_rest, of_x, of_outputs = backward(gradient)

    def of_kernel(path: tuple, kernel: jax.Array) -> jax.Array:
        name = path[0].key
        # Of each part of the batch, where the kernel has copies (see `sharding.copies`).
        parts = kernel.shape[:-2]

        def rows(each: list[dict]) -> jax.Array:
            return jnp.concatenate(
                [one[name].reshape(*parts, -1, one[name].shape[-1]) for one in each], axis=-2
            )

        return jnp.einsum(
            "...nc,...nd->...cd",
            rows(given),
            rows(of_outputs),
            preferred_element_type=kernel.dtype,
        )

    return jax.tree_util.tree_map_with_path(of_kernel, kernels), of_rest, of_x, None, None


_repeat.defvjp(_forward, _backward)
