"""What a tagger's network learns in one step."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx


def make_gradient(network: nnx.Module) -> tuple[dict, Callable]:
    """Its parameters, and a function of them, clips (N, samples) and mask (N,).

    The function gives the gradient of what the features of the real clips add up to, and beside it
    the features and the statistics after the step.
    """
    definition, params, rest = nnx.split(network, nnx.Param, ...)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def run(params, batch, mask):
        network = nnx.merge(definition, params, rest, copy=True)
        features = network(batch, mask, jax.random.key(0))
        statistics = nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))
        return (mask @ jnp.sin(features)).sum(), (features, statistics)

    return params, run
