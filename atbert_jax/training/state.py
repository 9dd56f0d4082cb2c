"""The training state: a pytree of plain dicts of arrays, and the functions that make one."""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import nnx

from atbert_jax.training.learner import Learner
from input_pipeline.contract import Contract


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
        step: Number of updates done, int32 scalar.
        params: Trained arrays, nested dicts by module name.
        statistics: Running statistics of batch normalisation, likewise.
        optimizer: optax's state.
    """

    step: jax.Array
    params: dict
    statistics: dict
    optimizer: Any


def split(learner: Learner) -> tuple[nnx.GraphDef, dict, dict]:
    """A learner as its static definition, parameters and statistics."""
    definition, params, statistics = nnx.split(learner, nnx.Param, nnx.BatchStat)
    return definition, nnx.to_pure_dict(params), nnx.to_pure_dict(statistics)


def define(
    config: ml_collections.ConfigDict, contract: Contract
) -> tuple[nnx.GraphDef, dict, dict]:
    """The definition, and the shapes of the parameters and statistics; allocates nothing.

    Raises:
        ValueError: if the config names an unknown model or objective, or a setting is wrong.
    """
    shapes = nnx.eval_shape(lambda: Learner(config, contract, rngs=nnx.Rngs(0)))
    return split(shapes)


def initialize(
    config: ml_collections.ConfigDict,
    contract: Contract,
    optimizer: optax.GradientTransformation,
    placement: jax.sharding.Sharding,
) -> tuple[nnx.GraphDef, TrainState]:
    """A new state, random by `config.seed`, placed on the devices.

    Raises:
        ValueError: if the config names an unknown model or objective, or a setting is wrong.
    """
    definition, _, _ = define(config, contract)

    # One program instead of a thousand small ones.
    @functools.partial(jax.jit, out_shardings=placement)
    def values(key: jax.Array) -> TrainState:
        _, params, statistics = split(Learner(config, contract, rngs=nnx.Rngs(key)))
        return TrainState(jnp.zeros((), jnp.int32), params, statistics, optimizer.init(params))

    return definition, values(jax.random.key(config.seed))
