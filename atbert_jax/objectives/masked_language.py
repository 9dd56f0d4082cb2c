"""Masked language modelling (Devlin et al. 2018), with or without the clip in view.

In MuLaP (Manco et al. 2022) a clip is in view, and words of mismatched pairs are not asked for.
Here every text is seen with its own clip: mismatched pairs are `correct_pair`'s alone.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import nnx

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.encoded import fold
from atbert_jax.models.transformer import LayerNorm
from atbert_jax.models.trunk import Trunk
from atbert_jax.objectives.masked_embedding import choose
from atbert_jax.objectives.objective import Batch, Mean, Objective
from atbert_jax.reporting.report import Figure
from atbert_jax.reporting.tables import Table

# Of the chosen tokens: masked, replaced by a random word; the rest stays.
MASKED, REPLACED = 0.8, 0.1
DEFAULTS = {
    "rate": 0.15,  # of the words, that are predicted
    "with_audio": False,  # whether the clip is in view
}


class MaskedLanguage(Objective):
    """The head of ALBERT and BERT: Linear D -> E, GELU, norm, word embeddings as the output map.

    Random words are never special tokens.

    Args:
        config: `config.masked_language`, see `defaults`.
        contract: Gives the vocabulary V, and says which tokens are words.
        trunk: Has streams; gives the widths of text, D and E, the activation and the word
            embeddings.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if the vocabulary has no words.
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
        if not contract.is_word.any():
            raise ValueError(
                "config.objectives.masked_language needs words, but the vocabulary has none: give"
                " the manifest a text column with captions, or set config.text.tokenizer"
            )
        self.rate, self.with_audio = config.rate, config.with_audio
        self.contract, self.activation = contract, trunk.activation
        width = trunk.embedding_widths["text"]
        self.dense = nnx.Linear(trunk.stream_widths["text"], width, rngs=rngs)
        self.norm = LayerNorm(width, rngs=rngs)
        self.output_bias = nnx.Param(jnp.zeros(contract.vocabulary))

    def corrupt(self, batch: Batch, key: jax.Array) -> Batch:
        """Adds `masked_ids` (B, L), and `masked_positions` and `masked_weights` (B, M)."""
        ids = batch["token_ids"]
        is_word = jnp.asarray(self.contract.is_word)
        words = (batch["token_mask"] > 0) & is_word[ids] & (batch["valid"][:, None] > 0)
        positions, weights = choose(words, self.rate, jax.random.uniform(fold(key, 0), ids.shape))
        here = (positions[..., None] == jnp.arange(ids.shape[1])) & (weights[..., None] > 0)
        chosen = here.any(axis=1)
        fate = jax.random.uniform(fold(key, 1), ids.shape)
        other = jax.random.choice(fold(key, 2), np.flatnonzero(self.contract.is_word), ids.shape)
        masked = jnp.where(fate < MASKED + REPLACED, other, ids)
        masked = jnp.where(fate < MASKED, self.contract.mask_token, masked)
        return batch | {
            "masked_ids": jnp.where(chosen, masked, ids),
            "masked_positions": positions,
            "masked_weights": weights,
        }

    def _logits(self, model: Trunk, batch: Batch, key: jax.Array | None) -> jax.Array:
        """(B, M, V) at the chosen positions."""
        batch = batch | {"token_ids": batch["masked_ids"]}
        audio = model.encode_audio(batch, fold(key, 2)) if self.with_audio else None
        text = model.encode_text(batch, fold(key, 0))
        _, text = model.fuse_streams(audio, text, fold(key, 1))
        states = jnp.take_along_axis(text.hidden, batch["masked_positions"][..., None], axis=1)
        states = self.norm(self.activation(self.dense(states.astype(jnp.float32))))
        table = model.word_embeddings.embedding[...]
        return states @ table.T + self.output_bias[...]

    def loss(
        self, model: Trunk, batch: Batch, key: jax.Array | None
    ) -> tuple[Mean, dict[str, Mean]]:
        """Cross entropy of the true words at the chosen positions.

        Returns:
            (sum, weight) over the chosen positions, and the metric `accuracy`.
        """
        logits, weights = self._logits(model, batch, key), batch["masked_weights"]
        words = jnp.take_along_axis(batch["token_ids"], batch["masked_positions"], axis=1)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, words)
        hits = logits.argmax(axis=-1) == words
        total = weights.sum()
        return ((losses * weights).sum(), total), {"accuracy": ((hits * weights).sum(), total)}

    def predict(self, model: Trunk, batch: Batch) -> Batch:
        """`hits` and `masked` (B,): words that were found, and all that were looked for."""
        words = jnp.take_along_axis(batch["token_ids"], batch["masked_positions"], axis=1)
        hits = self._logits(model, batch, None).argmax(axis=-1) == words
        weights = batch["masked_weights"]
        return {"hits": (hits * weights).sum(axis=1), "masked": weights.sum(axis=1)}

    def summarize(self, outputs: Mapping[str, np.ndarray], aggregate: str) -> dict:
        """How often the true word is the likeliest."""
        del aggregate
        return {"accuracy": float(outputs["hits"].sum() / max(outputs["masked"].sum(), 1))}

    def report(
        self, outputs: Mapping[str, np.ndarray], summary: Mapping, aggregate: str
    ) -> tuple[list[Table], list[Figure]]:
        """The accuracy."""
        del aggregate
        rows = [[int(outputs["masked"].sum()), summary["accuracy"]]]
        return [Table("Masked language modelling", ("masked words", "accuracy"), rows)], []
