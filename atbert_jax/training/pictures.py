"""What clips look like to a model, and what its objectives do to them, as arrays to draw."""

import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models import frontend
from atbert_jax.parallel import sharding
from atbert_jax.training.learner import Batch

# Clips that pictures are drawn of.
INPUTS, DRAWN = 4, 3


def of_inputs(batch: Mapping[str, np.ndarray], contract: Contract) -> dict[str, np.ndarray]:
    """The first clips of a batch as the model hears them, (N, H, W); the lowest row comes first."""
    batch = {name: rows[:INPUTS] for name, rows in batch.items()}
    if "frames" in batch:
        return {"frames": batch["frames"].swapaxes(1, 2)}
    clips = jax.device_get(frontend.prepare(batch, contract)["log_mel"]).transpose(0, 2, 1, 3)
    return {"log_mel": clips.reshape(*clips.shape[:2], -1)}


def make_picture_step(
    definition: nnx.GraphDef, mesh: Mesh, params: dict
) -> Callable[[dict, dict, Batch], Batch]:
    """Compiles the step that draws the first clips of a batch, as `Learner.pictures` says.

    Args:
        definition: From `state.initialize`.
        mesh: Devices; the batch is split over `data`.
        params: Shardings of the parameters.

    Returns:
        `(params, statistics, batch) -> pictures`, up to three (H, W) of each name, the lowest row
        first.
    """
    whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)

    @functools.partial(jax.jit, in_shardings=(params, whole, rows), out_shardings=whole)
    def step(params: dict, statistics: dict, batch: Batch) -> Batch:
        learner = nnx.merge(definition, params, statistics)
        # The key of evaluations, so that these are the questions that they ask.
        batch = learner.prepare(batch, jax.random.key(0))
        return {name: values[:DRAWN] for name, values in learner.pictures(batch).items()}

    return step
