"""The Music Tagging Transformer (Won, Choi and Serra 2021)."""

import math

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.attention import attend, attention_mask, attention_weights
from atbert_jax.models.encoded import drop, fold
from atbert_jax.models.linear import Linear
from atbert_jax.models.taggers.attention_tagger import HEADS, AttentionTagger
from atbert_jax.models.taggers.blocks import Residual, require_size
from atbert_jax.models.taggers.tagger_frontend import MelFrontend
from atbert_jax.models.transformer import LayerNorm

# Blocks of (frequency, time) under one maximum, of each residual block.
POOLS = ((2, 2), (2, 2), (2, 1))
CHANNELS, LAYERS, TOKENS = 128, 4, 512
EPSILON = 1e-5


class PreNormLayer(nnx.Module):
    """A pre-norm layer, as in the vision transformer (Dosovitskiy et al. 2021).

    Args:
        settings: `config.tagger`: attention (D), dropout, attention_dropout.
        dtype: Compute type; softmax and normalisation are float32.
        rngs: Keys of the initial values.
    """

    def __init__(
        self, settings: ml_collections.ConfigDict, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        width = settings.attention

        def linear(width_in: int, width_out: int, bias: bool = True) -> Linear:
            return Linear(width_in, width_out, use_bias=bias, dtype=dtype, rngs=rngs)

        self.attention_norm = LayerNorm(width, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.query_key_value = linear(width, 3 * width, bias=False)
        self.attention_output = linear(width, width)
        self.ffn_norm = LayerNorm(width, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.ffn, self.ffn_output = linear(width, 4 * width), linear(4 * width, width)
        self.dropout = nnx.Dropout(settings.dropout)
        self.attention_dropout = nnx.Dropout(settings.attention_dropout)

    def _project(self, x: jax.Array) -> list[jax.Array]:
        """Queries, keys and values, each (N, T, D)."""
        return jnp.split(self.query_key_value(self.attention_norm(x)), 3, axis=-1)

    def attention_weights(self, x: jax.Array) -> jax.Array:
        """The weights (N, H, T, T) of tokens (N, T, D) in evaluation."""
        query, key, _ = self._project(x)
        return attention_weights(query, key, heads=HEADS)

    def __call__(self, x: jax.Array, mask: jax.Array | None, key: jax.Array | None) -> jax.Array:
        """Maps tokens (N, T, D) with mask (N, T), None = all are real, to (N, T, D)."""
        attended = attend(
            *self._project(x),
            attention_mask(mask),
            heads=HEADS,
            dropout=self.attention_dropout,
            dropout_key=fold(key, 0),
        )
        x += drop(self.dropout, self.attention_output(attended), fold(key, 1))
        y = jax.nn.gelu(self.ffn(self.ffn_norm(x)), approximate=False)
        y = self.ffn_output(drop(self.dropout, y, fold(key, 2)))
        return x + drop(self.dropout, y, fold(key, 3))


class MusicTransformer(AttentionTagger):
    """Three residual blocks, then four layers of a transformer with learned positions.

    With an output of 50 tags and `config.tagger.attention` 256 it has 4 567 732 parameters, with 64
    (the compact student) 1 108 852. As published, `config.tagger.dropout` is 0.1 and
    `config.tagger.attention_dropout` 0.

    Args:
        config: The whole config; `config.tagger` and `config.model.dtype` matter here.
        spectrogram: Of the front end.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if 8 heads do not divide the width.
    """

    token_frames = math.prod(time for _, time in POOLS)

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        dtype, width = jnp.dtype(config.model.dtype), config.tagger.attention
        if width % HEADS:
            raise ValueError(f"config.tagger.attention={width} is no multiple of {HEADS} heads")
        self.features = width
        self.frontend = MelFrontend(config.tagger, spectrogram, rngs=rngs)
        self.blocks = nnx.List(
            Residual(CHANNELS if n else 1, CHANNELS, (3, 3), pool=pool, dtype=dtype, rngs=rngs)
            for n, pool in enumerate(POOLS)
        )
        bands = spectrogram.n_mels // math.prod(frequency for frequency, _ in POOLS)
        self.projection = Linear(CHANNELS * bands, width, dtype=dtype, rngs=rngs)
        self.first_token = nnx.Param(jax.random.normal(rngs.params(), width))
        self.positions = nnx.Param(jax.random.normal(rngs.params(), (1, TOKENS + 1, width)))
        self.layers = nnx.List(
            PreNormLayer(config.tagger, dtype=dtype, rngs=rngs) for _ in range(LAYERS)
        )
        self.norm = LayerNorm(width, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(config.tagger.dropout)

    def embed(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to tokens (N, T, D).

        Raises:
            ValueError: if a clip is too short for one token, or too long for 512.
        """
        self._require_size(waveform.shape[1])
        x = self.frontend(waveform, mask, fold(key, 0))
        for block in self.blocks:
            x = block(x, mask, key is not None)
        # All bands of one channel, then those of the next.
        x = x.transpose(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1)
        x = self.projection(x)
        first = jnp.broadcast_to(
            self.first_token[...].astype(x.dtype), (x.shape[0], 1, self.features)
        )
        x = jnp.concatenate([first, x], axis=1)
        x += self.positions[:, : x.shape[1]].astype(x.dtype)
        return drop(self.dropout, x, fold(key, 1))

    def _require_size(self, samples: int) -> None:
        spectrogram = self.frontend.spectrogram
        require_size(samples, spectrogram.n_mels, POOLS, spectrogram)
        most = ((TOKENS + 1) * self.token_frames - 1) * spectrogram.hop_length - 1
        if samples > most:
            seconds = math.floor(1000 * most / spectrogram.sample_rate) / 1000
            raise ValueError(
                f"segments of {samples} samples are more than the {TOKENS} tokens of this tagger;"
                f" set config.segmenting.seconds to {seconds} or less"
            )

    def summarize(self, first: jax.Array) -> jax.Array:
        """A normalisation."""
        return self.norm(first)
