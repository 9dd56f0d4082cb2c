"""A trunk and its objectives in one module: what is trained, saved and asked."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax import models, objectives
from atbert_jax.models import frontend
from atbert_jax.objectives.correct_pair import complete_rows
from input_pipeline.contract import Contract

AUDIO_FIELDS = ("log_mel", "segment_mask")
TEXT_FIELDS = ("token_ids", "token_mask")

Batch = dict[str, jax.Array]
Sums = dict[str, tuple[jax.Array, jax.Array]]


class Once:
    """A trunk that encodes the same arrays once, whoever asks.

    So objectives share an encoding, its dropout included, and running statistics move once.
    """

    def __init__(self, model: nnx.Module) -> None:
        self._model = model
        self._encoded: dict[tuple, Any] = {}
        self._inputs: list[tuple] = []  # kept, so that no other array gets their identity

    def _once(self, encode: Callable, batch: Batch, names: tuple[str, ...], key: Any) -> Any:
        inputs = tuple(batch[name] for name in names)
        identity = (encode.__name__, *map(id, inputs))
        if identity not in self._encoded:
            self._inputs.append(inputs)
            self._encoded[identity] = encode(batch, key)
        return self._encoded[identity]

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Any:
        """The trunk's `embed_audio`; the key is that of the first who asked."""
        return self._once(self._model.embed_audio, batch, AUDIO_FIELDS, key)

    def embed_text(self, batch: Batch, key: jax.Array | None) -> Any:
        """The trunk's `embed_text`; the key is that of the first who asked."""
        return self._once(self._model.embed_text, batch, TEXT_FIELDS, key)

    def encode_audio(self, batch: Batch, key: jax.Array | None) -> Any:
        """The trunk's `encode_audio`; the key is that of the first who asked."""

        def encode(batch: Batch, key: jax.Array | None) -> Any:
            return self._model.contextualize_audio(self.embed_audio(batch, key), key)

        return self._once(encode, batch, AUDIO_FIELDS, key)

    def encode_text(self, batch: Batch, key: jax.Array | None) -> Any:
        """The trunk's `encode_text`; the key is that of the first who asked."""

        def encode(batch: Batch, key: jax.Array | None) -> Any:
            return self._model.contextualize_text(self.embed_text(batch, key), key)

        return self._once(encode, batch, TEXT_FIELDS, key)

    def __getattr__(self, name: str) -> Any:
        """All else is the trunk's own."""
        return getattr(self._model, name)


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
        self.modality_dropout = config.train.modality_dropout
        self.model = models.build(config, contract, rngs=rngs)
        self.objectives = objectives.build(config, contract, self.model, rngs=rngs)

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        """What only training does to a batch: rows lose their clip or their text.

        Of the rows that have both, `config.train.modality_dropout` lose one, either as often, so
        that the model learns to do without. Objectives that need both leave them out.
        """
        if not self.modality_dropout:
            return batch
        draw = jax.random.uniform(key, batch["valid"].shape)
        complete = complete_rows(batch) > 0
        clip = complete & (draw < self.modality_dropout / 2)
        text = complete & (draw >= 1 - self.modality_dropout / 2)
        return batch | {
            "segment_mask": jnp.where(clip[:, None], 0.0, batch["segment_mask"]),
            "token_mask": jnp.where(text[:, None], 0.0, batch["token_mask"]),
        }

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
        model = Once(self.model)
        for number, (name, objective) in enumerate(self.objectives.items()):
            own = None if key is None else jax.random.fold_in(key, number)
            losses[name], values = objective.loss(model, batch, own)
            metrics |= {f"{name}/{metric}": value for metric, value in values.items()}
        return losses, metrics

    def predict(self, batch: Batch) -> dict[str, Batch]:
        """Each objective's outputs (B, ...)."""
        model = Once(self.model)
        return {
            name: objective.predict(model, batch) for name, objective in self.objectives.items()
        }
