"""CNN with self-attention (Won et al. 2019), as Won et al. (2020) trained it."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.linear import Linear
from atbert_jax.models.taggers.attention_tagger import HEADS, AttentionTagger
from atbert_jax.models.taggers.blocks import Residual, max_pool
from atbert_jax.models.taggers.tagger_frontend import MelFrontend
from atbert_jax.models.transformer import EncoderLayer

# Channels, and strides in (frequency, time), of each residual block.
BLOCKS = (
    (128, (2, 2)),
    (128, (2, 2)),
    (256, (2, 2)),
    (256, (2, 1)),
    (256, (2, 1)),
    (256, (2, 1)),
    (256, (2, 1)),
)
WIDTH, LAYERS = 256, 2
SIZES = {"hidden": WIDTH, "heads": HEADS, "ffn": 1024, "activation": "gelu"}
# The published network draws its first token from numpy's generator of seed 0 and never trains it.
FIRST_TOKEN = np.random.RandomState(0).uniform(size=WIDTH)


class SelfAttention(AttentionTagger):
    """CNNSA: residual blocks, then two layers of BERT; with 50 tags 10 521 652 parameters.

    Tokens have no positions. The first one is a constant; unlike the published network, neither
    numpy's global generator nor the size of a batch has to do with it. Clips of any length will do;
    of more than 128 bands the maximum is taken. As published, `config.tagger.dropout` is 0.4 and
    `config.tagger.attention_dropout` 0.5.

    Args:
        config: The whole config; `config.tagger` and `config.model.dtype` matter here.
        spectrogram: Of the front end.
        rngs: Keys of the initial values.
    """

    features = WIDTH
    token_frames = int(np.prod([time for _, (_, time) in BLOCKS]))

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        dtype = jnp.dtype(config.model.dtype)
        self.frontend = MelFrontend(config.tagger, spectrogram, rngs=rngs)
        blocks, channels = [], 1
        for width, stride in BLOCKS:
            blocks.append(Residual(channels, width, (3, 3), stride=stride, dtype=dtype, rngs=rngs))
            channels = width
        self.blocks = nnx.List(blocks)
        sizes = ml_collections.ConfigDict(SIZES | {"dropout": config.tagger.dropout})
        dropout = config.tagger.attention_dropout
        self.layers = nnx.List(
            EncoderLayer(sizes, attention_dropout=dropout, dtype=dtype, rngs=rngs)
            for _ in range(LAYERS)
        )
        self.pooler = Linear(WIDTH, WIDTH, dtype=dtype, rngs=rngs)

    def embed(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to tokens (N, T, 256)."""
        x = self.frontend(waveform, mask, key)
        for block in self.blocks:
            x = block(x, mask, key is not None)
        x = max_pool(x, (x.shape[1], 1))[:, 0]
        first = jnp.broadcast_to(jnp.asarray(FIRST_TOKEN, x.dtype), (x.shape[0], 1, WIDTH))
        return jnp.concatenate([first, x], axis=1)

    def summarize(self, first: jax.Array) -> jax.Array:
        """BERT's pooler: a linear layer and tanh."""
        return jnp.tanh(self.pooler(first))
