"""The training state: a pytree of plain dicts of arrays, and the functions that make one."""

import functools
from collections.abc import Container, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import nnx, traverse_util
from jax.sharding import Mesh

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.keys import Keys
from atbert_jax.parallel import sharding
from atbert_jax.training.learner import Learner


def partition(params: dict, frozen: Container[tuple]) -> tuple[dict, dict]:
    """Nested dicts as what is trained and what is frozen; `combine` puts them together again.

    Args:
        params: Of anything, by module name.
        frozen: The paths that are frozen, as `Learner.frozen` has them.
    """
    flat = traverse_util.flatten_dict(params)
    trained = {path: value for path, value in flat.items() if path not in frozen}
    kept = {path: value for path, value in flat.items() if path in frozen}
    return traverse_util.unflatten_dict(trained), traverse_util.unflatten_dict(kept)


def combine(trained: dict, frozen: dict) -> dict:
    """The nested dicts that `partition` took apart."""
    return traverse_util.unflatten_dict(
        traverse_util.flatten_dict(trained) | traverse_util.flatten_dict(frozen)
    )


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes, and what it computes with.

    Attributes:
        step: Number of steps done, int32 scalar.
        nonfinite_steps: How many of them changed nothing, since their loss or gradient was not
            finite, int32 scalar.
        nonfinite_in_a_row: How many of the last ones, int32 scalar.
        trained: Parameters that training changes, nested dicts by module name.
        frozen: Those that it leaves as they are, likewise.
        statistics: Running statistics of batch normalisation, likewise.
        optimizer: optax's state, of `trained`.
    """

    step: jax.Array
    nonfinite_steps: jax.Array
    nonfinite_in_a_row: jax.Array
    trained: dict
    frozen: dict
    statistics: dict
    optimizer: Any

    @property
    def params(self) -> dict:
        """All parameters, which checkpoints and models do not tell apart."""
        return combine(self.trained, self.frozen)

    def partition(self, params: dict) -> tuple[dict, dict]:
        """Anything by the names of `params`, as what is trained and what is frozen here."""
        return partition(params, traverse_util.flatten_dict(self.frozen))

    def with_model(self, params: dict, statistics: dict) -> "TrainState":
        """The state with these parameters and statistics instead."""
        trained, frozen = self.partition(params)
        return self.replace(trained=trained, frozen=frozen, statistics=statistics)

    def filled(self, arrays: Mapping[str, jax.Array]) -> "TrainState":
        """The state with arrays of a model by name, placed as those that they replace."""

        def fill(path: tuple, old: jax.Array) -> jax.Array:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return jax.device_put(arrays[name], old.sharding) if name in arrays else old

        model = (self.params, self.statistics)
        return self.with_model(*(jax.tree.map_with_path(fill, tree) for tree in model))


def fresh(
    params: dict,
    statistics: dict,
    optimizer: optax.GradientTransformation,
    frozen: Container[tuple] = (),
) -> TrainState:
    """The state before the first step; `frozen` are the paths of parameters that stay."""
    zeros = (jnp.zeros((), jnp.int32) for _ in range(3))
    trained, kept = partition(params, frozen)
    return TrainState(*zeros, trained, kept, statistics, optimizer.init(trained))


@flax.struct.dataclass
class Layout:
    """Where everything lives.

    Attributes:
        shapes: A new `TrainState` of shapes.
        state: A `TrainState` of shardings.
        whole: Of the parameters where they are used: without what FSDP splits.
        copies: Of the copies of parameters for the parts of a batch (see `sharding.copies`).
    """

    shapes: TrainState
    state: TrainState
    whole: dict
    copies: dict


def split(learner: Learner) -> tuple[nnx.GraphDef, dict, dict]:
    """A learner as its static definition, parameters and statistics."""
    definition, params, statistics = nnx.split(learner, nnx.Param, nnx.BatchStat)
    return definition, nnx.to_pure_dict(params), nnx.to_pure_dict(statistics)


def abstract(config: ml_collections.ConfigDict, contract: Contract) -> Learner:
    """A learner of shapes; allocates nothing.

    Raises:
        ValueError: if the config names an unknown model or objective, or a setting is wrong.
    """
    return nnx.eval_shape(lambda: Learner(config, contract, rngs=Keys(0)))


def define(
    config: ml_collections.ConfigDict, contract: Contract
) -> tuple[nnx.GraphDef, dict, dict]:
    """The definition, and the shapes of the parameters and statistics; see `abstract`."""
    return split(abstract(config, contract))


def place(
    learner: Learner, config: ml_collections.ConfigDict, mesh: Mesh, *, fsdp: bool
) -> tuple[dict, dict]:
    """Where the parameters and the running statistics of a learner of shapes live.

    Raises:
        ValueError: if an axis cannot be split evenly.
    """
    if "heads" in config.model:
        sharding.require_heads(config.model.heads, mesh)
    everywhere = sharding.replicated(mesh)
    return (
        sharding.of_parameters(nnx.state(learner, nnx.Param), mesh, fsdp=fsdp),
        jax.tree.map(lambda _: everywhere, split(learner)[2]),
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
    learner, everywhere = abstract(config, contract), sharding.replicated(mesh)
    new = functools.partial(fresh, optimizer=optimizer, frozen=learner.frozen)
    shapes = jax.eval_shape(new, *split(learner)[1:])
    params, statistics = place(learner, config, mesh, fsdp=config.sharding.fsdp)
    trained, frozen = partition(params, learner.frozen)
    moments = optax.tree.map_params(
        optimizer,
        lambda _, where: where,
        shapes.optimizer,
        trained,
        transform_non_params=lambda _: everywhere,
    )
    return Layout(
        shapes,
        TrainState(*[everywhere] * 3, trained, frozen, statistics, moments),
        whole=place(learner, config, mesh, fsdp=False)[0],
        copies=sharding.copies(nnx.state(learner, nnx.Param), mesh),
    )


def initialize(
    config: ml_collections.ConfigDict,
    contract: Contract,
    optimizer: optax.GradientTransformation,
    layout: Layout,
) -> tuple[nnx.GraphDef, TrainState]:
    """The definition, and a new state, random by `config.seed`, placed on the devices.

    Raises:
        ValueError: if the config names an unknown model or objective, or a setting is wrong.
    """

    # One program instead of a thousand small ones.
    @functools.partial(jax.jit, out_shardings=layout.state)
    def values(key: jax.Array) -> TrainState:
        learner = Learner(config, contract, rngs=Keys(key))
        return fresh(*split(learner)[1:], optimizer, learner.frozen)

    return define(config, contract)[0], values(jax.random.key(config.seed))
