"""Vectors of sentences: the mean of a BERT's states (Reimers and Gurevych 2019)."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models.bert import BERT
from atbert_jax.models.encoded import Encoded, masked_mean

# Least length of a vector that is made of length 1, as PyTorch has it.
EPSILON = 1e-12


class SentenceEncoder(nnx.Module):
    """A BERT, the mean of its last states over the tokens, [CLS] and [SEP] included.

    Args:
        config: Sizes, as `config.model` has them (see `BERT`).
        contract: Gives the number of tokens L, and of the vocabulary.
        normalized: Vectors have length 1.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        contract: Contract,
        *,
        normalized: bool,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        self.text_encoder = BERT(config, contract, dtype=dtype, rngs=rngs)
        self.normalized = normalized

    def __call__(self, token_ids: jax.Array, mask: jax.Array) -> jax.Array:
        """Maps tokens (B, L) with mask (B, L), 1 = real, to (B, D), float32; 0 without a token."""
        hidden = self.text_encoder(token_ids, mask, None).astype(jnp.float32)
        vectors = masked_mean(Encoded(hidden, mask))[:, 0]
        if not self.normalized:
            return vectors
        return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), EPSILON)
