"""A trunk and its objectives in one module: what is trained, saved and asked."""

import jax
import ml_collections
from flax import nnx

from atbert_jax import models, objectives
from atbert_jax.models import frontend
from input_pipeline.contract import Contract

Batch = dict[str, jax.Array]
Sums = dict[str, tuple[jax.Array, jax.Array]]


class Learner(nnx.Module):
    """The model that a config names with the objectives that it gives a weight.

    Args:
        config: The whole config.
        contract: What batches and labels look like.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if the config names an unknown model or objective, or a setting is wrong.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        self.contract = contract
        self.model = models.build(config, contract, rngs=rngs)
        self.objectives = objectives.build(config, contract, self.model.hidden, rngs=rngs)

    def prepare(self, batch: Batch, key: jax.Array) -> Batch:
        """Log-mels where the batch holds waveforms, then every objective's corruption."""
        batch = frontend.prepare(batch, self.contract)
        for number, objective in enumerate(self.objectives.values()):
            batch = objective.corrupt(batch, jax.random.fold_in(key, number))
        return batch

    def losses(self, batch: Batch, key: jax.Array | None) -> tuple[Sums, Sums]:
        """(sum, weight) of each objective's loss, and of each of its metrics as `objective/name`.

        Args:
            batch: After `prepare`.
            key: Of the dropout; None = evaluation.
        """
        losses, metrics = {}, {}
        for number, (name, objective) in enumerate(self.objectives.items()):
            own = None if key is None else jax.random.fold_in(key, number)
            losses[name], values = objective.loss(self.model, batch, own)
            metrics |= {f"{name}/{metric}": value for metric, value in values.items()}
        return losses, metrics

    def predict(self, batch: Batch) -> dict[str, Batch]:
        """Each objective's outputs (B, ...)."""
        return {
            name: objective.predict(self.model, batch)
            for name, objective in self.objectives.items()
        }
