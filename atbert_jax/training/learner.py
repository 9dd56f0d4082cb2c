"""A trunk and its objectives in one module: what is trained, saved and asked."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx, traverse_util

from atbert_jax import models, objectives
from atbert_jax.models import frontend
from atbert_jax.objectives.correct_pair import complete_rows
from atbert_jax.training import freezing
from input_pipeline.contract import Contract

TEXT_FIELDS = ("token_ids", "token_mask")
AUDIO_MASKS = ("segment_mask", "frame_mask")

Batch = dict[str, jax.Array]
Sums = dict[str, tuple[jax.Array, jax.Array]]


class Once:
    """A trunk that encodes the same arrays once, whoever asks.

    So objectives share an encoding, its dropout included, and running statistics move once.

    Args:
        model: The trunk.
        frozen: It is asked as in evaluation, whatever the key.
    """

    def __init__(self, model: nnx.Module, *, frozen: bool = False) -> None:
        self._model, self._frozen = model, frozen
        self._audio_fields = (model.hears, *AUDIO_MASKS)
        self._encoded: dict[tuple, Any] = {}
        self._inputs: list[tuple] = []  # kept, so that no other array gets their identity

    def _once(self, encode: Callable, batch: Batch, names: tuple[str, ...], key: Any) -> Any:
        inputs = tuple(batch[name] for name in names if name in batch)
        identity = (encode.__name__, *map(id, inputs))
        if identity not in self._encoded:
            self._inputs.append(inputs)
            self._encoded[identity] = encode(batch, self._own(key))
        return self._encoded[identity]

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Any:
        """The trunk's `embed_audio`; the key is that of the first who asked."""
        return self._once(self._model.embed_audio, batch, self._audio_fields, key)

    def embed_text(self, batch: Batch, key: jax.Array | None) -> Any:
        """The trunk's `embed_text`; the key is that of the first who asked."""
        return self._once(self._model.embed_text, batch, TEXT_FIELDS, key)

    def encode_audio(self, batch: Batch, key: jax.Array | None) -> Any:
        """The trunk's `encode_audio`; the key is that of the first who asked."""

        def encode(batch: Batch, key: jax.Array | None) -> Any:
            return self.contextualize_audio(self.embed_audio(batch, key), key)

        return self._once(encode, batch, self._audio_fields, key)

    def encode_text(self, batch: Batch, key: jax.Array | None) -> Any:
        """The trunk's `encode_text`; the key is that of the first who asked."""

        def encode(batch: Batch, key: jax.Array | None) -> Any:
            return self.contextualize_text(self.embed_text(batch, key), key)

        return self._once(encode, batch, TEXT_FIELDS, key)

    def contextualize_audio(self, embedded: Any, key: jax.Array | None) -> Any:
        """The trunk's `contextualize_audio`."""
        return self._model.contextualize_audio(embedded, self._own(key))

    def contextualize_text(self, embedded: Any, key: jax.Array | None) -> Any:
        """The trunk's `contextualize_text`."""
        return self._model.contextualize_text(embedded, self._own(key))

    def fuse(self, audio: Any, text: Any, key: jax.Array | None) -> Any:
        """The trunk's `fuse`."""
        return self._model.fuse(audio, text, self._own(key))

    def fuse_streams(self, audio: Any, text: Any, key: jax.Array | None) -> Any:
        """The trunk's `fuse_streams`."""
        return self._model.fuse_streams(audio, text, self._own(key))

    def __getattr__(self, name: str) -> Any:
        """All else is the trunk's own."""
        return getattr(self._model, name)

    def _own(self, key: jax.Array | None) -> jax.Array | None:
        return None if self._frozen else key


class Learner(nnx.Module):
    """The model that a config names with the objectives that it gives a weight.

    A module that is frozen as a whole acts in training as it does in evaluation: without dropout,
    and batch normalisation goes by its running statistics and leaves them as they are.

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
        self.frozen_trunk = self._freeze(config.optimizer.frozen)

    def _freeze(self, frozen: Sequence[str]) -> bool:
        """Stills normalisations and dropout of what is frozen; says whether the whole trunk is."""
        params = nnx.to_pure_dict(nnx.state(self, nnx.Param))
        trained, _ = freezing.partition(params, frozen)
        paths = list(traverse_util.flatten_dict(trained))

        def is_frozen(place: tuple) -> bool:
            return all(path[: len(place)] != place for path in paths)

        for place, module in nnx.iter_modules(self):
            if isinstance(module, nnx.BatchNorm) and is_frozen(place):
                module.use_running_average = True
            elif isinstance(module, nnx.Dropout) and is_frozen(place[:-1]):
                module.rate = 0.0
        return freezing.TRUNK not in trained

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
        """Log-mels where the model hears those, then every objective's corruption."""
        if self.model.hears == "log_mel":
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
        model = Once(self.model, frozen=self.frozen_trunk)
        for number, (name, objective) in enumerate(self.objectives.items()):
            own = None if key is None else jax.random.fold_in(key, number)
            losses[name], values = objective.loss(model, batch, own)
            metrics |= {f"{name}/{metric}": value for metric, value in values.items()}
        return losses, metrics

    def pictures(self, batch: Batch) -> Batch:
        """The pictures (B, H, W) of all objectives, as `objective/name`."""
        return {
            f"{name}/{picture}": values
            for name, objective in self.objectives.items()
            for picture, values in objective.pictures(self.model, batch).items()
        }

    def predict(self, batch: Batch) -> dict[str, Batch]:
        """Each objective's outputs (B, ...)."""
        model = Once(self.model)
        return {
            name: objective.predict(model, batch) for name, objective in self.objectives.items()
        }
