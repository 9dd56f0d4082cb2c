"""The training state: a pytree of plain dicts of arrays, and the functions that make one."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import nnx
from jax.sharding import Mesh

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.keys import Keys
from atbert_jax.parallel import sharding
from atbert_jax.training import freezing
from atbert_jax.training.learner import Learner


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
        step: Number of steps done, int32 scalar.
        nonfinite_steps: How many of them changed nothing, since their loss or gradient was not
            finite, int32 scalar.
        nonfinite_in_a_row: How many of the last ones, int32 scalar.
        params: All parameters, nested dicts by module name.
        statistics: Running statistics of batch normalisation, likewise.
        optimizer: optax's state, of the parameters that are not frozen.
    """

    step: jax.Array
    nonfinite_steps: jax.Array
    nonfinite_in_a_row: jax.Array
    params: dict
    statistics: dict
    optimizer: Any


def fresh(
    params: dict,
    statistics: dict,
    optimizer: optax.GradientTransformation,
    frozen: Sequence[str] = (),
) -> TrainState:
    """The state before the first step; `frozen` is `config.optimizer.frozen`."""
    zeros = (jnp.zeros((), jnp.int32) for _ in range(3))
    trained, _ = freezing.partition(params, frozen)
    return TrainState(*zeros, params, statistics, optimizer.init(trained))


@flax.struct.dataclass
class Layout:
    """Where everything lives.

    Attributes:
        state: A `TrainState` of shardings.
        whole: Of the parameters where they are used: without what FSDP splits.
        copies: Of the copies of parameters for the parts of a batch (see `sharding.copies`).
    """

    state: TrainState
    whole: dict
    copies: dict


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
    return split(_shapes(config, contract))


def _shapes(config: ml_collections.ConfigDict, contract: Contract) -> Learner:
    return nnx.eval_shape(lambda: Learner(config, contract, rngs=Keys(0)))


def place(
    config: ml_collections.ConfigDict, contract: Contract, mesh: Mesh, *, fsdp: bool
) -> tuple[dict, dict]:
    """Where the parameters and the running statistics live; allocates nothing.

    Raises:
        ValueError: if an axis cannot be split evenly.
    """
    return _place(_shapes(config, contract), config, mesh, fsdp=fsdp)


def _place(
    shapes: Learner, config: ml_collections.ConfigDict, mesh: Mesh, *, fsdp: bool
) -> tuple[dict, dict]:
    if "heads" in config.model:
        sharding.require_heads(config.model.heads, mesh)
    _, params, statistics = nnx.split(shapes, nnx.Param, nnx.BatchStat)
    everywhere = sharding.replicated(mesh)
    return (
        sharding.of_parameters(params, mesh, fsdp=fsdp),
        jax.tree.map(lambda _: everywhere, nnx.to_pure_dict(statistics)),
    )


def lay_out(
    config: ml_collections.ConfigDict,
    contract: Contract,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
) -> Layout:
    """Where each array of the state lives, by `config.sharding`; allocates nothing.

    Raises:
        ValueError: if an axis cannot be split evenly.
    """
    frozen, shapes = config.optimizer.frozen, _shapes(config, contract)
    params, statistics = _place(shapes, config, mesh, fsdp=config.sharding.fsdp)
    trained, _ = freezing.partition(split(shapes)[1], frozen)
    everywhere = sharding.replicated(mesh)
    moments = optax.tree.map_params(
        optimizer,
        lambda _, where: where,
        jax.eval_shape(optimizer.init, trained),
        freezing.partition(params, frozen)[0],
        transform_non_params=lambda _: everywhere,
    )
    whole, _ = _place(shapes, config, mesh, fsdp=False)
    copies = sharding.copies(nnx.state(shapes, nnx.Param), mesh)
    return Layout(TrainState(*[everywhere] * 3, params, statistics, moments), whole, copies)


def initialize(
    config: ml_collections.ConfigDict,
    contract: Contract,
    optimizer: optax.GradientTransformation,
    layout: Layout,
) -> tuple[nnx.GraphDef, TrainState]:
    """A new state, random by `config.seed`, placed on the devices.

    Raises:
        ValueError: if the config names an unknown model or objective, or a setting is wrong.
    """
    definition, _, _ = define(config, contract)

    # One program instead of a thousand small ones.
    @functools.partial(jax.jit, out_shardings=layout.state)
    def values(key: jax.Array) -> TrainState:
        _, params, statistics = split(Learner(config, contract, rngs=Keys(key)))
        return fresh(params, statistics, optimizer, config.optimizer.frozen)

    return definition, values(jax.random.key(config.seed))
