"""One update and one evaluation, each a pure function that is compiled once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import nnx
from jax.sharding import Mesh

from atbert_jax.parallel import sharding
from atbert_jax.training.learner import Batch, Sums
from atbert_jax.training.state import Layout, TrainState, combine, split

Metrics = dict[str, jax.Array]


def total_loss(
    losses: Sums, weights: dict[str, float], normalizers: dict[str, jax.Array] | None = None
) -> jax.Array:
    """The weighted sum of the objectives' losses.

    Args:
        losses: (sum, weight) of each objective.
        weights: Of the objectives.
        normalizers: What each sum is divided by; None is its own weight.
    """
    if normalizers is None:
        normalizers = {name: weight for name, (_, weight) in losses.items()}
    return sum(
        weights[name] * value / jnp.maximum(normalizers[name], 1.0)
        for name, (value, _) in losses.items()
    )


def mean(sums: Sums) -> Metrics:
    """(sum, weight) pairs as means; 0 where the weight is 0."""
    return {name: value / jnp.maximum(weight, 1e-6) for name, (value, weight) in sums.items()}


def _micro_batches(batch: Batch, parts: int) -> Batch:
    """(B, ...) -> (parts, B / parts, ...); each part takes every parts-th row.

    The rows of a part stay spread over all devices.
    """

    def cut(x: jax.Array) -> jax.Array:
        return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)

    return {name: cut(x) for name, x in batch.items()}


def _once(body: Callable, carry: Any, inputs: Any) -> tuple:
    """`jax.lax.scan` over inputs of length 1, without a loop."""
    carry, output = body(carry, jax.tree.map(lambda x: x[0], inputs))
    return carry, jax.tree.map(lambda x: x[None], output)


def make_train_step(
    config: ml_collections.ConfigDict,
    definition: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    layout: Layout,
) -> functools.partial[tuple[TrainState, Metrics]]:
    """Compiles `(state, batch) -> (state, metrics)`; the state given is consumed.

    The loss is reduced once over the whole batch, also when it is computed in
    `config.train.accumulate` micro-batches: the weights do not depend on the parameters, so a first
    pass that computes nothing but them gives the normalizers. Pairs and running statistics are
    those of the micro-batches.

    Args:
        config: The whole config.
        definition: From `state.initialize`.
        optimizer: From `optimizer.build`.
        mesh: Devices; the batch is split over `data`.
        layout: Of the state.

    Returns:
        The step. Its metrics are scalars: `loss`, each objective's `loss` and own metrics,
        `gradient_norm` of what is trained, and `nonfinite_steps` (in all) and
        `nonfinite_in_a_row`, steps whose loss or gradient was not finite and that changed nothing.
    """
    weights, parts = config.objectives.to_dict(), config.train.accumulate
    dtype = jnp.dtype(config.model.dtype)
    # Even a loop of one round keeps XLA's CPU compiler from its fast convolutions (15x slower).
    over_parts = _once if parts == 1 else jax.lax.scan

    def losses(params: dict, statistics: dict, batch: Batch, key: jax.Array) -> tuple:
        learner = nnx.merge(definition, params, statistics)
        augmentation, corruption, dropout = jax.random.split(key, 3)
        batch = learner.prepare(learner.augment(batch, augmentation), corruption)
        values, metrics = learner.losses(batch, dropout)
        return values, metrics, split(learner)[2]

    def weight_sums(params: dict, statistics: dict, inputs: tuple) -> dict[str, jax.Array]:
        """The weight of each objective's loss in the whole batch."""

        def only_weights(_: None, inputs: tuple) -> tuple:
            values, _, _ = losses(params, statistics, *inputs)
            return None, {name: weight for name, (_, weight) in values.items()}

        return jax.tree.map(jnp.sum, over_parts(only_weights, None, inputs)[1])

    def step(seed: jax.Array, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        # What FSDP splits is gathered once, here, where all of it is used.
        params = sharding.gathered(
            state.params, layout.state.params, layout.whole, layout.copies, dtype
        )
        trained, frozen = state.partition(params)
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        inputs = _micro_batches(batch, parts), jax.random.split(key, parts)
        # Those of one micro-batch are its own weights.
        normalizers = weight_sums(params, state.statistics, inputs) if parts > 1 else None

        def objective(trained: dict, statistics: dict, batch: Batch, key: jax.Array) -> tuple:
            params = sharding.with_copies(combine(trained, frozen), layout.copies)
            values, metrics, statistics = losses(params, statistics, batch, key)
            return total_loss(values, weights, normalizers), (values, metrics, statistics)

        def accumulate(carry: tuple, inputs: tuple) -> tuple:
            gradients, statistics = carry
            (_, (values, metrics, statistics)), update = jax.value_and_grad(
                objective, has_aux=True
            )(trained, statistics, *inputs)
            return (jax.tree.map(jnp.add, gradients, update), statistics), (values, metrics)

        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), trained)
        (gradients, statistics), sums = over_parts(accumulate, (zeros, state.statistics), inputs)
        # Summed over `data` before they are split: else XLA gathers activations, to compute each
        # device's part of a gradient whole.
        whole, _ = state.partition(layout.whole)
        gradients = jax.lax.with_sharding_constraint(gradients, whole)
        values, metrics = jax.tree.map(lambda x: x.sum(), sums)
        report = mean({f"{name}/loss": pair for name, pair in values.items()} | metrics)
        report["loss"] = total_loss(values, weights)
        report["gradient_norm"] = optax.tree.norm(gradients)
        return update(state, gradients, statistics, report)

    def update(
        state: TrainState, gradients: dict, statistics: dict, report: Metrics
    ) -> tuple[TrainState, Metrics]:
        """The next state; the same one, a step further, where loss or gradient is not finite."""
        gradients = jax.lax.with_sharding_constraint(gradients, layout.state.trained)
        updates, moments = optimizer.update(gradients, state.optimizer, state.trained)
        trained = optax.apply_updates(state.trained, updates)
        new = state.replace(trained=trained, statistics=statistics, optimizer=moments)
        finite = jnp.isfinite(report["loss"]) & jnp.isfinite(report["gradient_norm"])
        new = jax.tree.map(lambda x, old: jnp.where(finite, x, old), new, state)
        counts = {
            "nonfinite_steps": state.nonfinite_steps + ~finite,
            "nonfinite_in_a_row": jnp.where(finite, 0, state.nonfinite_in_a_row + 1),
        }
        return new.replace(step=state.step + 1, **counts), report | counts

    everywhere, rows = sharding.replicated(mesh), sharding.over_batch(mesh)
    compiled = jax.jit(
        step,
        in_shardings=(everywhere, layout.state, rows),
        out_shardings=(layout.state, everywhere),
        donate_argnums=1,
    )
    # As an argument, so that runs that differ in it alone share one program in the cache.
    return functools.partial(compiled, config.seed)


# What is kept of each batch beside the objectives' outputs, also of each of several tasks.
KEPT = ("record", "labels", "label_mask", "valid")


def make_evaluation_step(
    definition: nnx.GraphDef, mesh: Mesh, params: dict
) -> Callable[[dict, dict, Batch], tuple[tuple[Sums, Sums], dict[str, Batch], Batch]]:
    """Compiles the step that learns nothing.

    Corruption is drawn from a fixed key, so every evaluation asks the same questions.

    Args:
        definition: From `state.initialize`.
        mesh: Devices; the batch is split over `data`.
        params: Shardings of the parameters.

    Returns:
        `(params, statistics, batch) -> ((losses, metrics), outputs, kept)`, all of the whole batch
        and on every process; `kept` are the fields `KEPT` of the batch.
    """
    whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)

    @functools.partial(jax.jit, in_shardings=(params, whole, rows), out_shardings=whole)
    def step(params: dict, statistics: dict, batch: Batch) -> tuple:
        learner = nnx.merge(definition, params, statistics)
        kept = {name: rows for name, rows in batch.items() if name.split("/")[0] in KEPT}
        batch = learner.prepare(batch, jax.random.key(0))
        return learner.losses(batch, None), learner.predict(batch), kept

    return step
