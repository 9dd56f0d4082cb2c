"""A trained model from its folder, ready to answer."""

import dataclasses
from pathlib import Path
from typing import Any

import ml_collections
from flax import nnx

from atbert_jax.training import checkpoint, sharding
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import define
from input_pipeline.contract import Contract


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model with all that is needed to use it.

    Attributes:
        workdir: Its folder.
        step: Of the checkpoint.
        config: It was trained with.
        contract: What it must be fed, and what its outputs mean.
        tokenizer: Of its text.
        definition: Its structure.
        params: Its parameters, nested dicts.
        statistics: Its running statistics.
    """

    workdir: Path
    step: int
    config: ml_collections.ConfigDict
    contract: Contract
    tokenizer: Any
    definition: nnx.GraphDef
    params: dict
    statistics: dict

    @property
    def learner(self) -> Learner:
        """The module itself, for what its objectives can do without a batch."""
        return nnx.merge(self.definition, self.params, self.statistics)


def load(workdir: Path, step: int | None = None) -> Trained:
    """Reads a checkpoint folder.

    Args:
        workdir: The folder that a training run wrote.
        step: Which checkpoint; None is the best one.

    Raises:
        checkpoint.CheckpointError: if the folder is not that of a run, or has no such checkpoint.
    """
    config, contract, tokenizer = checkpoint.load_run(workdir)
    definition, params, statistics = define(config, contract)
    checkpoints = checkpoint.Checkpoints(workdir)
    found = checkpoints.best if step is None else step
    if found is None:
        raise checkpoint.CheckpointError(f"{workdir}: holds no checkpoint yet; train there first")
    placement = sharding.replicated(sharding.make_mesh())
    params, statistics = checkpoints.restore_model(
        found, sharding.placed(params, placement), sharding.placed(statistics, placement)
    )
    checkpoints.close()
    return Trained(workdir, found, config, contract, tokenizer, definition, params, statistics)
