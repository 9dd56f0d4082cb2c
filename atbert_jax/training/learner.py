"""A trunk and its objectives in one module, which is trained, saved and evaluated."""

import operator
from collections.abc import Callable, Collection, Sequence

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx, traverse_util

from atbert_jax import models, objectives
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models import frontend
from atbert_jax.models.encoded import Encoded
from atbert_jax.models.trunk import AUDIO_FIELDS, TEXT_FIELDS, Batch, Trunk
from atbert_jax.objectives.correct_pair import complete_rows
from atbert_jax.training import freezing

Sums = dict[str, tuple[jax.Array, jax.Array]]


class EncodeOnce:
    """A trunk, within one step, that encodes the same arrays once for all objectives.

    So they share an encoding, its dropout included, and running statistics move once. It has the
    methods of a trunk that objectives call; the key is that of the first call.

    Args:
        trunk: The trunk.
        frozen: It acts as in evaluation, whatever the key.
    """

    encode_audio, encode_text = Trunk.encode_audio, Trunk.encode_text

    def __init__(self, trunk: Trunk, *, frozen: bool = False) -> None:
        self.trunk, self.frozen = trunk, frozen
        self._known: list[tuple[Callable, tuple, Encoded]] = []

    @property
    def word_embeddings(self) -> nnx.Embed:
        """The trunk's."""
        return self.trunk.word_embeddings

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """The trunk's, once for the same audio and masks."""
        arrays = [batch.get(name) for name in (self.trunk.audio_input, *AUDIO_FIELDS)]
        return self._once(self.trunk.embed_audio, arrays, batch, key)

    def embed_text(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """The trunk's, once for the same tokens and mask."""
        arrays = [batch.get(name) for name in TEXT_FIELDS]
        return self._once(self.trunk.embed_text, arrays, batch, key)

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """The trunk's, once for the same embeddings."""
        return self._once(self.trunk.contextualize_audio, embedded, embedded, key)

    def contextualize_text(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """The trunk's, once for the same embeddings."""
        return self._once(self.trunk.contextualize_text, embedded, embedded, key)

    def fuse(self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None) -> Encoded:
        """The trunk's."""
        return self.trunk.fuse(audio, text, self._own(key))

    def fuse_streams(
        self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None
    ) -> tuple[Encoded | None, Encoded | None]:
        """The trunk's."""
        return self.trunk.fuse_streams(audio, text, self._own(key))

    def _once(
        self, encode: Callable, arrays: Sequence, given: Batch | Encoded, key: jax.Array | None
    ) -> Encoded:
        """What `encode` makes of `given`, or made of the very same arrays before."""
        for known, inputs, encoded in self._known:
            if known == encode and all(map(operator.is_, inputs, arrays)):
                return encoded
        encoded = encode(given, self._own(key))
        self._known.append((encode, tuple(arrays), encoded))
        return encoded

    def _own(self, key: jax.Array | None) -> jax.Array | None:
        return None if self.frozen else key


class Learner(nnx.Module):
    """The model that a config names with the objectives that it gives a weight.

    A module that is frozen as a whole acts in training as it does in evaluation: without dropout,
    and batch normalisation goes by its running statistics and leaves them as they are.

    Args:
        config: The whole config.
        contract: What batches and labels look like.
        rngs: Keys of the initial values.

    Attributes:
        frozen: Paths of the parameters that training leaves as they are.

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
        params = nnx.to_pure_dict(nnx.state(self, nnx.Param))
        self.frozen = freezing.find(params, config.optimizer.frozen)
        self.frozen_trunk = self._freeze(traverse_util.flatten_dict(params).keys() - self.frozen)

    def _freeze(self, trained: Collection[tuple]) -> bool:
        """Turns off dropout and statistics of frozen modules; returns if the trunk is frozen."""

        def is_frozen(place: tuple) -> bool:
            return all(path[: len(place)] != place for path in trained)

        for place, module in nnx.iter_modules(self):
            if isinstance(module, nnx.BatchNorm) and is_frozen(place):
                module.use_running_average = True
            elif isinstance(module, nnx.Dropout) and is_frozen(place[:-1]):
                module.rate = 0.0
        return is_frozen((freezing.TRUNK,))

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        """Drops modalities, in training only: rows lose their clip or their text.

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
        """Log-mels if they are the model's input, then every objective's corruption."""
        if self.model.audio_input == "log_mel":
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
        model = EncodeOnce(self.model, frozen=self.frozen_trunk)
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
        model = EncodeOnce(self.model)
        return {
            name: objective.predict(model, batch) for name, objective in self.objectives.items()
        }
