"""The cross-modal transformer of MFCCs and BERT (audiotext-transformer), for emotions in speech.

A two-stream relative of MulT (Tsai et al. 2019): each stream attends to the other, then to itself.
It is the published network with its intended behaviour: masks are real in every attention and in
the merging over time, positions count real frames, and a stream attends to all of the other one.
With `config.crossmodal.causal` it is as published: the i-th word attends to the first i frames
alone.
"""

import functools
import math

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax import choices
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.models import remat
from atbert_jax.models.attention import attend, attention_mask
from atbert_jax.models.bert import BERT
from atbert_jax.models.convolution import Convolution
from atbert_jax.models.encoded import Encoded, drop, fold
from atbert_jax.models.linear import Linear
from atbert_jax.models.mfcc import mfcc
from atbert_jax.models.trunk import Batch, Trunk

LayerNorm = functools.partial(nnx.LayerNorm, epsilon=1e-5, use_fast_variance=False)
# Frames, or words, that one state of a stream covers.
KERNEL = 3
MERGES = ("average", "last")
# As it was published; `config.model` has the sizes of its BERT.
DEFAULTS = {
    "crossmodal": {
        "modalities": ("audio", "text"),  # or one of them
        "width": 64,  # of both streams
        "heads": 8,  # of each attention; they divide the width
        "layers": 4,  # of each of four stacks, or of one on audio alone
        "n_mfcc": 40,  # coefficients of a frame
        "top_db": 80.0,  # range of the bands that MFCCs are made of
        "merge": "average",  # of a stream's states over time; or 'last'
        # Attention hides what comes later, across streams too, as published.
        "causal": False,
        "embedding_dropout": 0.2,  # of BERT's last states, and of what goes into each stack
        "attention_dropout": 0.2,  # of the weights of all other attentions
        "audio_attention_dropout": 0.0,  # where audio listens to text
        "relu_dropout": 0.1,  # within the feed-forward blocks
        "dropout": 0.1,  # of what is added to the residuals
    }
}


