"""Masked Embedding Prediction of AVBert (Lee et al. 2021): what was under the mask?"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.encoded import Encoded, fold
from atbert_jax.models.transformer import TABLE_INITIALIZER
from atbert_jax.models.trunk import Trunk
from atbert_jax.objectives import negatives
from atbert_jax.objectives.objective import Batch, Mean, Objective
from atbert_jax.objectives.views import AUDIO, TEXT
from atbert_jax.reporting.report import Figure
from atbert_jax.reporting.tables import Table

STREAMS = (AUDIO, TEXT)
DEFAULTS = {
    "streams": ("audio", "text"),  # whose embeddings are masked
    "rate": 0.15,  # of the positions, that are masked
    # Or 'cans_dissimilar', 'current_minibatch', 'current_sequence'.
    "negatives": "cans_similar",
    "count": 64,  # of negatives
    "detach_targets": False,  # no gradient through what was under the mask
}


def choose(maskable: jax.Array, rate: float, draw: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Random positions, `rate` of those there are and at least one, where there is any.

    Args:
        maskable: (B, T), whether a position may be chosen.
        rate: Share.
        draw: (B, T), uniform in [0, 1).

    Returns:
        Positions (B, M), and (B, M) with 1 where it is chosen; M is `rate` of T.
    """
    most = max(1, round(rate * maskable.shape[1]))
    _, positions = jax.lax.top_k(jnp.where(maskable, draw, -1.0), most)
    count = maskable.sum(axis=1)
    wanted = jnp.minimum(jnp.maximum(1, jnp.round(rate * count)), count)
    return positions, (jnp.arange(most) < wanted[:, None]).astype(jnp.float32)


