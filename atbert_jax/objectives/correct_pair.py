"""Correct Pair Prediction: do this clip and this text belong together?

AVBert (Lee et al. 2021) and ATBERT's notebook, with the intended behaviour: matching and mismatched
pairs are balanced in every batch, negatives come from a derangement, the random position is drawn
for each pair among the valid ones, and 1 means match.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import lazy_loader as lazy
import ml_collections
import numpy as np
import optax
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.encoded import Encoded, fold
from atbert_jax.models.trunk import Trunk
from atbert_jax.objectives.objective import Batch, Mean, Objective
from atbert_jax.reporting.report import Figure
from atbert_jax.reporting.tables import Table

# Scikit-learn and Matplotlib take seconds to import, which predicting can do without.
metrics = lazy.load("atbert_jax.metrics.scores", suppress_warning=True)
plots = lazy.load("atbert_jax.reporting.plots", suppress_warning=True)

SUMMARY, RANDOM = 0, 1
# The states that each head sees.
INPUTS = {
    "summary_random": ((SUMMARY, RANDOM),),
    "summary": ((SUMMARY,),),
    "two_heads": ((SUMMARY,), (RANDOM,)),
}
DEFAULTS = {
    "inputs": "summary_random",  # or 'summary', 'two_heads'
    "head": "mlp",  # two layers, or 'linear'
}


def derangement(valid: jax.Array, key: jax.Array) -> jax.Array:
    """A random cyclic order: each valid row gets another valid row, every one exactly once.

    Args:
        valid: (B,), 1 = real.
        key: Of the draw.

    Returns:
        (B,), int32. Rows that are not valid, and a single valid row, get themselves.
    """
    rows = jnp.arange(valid.shape[0])
    draws = jax.random.uniform(key, valid.shape)
    order = jnp.argsort(jnp.where(valid > 0, draws, 2.0))
    count = jnp.sum(valid > 0)
    following = order[(rows + 1) % jnp.maximum(count, 1)]
    following = jnp.where(rows < count, following, order)
    return jnp.zeros_like(rows).at[order].set(following)


def take_valid(mask: jax.Array, draw: jax.Array) -> jax.Array:
    """A random valid position behind the summary.

    Args:
        mask: (B, T), 1 = real.
        draw: (B,), uniform in [0, 1).

    Returns:
        (B,), int32: position p >= 1 with mask 1; 0 where there is none.
    """
    real = mask.at[:, 0].set(0) > 0
    count = real.sum(axis=1)
    wanted = jnp.minimum(jnp.floor(draw * count), count - 1) + 1
    return jnp.argmax(real & (jnp.cumsum(real, axis=1) == wanted[:, None]), axis=1)


def complete_rows(batch: Batch) -> jax.Array:
    """(B,), 1 where a valid row has both a clip and a text."""
    return batch["valid"] * batch["segment_mask"].max(axis=1) * batch["token_mask"].max(axis=1)


class PairHead(nnx.Module):
    """Linear C -> D, tanh, Linear D -> 2: logits of mismatch and match; or Linear C -> 2 alone."""

    def __init__(self, width: int, hidden: int, kind: str, *, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(width, hidden, rngs=rngs) if kind == "mlp" else None
        inner = hidden if kind == "mlp" else width
        # Indifferent at first: noise in the first logits would teach the head to predict nothing.
        self.output = nnx.Linear(inner, 2, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, states: jax.Array) -> jax.Array:
        """Maps (B, C) to (B, 2)."""
        states = states.astype(jnp.float32)
        return self.output(states if self.dense is None else jnp.tanh(self.dense(states)))


class CorrectPair(Objective):
    """Classifies pairs as matching or mismatched by the joint states.

    What the head sees is `config.correct_pair.inputs`: 'summary_random', [summary, state at a
    random position] (ATBERT); 'summary' alone; or 'two_heads', one on each, whose losses and logits
    are added (the two classifiers of AVBert). MuLaP's matching of audio and text (Manco et al.
    2022) is the 'linear' head on the summary.

    Args:
        config: `config.correct_pair`, see `defaults`.
        contract: Not used.
        trunk: Gives the width D of the summary.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if `inputs` or `head` is unknown.
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
        choices.require("config.correct_pair.inputs", config.inputs, INPUTS)
        choices.require("config.correct_pair.head", config.head, ("mlp", "linear"))
        self.inputs = INPUTS[config.inputs]
        self.heads = nnx.List(
            PairHead(len(parts) * trunk.hidden, trunk.hidden, config.head, rngs=rngs)
            for parts in self.inputs
        )

    def corrupt(self, batch: Batch, key: jax.Array) -> Batch:
        """Adds `negative` (B,), the row of the mismatched text, and `position_draw` (B, 2).

        The draws follow the record, so in evaluation, where the key is fixed, they are fixed too.
        """
        keys = jax.vmap(jax.random.fold_in, (None, 0))(fold(key, 0), batch["record"])
        draws = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
        negative = derangement(complete_rows(batch), fold(key, 1))
        return batch | {"negative": negative, "position_draw": draws}

    def _logits(
        self,
        model: Trunk,
        audio: Encoded,
        text: Encoded,
        draw: jax.Array,
        key: jax.Array | None,
    ) -> jax.Array:
        """Logits (H, B, 2) of {mismatch, match} by each head, of pairs whose sides are encoded."""
        joint = model.fuse(audio, text, key)
        position = take_valid(joint.mask, draw)
        states = (joint.hidden[:, 0], joint.hidden[jnp.arange(position.shape[0]), position])
        return jnp.stack(
            [
                head(jnp.concatenate([states[part] for part in parts], axis=1))
                for head, parts in zip(self.heads, self.inputs, strict=True)
            ]
        )

    def score(self, model: Trunk, audio: Encoded, text: Encoded, draw: jax.Array) -> jax.Array:
        """How sure the head is that clips and texts belong together; above 0 is a match.

        Args:
            model: The trunk.
            audio: From `encode_audio`, (B, S + 1, D).
            text: From `encode_text`, (B, L, D); each row is paired with the same row of `audio`.
            draw: (B,), of the random position, uniform in [0, 1).

        Returns:
            (B,), logit of a match minus logit of a mismatch.
        """
        logits = self._logits(model, audio, text, draw, None).sum(axis=0)
        return logits[:, 1] - logits[:, 0]

    def _pairs(
        self, model: Trunk, batch: Batch, key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Logits (H, 2, B, 2) of matching and mismatched pairs, and their weights (2, B)."""
        audio = model.encode_audio(batch, fold(key, 0))
        text = model.encode_text(batch, fold(key, 1))
        other = batch["negative"]

        def twice(x: jax.Array, y: jax.Array) -> jax.Array:
            return jnp.concatenate([x, y])

        texts = Encoded(twice(text.hidden, text.hidden[other]), twice(text.mask, text.mask[other]))
        clips = Encoded(twice(audio.hidden, audio.hidden), twice(audio.mask, audio.mask))
        draw = batch["position_draw"].T.reshape(-1)
        logits = self._logits(model, clips, texts, draw, fold(key, 2)).reshape(
            len(self.heads), 2, -1, 2
        )
        complete = complete_rows(batch)
        # A row whose text reads the same as the true one is no negative.
        same = (batch["token_ids"] == batch["token_ids"][other]).all(axis=1)
        weights = jnp.stack([complete, complete * complete[other] * ~same])
        return logits, weights

    def loss(
        self, model: Trunk, batch: Batch, key: jax.Array | None
    ) -> tuple[Mean, dict[str, Mean]]:
        """Cross entropy of {mismatch, match} over 2B pairs, of each head; modalities encoded once.

        Returns:
            (sum, weight) of the loss and the metric `accuracy`.
        """
        logits, weights = self._pairs(model, batch, key)
        labels = jnp.broadcast_to(jnp.array([[1], [0]]), weights.shape)
        losses = sum(
            optax.softmax_cross_entropy_with_integer_labels(each, labels) for each in logits
        )
        hits = (logits.sum(axis=0).argmax(axis=-1) == labels) * weights
        total = weights.sum()
        return ((losses * weights).sum(), total), {"accuracy": (hits.sum(), total)}

    def predict(self, model: Trunk, batch: Batch) -> Batch:
        """`score` (B, 2), logit differences of the matching and mismatched pair, and `weight`."""
        logits, weights = self._pairs(model, batch, None)
        logits = logits.sum(axis=0)
        return {"score": (logits[..., 1] - logits[..., 0]).T, "weight": weights.T}

    def summarize(self, outputs: Mapping[str, np.ndarray], aggregate: str) -> dict:
        """Pair accuracy and ROC-AUC over a split (see `evaluation.metrics.pairs`)."""
        del aggregate  # a chunk is a pair of its own
        score, weight = outputs["score"], outputs["weight"]
        match = np.broadcast_to([1, 0], score.shape)
        return metrics.pairs(score.reshape(-1), match.reshape(-1), weight.reshape(-1))

    def report(
        self, outputs: Mapping[str, np.ndarray], summary: Mapping, aggregate: str
    ) -> tuple[list[Table], list[Figure]]:
        """The pair metrics, and the scores of matching and mismatched pairs."""
        del aggregate
        names = ("accuracy", "roc_auc", "pr_auc", "pairs")
        table = Table("Correct pair prediction", names, [[summary[name] for name in names]])
        score, weight = outputs["score"], outputs["weight"]
        match = np.broadcast_to([1, 0], score.shape)
        png = plots.pair_histogram(score.reshape(-1), match.reshape(-1), weight.reshape(-1))
        note = "Above 0 the model takes the pair for a match."
        return [table], [Figure("Scores of pairs", png, note)]

    def answer(
        self, outputs: Mapping[str, np.ndarray], given: tuple[str, ...], aggregate: str
    ) -> dict:
        """`match`: the probability that the text belongs to the clip, the mean over its chunks."""
        del aggregate
        if set(given) != {"audio", "text"}:
            return {}
        return {"match": float((1 / (1 + np.exp(-outputs["score"][:, 0]))).mean())}