def sinusoids(positions: jax.Array, width: int) -> jax.Array:
    """(B, T) to (B, T, D): sines, then cosines, of D / 2 frequencies from 1 down to 1 / 10000."""
    half = width // 2
    frequencies = jnp.exp(-math.log(10_000) / (half - 1) * jnp.arange(half))
    angles = positions[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Block(nnx.Module):
    """Attention, then a feed-forward block; residuals start from the normalised input.

    Its inner width is 4 d, so that it has 12 d^2 + 13 d parameters.

    Args:
        width: d, a multiple of the heads.
        config: The whole config; `config.crossmodal` and `config.model.dtype` matter here.
        attention_dropout: Of the weights.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        width: int,
        config: ml_collections.ConfigDict,
        attention_dropout: float,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        dtype, settings = jnp.dtype(config.model.dtype), config.crossmodal

        linear = functools.partial(Linear, dtype=dtype, rngs=rngs)
        self.heads, self.causal = settings.heads, settings.causal
        self.norm = LayerNorm(width, dtype=dtype, rngs=rngs)
        self.query = linear(width, width, "embed", "heads")
        self.key = linear(width, width, "embed", "heads")
        self.value = linear(width, width, "embed", "heads")
        self.attention_output = linear(width, width, "heads", "embed")
        self.ffn_norm = LayerNorm(width, dtype=dtype, rngs=rngs)
        self.ffn = linear(width, 4 * width, "embed", "mlp")
        self.ffn_output = linear(4 * width, width, "mlp", "embed")
        self.attention_dropout = nnx.Dropout(attention_dropout)
        self.relu_dropout = nnx.Dropout(settings.relu_dropout)
        self.dropout = nnx.Dropout(settings.dropout)

    def __call__(
        self, x: jax.Array, source: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        """Maps (B, T, d), which attends to `source` (B, K, d) with mask (B, K), to (B, T, d)."""
        x, source = self.norm(x), self.norm(source)
        allowed = attention_mask(mask, x.shape[1], causal=self.causal)
        attended = attend(
            self.query(x),
            self.key(source),
            self.value(source),
            allowed,
            heads=self.heads,
            dropout=self.attention_dropout,
            dropout_key=fold(key, 0),
        )
        # 0 where there is nothing to attend to.
        attended = jnp.where(allowed.any(-1)[:, 0, :, None], self.attention_output(attended), 0)
        x = self.ffn_norm(x + drop(self.dropout, attended, fold(key, 1)))
        y = drop(self.relu_dropout, nnx.relu(self.ffn(x)), fold(key, 2))
        return x + drop(self.dropout, self.ffn_output(y), fold(key, 3))


class Stack(nnx.Module):
    """Blocks on a sequence with sinusoids as positions, which attends to itself or to another one.

    The other one is the same for all blocks.

    Args:
        width: d.
        config: The whole config; see `Block`.
        attention_dropout: Of the attention's weights.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        width: int,
        config: ml_collections.ConfigDict,
        attention_dropout: float,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.remat = config.model.remat
        self.dropout = nnx.Dropout(config.crossmodal.embedding_dropout)
        layers = range(config.crossmodal.layers)
        self.blocks = nnx.List([Block(width, config, attention_dropout, rngs=rngs) for _ in layers])

    def place(self, stream: Encoded, key: jax.Array | None) -> jax.Array:
        """(B, T, d), scaled, with positions that count what is real from 1 on."""
        x, mask = stream
        positions = sinusoids(jnp.cumsum(mask, axis=1), x.shape[-1]).astype(x.dtype)
        x = math.sqrt(x.shape[-1]) * x + positions
        return drop(self.dropout, x, key)

    def __call__(self, stream: Encoded, other: Encoded | None, key: jax.Array | None) -> Encoded:
        """A stream (B, T, d) that attends to another (B, K, d), or to itself if that is None."""
        x = self.place(stream, fold(key, 0))
        source = None if other is None else self.place(other, fold(key, 1))
        mask = stream.mask if other is None else other.mask
        for number, block in enumerate(self.blocks):
            given = x, x if source is None else source, mask, fold(key, number + 2)
            x = remat.apply(block, *given, remat=self.remat)
        return Encoded(x, stream.mask)


def convolve(conv: Convolution, stream: Encoded) -> Encoded:
    """(B, T, C) to (B, T - 2, d); a state is real if all that it covers is."""
    mask = stream.mask
    parts = [mask[:, i : mask.shape[1] - KERNEL + 1 + i] for i in range(KERNEL)]
    return Encoded(conv(stream.hidden), functools.reduce(jnp.minimum, parts))


class CrossModal(Trunk):
    """A trunk of audio and text, or of one of them, which gives a summary alone.

    * ('audio', 'text'): MFCCs and BERT's last states, each through a convolution over 3 of them, a
      stack that attends to the other stream, and one that attends to itself; features are
      [audio; text] (2 d). A stream that is missing, or shorter than 3, is 0 in them, and the other
      one does not attend to it.
    * ('audio',): one stack on the MFCCs as they are; d is how many there are.
    * ('text',): BERT's state of [CLS] through a linear map and tanh. It starts anew, since BERT's
      own was trained to say whether two sentences follow each other.

    With 8 heads, 4 layers, d = 64 and the residual head for 7 classes, the first has 988 807
    parameters beside its BERT of 768, and the second 82 447.

    Args:
        config: The whole config: `config.crossmodal`, and in `config.model` the sizes of BERT.
        contract: Gives the spectrogram, tokens and vocabulary.
        rngs: Keys of the initial values.

    Raises:
        ValueError: if a setting is unknown, the batches do not carry waveforms, or the heads do not
            divide a width; the message names the field.
    """

    audio_input = "waveform"
    any_length = True
    has_streams = False
    has_one_space = False  # each has its own half
    defaults = DEFAULTS

    def __init__(
        self, config: ml_collections.ConfigDict, contract: Contract, *, rngs: nnx.Rngs
    ) -> None:
        settings, width = config.crossmodal, config.crossmodal.width
        self.modalities = choices.require_some(
            "config.crossmodal.modalities", settings.modalities, Trunk.modalities
        )
        choices.require("config.crossmodal.merge", settings.merge, MERGES)
        if config.data.input != "waveform":
            raise ValueError(
                f"crossmodal makes MFCCs of waveforms, but config.data.input={config.data.input!r};"
                " set --config.data.input=waveform"
            )
        self.merge, self.spectrogram = settings.merge, contract.spectrogram
        self.n_mfcc, self.top_db = settings.n_mfcc, settings.top_db
        dtype = jnp.dtype(config.model.dtype)

        def stack(width: int, dropout: float = settings.attention_dropout) -> Stack:
            return Stack(width, config, dropout, rngs=rngs)

        def conv(channels: int) -> Convolution:
            return Convolution(
                channels,
                width,
                (KERNEL,),
                strides=(1,),
                padding=[(0, 0)],
                use_bias=False,
                dtype=dtype,
                rngs=rngs,
            )

        text_width = config.model.hidden
        if "text" in self.modalities:
            self.text_encoder = BERT(config.model, contract, dtype=dtype, rngs=rngs)
        if len(self.modalities) == 2:
            _require_heads("config.crossmodal.width", width, settings.heads)
            self.hidden = 2 * width
            self.text_dropout = nnx.Dropout(settings.embedding_dropout)
            self.audio_conv, self.text_conv = conv(self.n_mfcc), conv(text_width)
            self.audio_with_text = stack(width, settings.audio_attention_dropout)
            self.text_with_audio = stack(width)
            self.audio_stack, self.text_stack = stack(width), stack(width)
        elif "audio" in self.modalities:
            _require_heads("config.crossmodal.n_mfcc", self.n_mfcc, settings.heads)
            self.hidden = self.n_mfcc
            self.audio_stack = stack(self.n_mfcc)
        else:
            self.hidden = text_width
            self.pooler = Linear(text_width, text_width, dtype=dtype, rngs=rngs)

    def embed_audio(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """MFCCs (B, S * T, C), of as much of each segment as `samples` (B, S) says."""
        del key
        samples = jnp.where(batch["segment_mask"] > 0, batch["samples"], 0)
        values, mask = mfcc(batch["waveform"], samples, self.spectrogram, self.n_mfcc, self.top_db)
        return Encoded(
            values.reshape(mask.shape[0], -1, self.n_mfcc), mask.reshape(mask.shape[0], -1)
        )

    def embed_text(self, batch: Batch, key: jax.Array | None) -> Encoded:
        """BERT's last states (B, L, E)."""
        mask = batch["token_mask"]
        return Encoded(self.text_encoder(batch["token_ids"], mask, key), mask)

    def contextualize_audio(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, T, C) to (B, T - 2, d), or unchanged if the model is of audio alone."""
        del key
        return convolve(self.audio_conv, embedded) if len(self.modalities) == 2 else embedded

    def contextualize_text(self, embedded: Encoded, key: jax.Array | None) -> Encoded:
        """(B, L, E) to (B, L - 2, d), or unchanged if the model is of text alone."""
        if len(self.modalities) < 2:
            return embedded
        hidden = drop(self.text_dropout, embedded.hidden, key)
        return convolve(self.text_conv, Encoded(hidden, embedded.mask))

    def fuse(self, audio: Encoded | None, text: Encoded | None, key: jax.Array | None) -> Encoded:
        """The summary (B, 1, D)."""
        if len(self.modalities) == 2:
            first = self._half(audio, text, self.audio_with_text, self.audio_stack, fold(key, 0))
            second = self._half(text, audio, self.text_with_audio, self.text_stack, fold(key, 1))
            blank = jax.tree.map(jnp.zeros_like, first or second)
            hidden, mask = zip(first or blank, second or blank, strict=True)
            return Encoded(jnp.concatenate(hidden, axis=-1), jnp.maximum(*mask))
        if audio is not None:
            return self._merge(self.audio_stack(audio, None, key))
        return Encoded(jnp.tanh(self.pooler(text.hidden[:, :1])), text.mask[:, :1])

    def _half(
        self,
        own: Encoded | None,
        other: Encoded | None,
        across: Stack,
        within: Stack,
        key: jax.Array | None,
    ) -> Encoded | None:
        """One half of the summary (B, 1, d); None of a missing stream."""
        if own is None:
            return None
        if other is None:
            other = Encoded(own.hidden[:, :1], jnp.zeros_like(own.mask[:, :1]))
        return self._merge(within(across(own, other, fold(key, 0)), None, fold(key, 1)))

    def _merge(self, stream: Encoded) -> Encoded:
        """(B, T, d) to (B, 1, d): the mean of the real states, or the last one; 0 of none."""
        hidden, mask = stream
        if self.merge == "average":
            weight = mask / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
        else:
            behind = jnp.cumsum(mask, axis=1)
            weight = mask * (behind == behind[:, -1:])
        merged = jnp.einsum("btd,bt->bd", hidden.astype(jnp.float32), weight)
        return Encoded(merged[:, None], mask.max(axis=1, keepdims=True))


def _require_heads(field: str, width: int, heads: int) -> None:
    if width % heads:
        raise ValueError(f"config.crossmodal.heads={heads} does not divide {field}={width}")
