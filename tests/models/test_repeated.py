"""A layer that is applied again and again: its gradients are those of a plain loop."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.keys import Keys
from atbert_jax.models.repeated import repeat
from atbert_jax.models.transformer import EncoderLayer
from tests import tiny

TIMES = 3
MASK = jnp.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1] * 5, [1, 0, 0, 0, 0]])


def make_layer(dtype: str = "float32") -> EncoderLayer:
    config = tiny.make_config(**{"model.dropout": 0.1}).model
    return tiny.make_module(lambda: EncoderLayer(config, dtype=jnp.dtype(dtype), rngs=Keys(0)))


def plainly(layer: EncoderLayer, x: jax.Array, mask: jax.Array, keys: list) -> jax.Array:
    for key in keys:
        x = layer(x, mask, key)
    return x


def both_ways(run, layer: EncoderLayer, key: jax.Array | None, copies: int = 0):
    """The outputs, and the gradients of the layer's parameters and of x."""
    definition, state = nnx.split(layer)
    if copies:
        state = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.stack([leaf] * copies) if path[-2].key == "kernel" else leaf,
            state,
        )
    x = jax.random.normal(jax.random.key(1), (*MASK.shape, layer.query.in_features))
    keys = [None] * TIMES if key is None else list(jax.random.split(key, TIMES))

    def total(state, x):
        outputs = run(nnx.merge(definition, state), x, MASK, keys).astype(jnp.float32)
        return jnp.sum(outputs**2 * jnp.arange(outputs.shape[-1])), outputs

    def run_both(state, x):
        return jax.grad(total, (0, 1), has_aux=True)(state, x)

    return jax.jit(run_both), (state, x)


@pytest.mark.parametrize("copies", [0, 2])
@pytest.mark.parametrize("key", [None, jax.random.key(2)], ids=["evaluation", "dropout"])
def test_outputs_and_gradients_are_those_of_a_loop(key, copies):
    layer = make_layer()
    found, expected = (
        function(*given)
        for function, given in (both_ways(run, layer, key, copies) for run in (repeat, plainly))
    )
    np.testing.assert_array_equal(found[1], expected[1])
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[0]))
    for one, other in zip(*map(jax.tree.leaves, (found[0], expected[0])), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7 * largest)


def test_in_bfloat16_gradients_of_kernels_stay_float32_and_are_as_exact():
    exact, given = both_ways(plainly, make_layer(), None)
    exact = exact(*given)[0][0]
    errors = {}
    for run in (repeat, plainly):
        function, given = both_ways(run, make_layer("bfloat16"), None)
        (gradients, _), _ = function(*given)
        assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}
        squares = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), gradients, exact)
        errors[run] = sum(jax.tree.leaves(squares))
    assert errors[repeat] < 1.1 * errors[plainly]


@pytest.mark.parametrize(("run", "products"), [(repeat, 1), (plainly, TIMES)])
def test_one_product_is_the_gradient_of_a_kernel(run, products):
    layer = make_layer()
    function, given = both_ways(run, layer, None)
    rows, columns = layer.ffn.in_features, layer.ffn.out_features
    shape = rf"dot_general.*-> tensor<(?:{rows}x{columns}|{columns}x{rows})xf32>"
    assert (
        len(re.findall(shape, function.lower(*given).as_text())) == 2 * products
    )  # ffn, ffn_output
