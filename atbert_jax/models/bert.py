"""The text encoder of BERT (Devlin et al. 2018)."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.encoded import drop, fold
from atbert_jax.models.transformer import TABLE_INITIALIZER, Encoder, LayerNorm


class BERT(nnx.Module):
    """Word and position embeddings, normalised, then a stack of post-norm layers.

    Computes what transformers' `BertModel` does for one text (see `conversion.bert`), without its
    token types, of which one text has one, and without its pooler. Dropout is that of
    `EncoderLayer`, and after the embeddings.

    Args:
        config: Sizes, as `config.model` has them: hidden D, heads, layers, ffn, activation,
            dropout, scan_layers, remat.
        contract: Gives the number of tokens L, which are all positions there are, and of the
            vocabulary V.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        contract: Contract,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        self.word_embeddings = nnx.Embed(
            contract.vocabulary,
            config.hidden,
            embedding_init=TABLE_INITIALIZER,
            rngs=rngs,
        )
        shape = (contract.max_tokens, config.hidden)
        self.positions = nnx.Param(TABLE_INITIALIZER(rngs.params(), shape, jnp.float32))
        self.norm = LayerNorm(config.hidden, dtype=dtype, rngs=rngs)
        self.encoder = Encoder(config, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout)

    def place(self, words: jax.Array, key: jax.Array | None) -> jax.Array:
        """The first layer's input from word embeddings, both (B, L, D); key None is evaluation."""
        return drop(self.dropout, self.norm(words + self.positions[: words.shape[1]]), key)

    def __call__(self, token_ids: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """The last hidden states (B, L, D) of tokens (B, L) with mask (B, L), 1 = real."""
        x = self.place(self.word_embeddings(token_ids), fold(key, 0))
        return self.encoder(x, mask, fold(key, 1))