class Compatibility(nnx.Module):
    """log I(x, o) = FFN(o)^T W x, with FFN a linear map and a GELU.

    Args:
        hidden: Width of o.
        width: Width of x.
        rngs: Keys of the initial values.
    """

    def __init__(self, hidden: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(hidden, hidden, rngs=rngs)
        # Indifferent at first: the loss starts at ln(K + 1).
        self.bilinear = nnx.Linear(
            hidden, width, use_bias=False, kernel_init=nnx.initializers.zeros, rngs=rngs
        )
        # What stands in the place of a masked embedding.
        self.mask = nnx.Param(TABLE_INITIALIZER(rngs.params(), (width,), jnp.float32))

    def __call__(self, outputs: jax.Array, embeddings: jax.Array) -> jax.Array:
        """(Q, N) from outputs (Q, D) and embeddings (N, E), float32."""
        queries = self.bilinear(nnx.gelu(self.dense(outputs.astype(jnp.float32))))
        return queries @ embeddings.astype(jnp.float32).T


class MaskedEmbedding(Objective):
    """InfoNCE between the state at a masked position and what was there, on each stream alone.

    Audio's embeddings are the CNN's, one for each segment; text's are those of words. A sequence is
    masked after embedding, so nothing is embedded twice; special tokens are never masked. Negatives
    are other positions of the same modality in the global batch, of which a word that is the same
    is none.

    The papers do not say what share is masked: here 15 % are, at least one in each sequence, always
    by a learned vector. There is no temperature, since W can absorb it.

    Args:
        config: `config.masked_embedding`, see `defaults`.
        contract: Says which tokens are words.
        trunk: Has streams; gives their widths and those of the embeddings.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if a setting is unknown; the message names it.
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
        self.contract = contract
        where = "config.masked_embedding"
        choices.require(f"{where}.negatives", config.negatives, negatives.SAMPLERS)
        streams = choices.require_some(f"{where}.streams", config.streams, STREAMS)
        self.negatives, self.count = config.negatives, config.count
        self.rate, self.detach_targets = config.rate, config.detach_targets
        self.streams = nnx.Dict(
            {
                stream: Compatibility(
                    trunk.stream_widths[stream], trunk.embedding_widths[stream], rngs=rngs
                )
                for stream in streams
            }
        )

    def corrupt(self, batch: Batch, key: jax.Array) -> Batch:
        """Adds `masked_embedding_draws`: what chooses positions and negatives in `loss`.

        The masks themselves belong to embeddings, which are not there yet.
        """
        return batch | {"masked_embedding_draws": jax.random.key_data(key)}

    def _of_stream(
        self, stream: str, model: Trunk, batch: Batch, key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Losses (B, M) of the masked positions, whether they were hit, and their weights."""
        number = STREAMS.index(stream)
        draws = fold(jax.random.wrap_key_data(batch["masked_embedding_draws"]), number)
        embed = model.embed_audio if stream == AUDIO else model.embed_text
        embedded = embed(batch, fold(key, number))
        maskable = (embedded.mask > 0) & (batch["valid"][:, None] > 0)
        # Positions with the same word are no negatives of each other; every segment is its own.
        words = jnp.arange(maskable.size).reshape(maskable.shape)
        if stream == TEXT:
            words = batch["token_ids"]
            maskable &= jnp.asarray(self.contract.is_word)[words]
        draw = jax.random.uniform(fold(draws, 0), maskable.shape)
        positions, weights = choose(maskable, self.rate, draw)
        outputs = self._states(stream, model, embedded, positions, weights, fold(key, 2))

        rows, length = maskable.shape
        masked = (positions + length * jnp.arange(rows)[:, None]).reshape(-1)
        words, row = words.reshape(-1), jnp.arange(maskable.size) // length
        targets = embedded.hidden.reshape(maskable.size, -1)
        if self.detach_targets:
            targets = jax.lax.stop_gradient(targets)
        index, there = negatives.draw(
            self.negatives,
            targets[masked],
            targets,
            maskable.reshape(-1) & (words[masked][:, None] != words),
            row[masked][:, None] == row,
            self.count,
            fold(draws, 1),
        )
        scores = self.streams[stream](outputs.reshape(len(masked), -1), targets)
        positive = jnp.take_along_axis(scores, masked[:, None], axis=1)
        others = jnp.where(there, jnp.take_along_axis(scores, index, axis=1), -jnp.inf)
        losses = jax.nn.logsumexp(jnp.concatenate([positive, others], axis=1), axis=1)
        losses, hits = losses - positive[:, 0], (positive > others).all(axis=1)
        return losses.reshape(weights.shape), hits.reshape(weights.shape), weights

    def _states(
        self,
        stream: str,
        model: Trunk,
        embedded: Encoded,
        positions: jax.Array,
        weights: jax.Array,
        key: jax.Array | None,
    ) -> jax.Array:
        """The stream's own states (B, M, D) at positions (B, M) that are masked by `weights`."""
        length = embedded.mask.shape[1]
        here = (positions[..., None] == jnp.arange(length)) & (weights[..., None] > 0)
        mask = self.streams[stream].mask[...].astype(embedded.hidden.dtype)
        hidden = jnp.where(here.any(axis=1)[..., None], mask, embedded.hidden)
        masked = Encoded(hidden, embedded.mask)
        if stream == AUDIO:
            audio = model.contextualize_audio(masked, key)
            states, _ = model.fuse_streams(audio, None, fold(key, 2))
        else:
            text = model.contextualize_text(masked, key)
            _, states = model.fuse_streams(None, text, fold(key, 2))
        states = states.hidden[:, -length:]  # without audio's start of sequence
        return jnp.take_along_axis(states, positions[..., None], axis=1)

    def loss(
        self, model: Trunk, batch: Batch, key: jax.Array | None
    ) -> tuple[Mean, dict[str, Mean]]:
        """-log(I(x, o) / (I(x, o) + sum of I(x_j, o) over the negatives j)).

        Returns:
            (sum, weight) over the masked positions of all streams, and the metrics
            `<stream>_accuracy`, how often the true embedding fits best.
        """
        total = count = jnp.zeros(())
        metrics = {}
        for stream in self.streams:
            losses, hits, weights = self._of_stream(stream, model, batch, key)
            total += (losses * weights).sum()
            count += weights.sum()
            metrics[f"{stream}_accuracy"] = ((hits * weights).sum(), weights.sum())
        return (total, count), metrics

    def predict(self, model: Trunk, batch: Batch) -> Batch:
        """`<stream>_hits` and `<stream>_masked` (B,): positions that were found, and all."""
        outputs = {}
        for stream in self.streams:
            _, hits, weights = self._of_stream(stream, model, batch, None)
            outputs[f"{stream}_hits"] = (hits * weights).sum(axis=1)
            outputs[f"{stream}_masked"] = weights.sum(axis=1)
        return outputs

    def summarize(self, outputs: Mapping[str, np.ndarray], aggregate: str) -> dict:
        """How often the true embedding fits best, by stream."""
        del aggregate
        return {
            f"{stream}_accuracy": float(
                outputs[f"{stream}_hits"].sum() / max(outputs[f"{stream}_masked"].sum(), 1)
            )
            for stream in self.streams
        }

    def report(
        self, outputs: Mapping[str, np.ndarray], summary: Mapping, aggregate: str
    ) -> tuple[list[Table], list[Figure]]:
        """The accuracies."""
        del aggregate
        rows = [
            [stream, int(outputs[f"{stream}_masked"].sum()), summary[f"{stream}_accuracy"]]
            for stream in self.streams
        ]
        note = f"The true embedding among up to {self.count} {self.negatives} negatives."
        columns = ("stream", "masked positions", "accuracy")
        return [Table("Masked embedding prediction", columns, rows, note)], []
