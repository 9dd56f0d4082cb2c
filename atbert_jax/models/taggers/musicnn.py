"""MusiCNN (Pons and Serra 2019) as Won et al. (2020) trained it."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.taggers.blocks import Conv, ConvPool, Dense, axis_max
from atbert_jax.models.taggers.network import Network
from atbert_jax.models.taggers.tagger_frontend import MelFrontend

# Filters for timbre cover a share of the bands and 7 frames, those for rhythm so many frames.
TIMBRAL, TIMBRAL_SHARES = 204, (0.7, 0.4)
TEMPORAL, TEMPORAL_FRAMES = 51, (129, 65, 33)
KERNEL = 7
MIDDLE_LAYERS = 3
# Channels of the middle, and features: as published for MagnaTagATune and MTG-Jamendo, and for MSD.
NARROW, WIDE = (64, 200), (512, 500)


def windows(bands: jax.Array, size: int) -> jax.Array:
    """Every `size` neighbouring bands of (N, F, T, 1), as channels: (N, F - size + 1, T, size)."""
    places = jnp.arange(bands.shape[1] - size + 1)
    return jnp.swapaxes(bands[..., 0][:, places[:, None] + jnp.arange(size)], 2, 3)


class MusiCNN(Network):
    """Filters of musical shapes over 3 seconds, then convolutions over time and poolings of all.

    With an output of 50 tags it has 784 300 parameters, `config.tagger.wide` 7 972 000. With
    `config.tagger.pooled` its features are the poolings themselves, 1506 or 4194, as MuLaP (Manco
    et al. 2022) takes them, and the narrow one has 472 450 parameters. Clips may be of any length.
    The original musicnn library normalises behind the ReLU and has other bands; these are the
    published weights' own.

    A filter over 67 bands is one over time alone for each place among the bands, with as many
    channels; so XLA's CPU code has its gradient eight times as fast.

    Args:
        config: The whole config; `config.tagger` and `config.model.dtype` matter here.
        spectrogram: Of the front end.
        rngs: Keys of the initial values.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        settings = {"dtype": jnp.dtype(config.model.dtype), "rngs": rngs}
        channels, features = WIDE if config.tagger.wide else NARROW
        self.frontend = MelFrontend(config.tagger, spectrogram, rngs=rngs)
        self.heights = tuple(int(share * spectrogram.n_mels) for share in TIMBRAL_SHARES)
        self.timbral = nnx.List(
            [Conv(height, TIMBRAL, (1, KERNEL), **settings) for height in self.heights]
        )
        self.temporal = nnx.List(
            [Conv(1, TEMPORAL, (frames,), **settings) for frames in TEMPORAL_FRAMES]
        )
        front = TIMBRAL * len(self.timbral) + TEMPORAL * len(self.temporal)
        widths = [front] + [channels] * (MIDDLE_LAYERS - 1)
        self.middle = nnx.List(
            [ConvPool(width, channels, (KERNEL,), pool=(1,), **settings) for width in widths]
        )
        pooled = 2 * (front + channels * MIDDLE_LAYERS)
        self.features = pooled if config.tagger.pooled else features
        self.dense = None if config.tagger.pooled else Dense(pooled, features, **settings)

    def pictures(
        self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> list[jax.Array]:
        """The output (N, T, C) of the filters and each layer of waveforms (N, samples)."""
        train = key is not None
        bands = self.frontend(waveform, mask, key)
        timbre = [
            axis_max(nnx.relu(layer(windows(bands, height), mask, train)))
            for height, layer in zip(self.heights, self.timbral, strict=True)
        ]
        loudness = bands.mean(axis=1)
        rhythm = [nnx.relu(layer(loudness, mask, train)) for layer in self.temporal]
        x = jnp.concatenate(timbre + rhythm, axis=-1)
        found = [x]
        for number, layer in enumerate(self.middle):
            x = layer(x, mask, train) + (x if number else 0)
            found.append(x)
        return found

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, D); `key=None` is evaluation."""
        x = jnp.concatenate(self.pictures(waveform, mask, key), axis=-1)
        x = jnp.concatenate([axis_max(x), x.mean(axis=1)], axis=-1)
        return x if self.dense is None else self.dense(x, mask, key is not None)
