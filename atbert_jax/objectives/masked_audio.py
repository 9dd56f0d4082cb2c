"""Masked audio modelling: predict the CNN's features of masked segments.

As in MuLaP (Manco et al. 2022), with its intended behaviour: the targets are the features as they
were before masking, evaluation asks too, and always the same, and a batch of which nothing is
masked weighs nothing.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.encoded import Encoded, fold
from atbert_jax.models.transformer import LayerNorm
from atbert_jax.models.trunk import Trunk
from atbert_jax.objectives.objective import Batch, Mean, Objective
from atbert_jax.reporting.report import Figure
from atbert_jax.reporting.tables import Table

DEFAULTS = {
    "rate": 0.15,  # with which each segment is masked
    "loss": "mse",  # or 'huber', 'kl'
    "with_text": True,  # whether the text is in view
}


def squared_error(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """(..., C) and (..., C) to (...): the mean over the features."""
    return ((predicted - target) ** 2).mean(axis=-1)


def huber(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """(..., C) and (..., C) to (...): the mean of Huber's loss with delta 1."""
    return optax.huber_loss(predicted, target).mean(axis=-1)


def divergence(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """(..., C) and (..., C) to (...): KL of the distributions that the softmaxes are."""
    wanted = jax.nn.log_softmax(target)
    return (jnp.exp(wanted) * (wanted - jax.nn.log_softmax(predicted))).sum(axis=-1)


LOSSES = {"mse": squared_error, "huber": huber, "kl": divergence}


class MaskedAudio(Objective):
    """Linear D -> D, GELU, norm, Linear D -> C at the masked segments of the audio stream.

    Each segment is masked with the probability `rate`, by zeros in the place of its features. The
    CNN has no gradient from the targets.

    Args:
        config: `config.masked_audio`, see `defaults`.
        contract: Not used.
        trunk: Has streams; gives the widths of audio, D and C, and the activation.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if there is no such loss.
    """

    defaults = DEFAULTS

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        contract: Contract,
        trunk: Trunk,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        del contract
        choices.require("config.masked_audio.loss", config.loss, LOSSES)
        self.rate, self.with_text = config.rate, config.with_text
        self.distance, self.activation = LOSSES[config.loss], trunk.activation
        width = trunk.stream_widths["audio"]
        self.dense = nnx.Linear(width, width, rngs=rngs)
        self.norm = LayerNorm(width, rngs=rngs)
        self.output = nnx.Linear(width, trunk.embedding_widths["audio"], rngs=rngs)

    def corrupt(self, batch: Batch, key: jax.Array) -> Batch:
        """Adds `masked_segments` (B, S), 1 = masked.

        The draws follow the record, so in evaluation, where the key is fixed, they are fixed too.
        """
        mask = batch["segment_mask"]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["record"])
        draws = jax.vmap(lambda key: jax.random.uniform(key, mask.shape[1:]))(keys)
        masked = (draws < self.rate) * mask * batch["valid"][:, None]
        return batch | {"masked_segments": masked}

    def _losses(self, model: Trunk, batch: Batch, key: jax.Array | None) -> jax.Array:
        """(B, S), of all segments."""
        embedded = model.embed_audio(batch, fold(key, 0))
        hidden = jnp.where(batch["masked_segments"][..., None] > 0, 0, embedded.hidden)
        audio = model.contextualize_audio(Encoded(hidden, embedded.mask), fold(key, 1))
        text = model.encode_text(batch, fold(key, 2)) if self.with_text else None
        audio, _ = model.fuse_streams(audio, text, fold(key, 3))
        states = audio.hidden[:, 1:].astype(jnp.float32)  # without the summary
        predicted = self.output(self.norm(self.activation(self.dense(states))))
        target = jax.lax.stop_gradient(embedded.hidden.astype(jnp.float32))
        return self.distance(predicted, target)

    def loss(
        self, model: Trunk, batch: Batch, key: jax.Array | None
    ) -> tuple[Mean, dict[str, Mean]]:
        """The distance of the predicted from the true features.

        Returns:
            (sum, weight) over the masked segments, and no metrics.
        """
        weights = batch["masked_segments"]
        return ((self._losses(model, batch, key) * weights).sum(), weights.sum()), {}

    def predict(self, model: Trunk, batch: Batch) -> Batch:
        """`distance` and `masked` (B,): the sum over the masked segments, and their number."""
        weights = batch["masked_segments"]
        losses = self._losses(model, batch, None)
        return {"distance": (losses * weights).sum(axis=1), "masked": weights.sum(axis=1)}

    def summarize(self, outputs: Mapping[str, np.ndarray], aggregate: str) -> dict:
        """The mean distance."""
        del aggregate
        return {"distance": float(outputs["distance"].sum() / max(outputs["masked"].sum(), 1))}

    def report(
        self, outputs: Mapping[str, np.ndarray], summary: Mapping, aggregate: str
    ) -> tuple[list[Table], list[Figure]]:
        """The distance."""
        del aggregate
        rows = [[int(outputs["masked"].sum()), summary["distance"]]]
        return [Table("Masked audio modelling", ("masked segments", "distance"), rows)], []
